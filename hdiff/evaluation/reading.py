"""Readings of an evaluation: best process, cost of parallel decoding, judged samples. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FEWEST_JUDGED = 64
"""Fewer samples are not judged: their errors are larger than what steps and samplers differ by."""


@dataclass(frozen=True)
class Process:
    """A way to write text, and its bound on -log p(x_0).

    Attributes:
        name: What it is, in words.
        nats: Nats per token.
        stderr: Standard error over rows; NaN if it is not known.
    """

    name: str
    nats: float
    stderr: float

    @property
    def shown(self) -> str:
        """The bound with its error."""
        return f"{self.nats:.3f}" + (f" ± {self.stderr:.3f}" if math.isfinite(self.stderr) else "")


@dataclass(frozen=True)
class ParallelCost:
    """What few steps cost, and what there was to lose.

    Attributes:
        few: Fewest steps T that were measured.
        many: Most steps T.
        nats: L_few - L_many, nats per token.
        context: Unigram distribution less L_many: what the model makes of all context; None if not measured.
    """

    few: int
    many: int
    nats: float
    context: float | None

    @property
    def meaning(self) -> str:
        """What the figure says, in a sentence or two."""
        steps = f"{self.few} step" + "s" * (self.few != 1)
        said = f"{steps} instead of {self.many}: L_{self.few} - L_{self.many} = {self.nats:.3f} nats/token."
        if self.context is None:
            return said
        return (
            f"{said} All context is worth {self.context:.3f} (unigram distribution less L_{self.many}); a "
            f"model that ignores context loses nothing here, because it has nothing to lose."
        )


def processes(evaluation: Mapping[str, Any]) -> list[Process]:
    """Every way of writing that an evaluation has a bound on -log p(x_0) of, that of training first."""
    bound = evaluation.get("bound") or {}
    if bound.get("nats_per_token") is None or bound.get("conditional_on_structure"):
        return []
    name = "left to right" if bound.get("kind") == "exact" else "as in training"
    measured = [Process(name, bound["nats_per_token"], _error(bound.get("stderr")))]
    kind = (evaluation.get("sampler") or {}).get("kind", "sampler")
    errors = evaluation.get("t_step_stderr") or {}
    curve = evaluation.get("t_step") or {}
    for steps in sorted(curve, key=int):
        measured.append(Process(f"{kind}, T = {steps}", curve[steps], _error(errors.get(steps))))
    return measured


def best_process(evaluations: Iterable[Mapping[str, Any]]) -> Process | None:
    """The way of writing with the lowest bound, of all that were measured on the same text."""
    measured = [process for evaluation in evaluations for process in processes(evaluation)]
    return min(measured, key=lambda process: process.nats, default=None)


def parallel_cost(evaluation: Mapping[str, Any]) -> ParallelCost | None:
    """The cost of few steps; None with fewer than two step counts."""
    curve = evaluation.get("t_step") or {}
    steps = sorted(curve, key=int)
    if len(steps) < 2:
        return None
    few, many = steps[0], steps[-1]
    unigram = evaluation.get("unigram_nats_per_token")
    context = None if unigram is None else unigram - curve[many]
    cost = curve[few] - curve[many]
    return ParallelCost(int(few), int(many), 0.0 if abs(cost) < 0.0005 else cost, context)


def judged(figures: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """Judge NLL and its standard error; None without a judge or of fewer than `FEWEST_JUDGED` samples."""
    if figures is None or figures.get("judge_nll") is None or figures.get("samples", 0) < FEWEST_JUDGED:
        return None
    return figures["judge_nll"], _error(figures.get("judge_nll_stderr"))


def judged_text(figures: Mapping[str, Any] | None, digits: int = 3) -> str:
    """Judge NLL with its error as text; empty where it is not to be shown."""
    nll = judged(figures)
    if nll is None:
        return ""
    error = f" ± {nll[1]:.{digits}f}" if math.isfinite(nll[1]) else ""
    return f"{nll[0]:.{digits}f}{error}"


def _error(value: float | None) -> float:
    return math.nan if value is None else value


def sampler_text(spec: Any) -> str | None:
    """A sampler in words: `planned (order: confidence)`."""
    if not isinstance(spec, Mapping) or "kind" not in spec:
        return None
    options = ", ".join(f"{key}: {_said(value)}" for key, value in spec.items() if key != "kind")
    return f"{spec['kind']} ({options})" if options else str(spec["kind"])


def _said(value: Any) -> str:
    """A value as a recipe would have it, without the quotes that JSON puts around keys."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_said(part)}' for key, part in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) else str(value)
