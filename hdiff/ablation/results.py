"""RunResult: what a run of an ablation has left behind so far, and whether it is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hdiff.ablation.specification import Ablation, Run
from hdiff.errors import RecipeError
from hdiff.recipe import differences, load_recipe
from hdiff.runs.places import at_places_of, was_trained_on
from hdiff.runs.record import RunRecord
from hdiff.runs.weights import newest_checkpoint, state_of, step_of, weights_of

STAMP_FILE = "ablation.json"
FAILED_FILE = "failed.json"
Figures = dict[tuple[str, int | None], float]
"""(figure, steps T) -> value; T is None for figures of the network itself."""

FLOPS_PER_PARAMETER_AND_TOKEN = 6
"""Forward and backward pass of matrices (arXiv:2001.08361, section 2.1); attention scores are left out."""


TRUNK_POSITIONS_PER_TOKEN = {"block_masking": 2}
"""By kind of corruption, where training passes more than a row: block diffusion adds its clean copy."""


@dataclass(frozen=True)
class RunResult:
    """One run.

    Attributes:
        run: Which.
        state: `done` (trained and evaluated), `failed`, or `unfinished`.
        reason: Why it is not done: the last line of its log, or what is missing.
        figures: What was measured; empty unless done.
        reference: The same figures of held-out text.
        record: `run.json`.
    """

    run: Run
    state: Literal["done", "failed", "unfinished"]
    reason: str | None
    figures: Figures
    reference: Mapping[str, float | None]
    record: Mapping[str, Any]


def read_results(ablation: Ablation) -> dict[str, RunResult]:
    """Reads all runs of an ablation by name, finished or not, the judge included."""
    failed = read_failures(ablation.output)
    judge = judge_weights(ablation)
    return {
        run.name: _result(run, failed, None if run is ablation.judge else judge) for run in ablation.all_runs
    }


def check_folders(ablation: Ablation) -> None:
    """Compares recipes of runs, but for evaluation and places, with those the ablation asks for."""
    for run in ablation.all_runs:
        file = run.path / "recipe.yaml"
        if newest_checkpoint(run.path) is None or not file.is_file():
            continue
        saved = load_recipe(file)
        if saved.data.folders() != run.recipe.data.folders() and was_trained_on(run.path, run.recipe):
            saved = at_places_of(saved, run.recipe)
        changed = [
            key
            for key in differences(saved, run.recipe)
            if key.split(".")[0] not in ("output", "resume", "evaluation")
        ]
        if changed:
            raise RecipeError(
                f"{run.path} was trained with another recipe than {ablation.file} asks for now (different: "
                f"{', '.join(changed)}); delete that folder to train it anew, or make another "
                f"ablation:",
                "output=DIR",
            )


def _result(run: Run, failed: Mapping[str, str], judge: str | None) -> RunResult:
    if (missing := what_is_missing(run, judge)) is not None:
        reason = failed.get(run.name)
        return RunResult(run, "unfinished" if reason is None else "failed", reason or missing, {}, {}, {})
    record = RunRecord.read(run.path)
    assert record.evaluation is not None, "is_evaluated has read it"
    figures = _figures(record.evaluation) | _costs(run, record.run)
    return RunResult(run, "done", None, figures, record.evaluation.get("reference") or {}, record.run)


def what_is_missing(run: Run, judge: str | None) -> str | None:
    """What a run lacks to be done, as a clause; None if it is done. `judge` is a digest of weights."""
    newest = newest_checkpoint(run.path)
    if newest is None:
        return "not trained yet"
    if not is_trained(run):
        return f"trained to step {step_of(newest)} of {run.recipe.train.steps}"
    if not (run.path / "eval.json").is_file():
        return "trained, not evaluated yet"
    if changed := _changed_settings(run):
        return f"evaluated with other settings ({', '.join(changed)})"
    return (
        None
        if is_evaluated(run, judge)
        else "not evaluated since its weights, its judge or its eval.json changed"
    )


def _changed_settings(run: Run) -> list[str]:
    """Keys of the evaluation in which the saved recipe of a run differs from the one that is asked for."""
    file = run.path / "recipe.yaml"
    if not file.is_file():
        return []
    keys = differences(load_recipe(file), run.recipe)
    return [key for key in keys if key.startswith("evaluation.")]


def is_trained(run: Run) -> bool:
    """Whether the newest checkpoint is that of the last update, or more training would be in vain."""
    newest = newest_checkpoint(run.path)
    if newest is None or step_of(newest) == run.recipe.train.steps:
        return newest is not None
    return run.recipe.train.patience > 0 and bool(state_of(newest).get("is_over"))


def is_evaluated(run: Run, judge: str | None) -> bool:
    """Whether eval.json is what the ablation asks for now, of these weights with this judge."""
    if _changed_settings(run):
        return False
    try:
        stamp = json.loads((run.path / STAMP_FILE).read_text(encoding="utf-8"))
        return bool(stamp == stamp_of(run, judge))
    except (OSError, ValueError):
        return False


def stamp_of(run: Run, judge: str | None) -> dict[str, str | None]:
    """Digests of what an evaluation was made of and of its result."""
    evaluation = hashlib.sha256((run.path / "eval.json").read_bytes()).hexdigest()
    return {"evaluation": evaluation, "weights": weights_of(run.path), "judge": judge}


def judge_weights(ablation: Ablation) -> str | None:
    """Digest of the weights of a trained judge; None if there is none yet."""
    if ablation.judge is None or not is_trained(ablation.judge):
        return None
    return weights_of(ablation.judge.path)


def read_failures(output: Path) -> dict[str, str]:
    """Run name -> last line of its log, for runs that crashed."""
    try:
        content = json.loads((output / FAILED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(reason) for name, reason in content.items()} if isinstance(content, dict) else {}


def _figures(evaluation: Mapping[str, Any]) -> Figures:
    bound = evaluation["bound"]
    # A bound given the structure must not stand in one column with the others (it bounds another quantity).
    name = "conditional_bound" if bound["conditional_on_structure"] else "bound"
    figures: Figures = {
        (name, None): bound["nats_per_token"],
        ("structure", None): bound["structure_nats_per_token"],
    }
    figures |= {("L", int(steps)): value for steps, value in evaluation["t_step"].items()}
    for steps, measured in evaluation["quality"].items():
        figures |= {(key, int(steps)): value for key, value in measured.items() if value is not None}
    return figures


def _costs(run: Run, record: Mapping[str, Any]) -> Figures:
    newest = newest_checkpoint(run.path)
    assert newest is not None, "the run is trained"
    # run.json learns of the last update only after its checkpoint is saved; the checkpoint itself knows.
    state = state_of(newest)
    tokens = state["tokens_seen"]
    total = record["parameters"]["total"]
    inner = total - record["parameters"]["embedding"]
    positions = TRUNK_POSITIONS_PER_TOKEN.get(run.recipe.corruption["kind"], 1)
    passed = inner + (positions - 1) * record["parameters"]["trunk"]
    costs = {
        "parameters": total,
        "non_embedding": inner,
        "tokens_seen": tokens,
        "train_flops": FLOPS_PER_PARAMETER_AND_TOKEN * passed * tokens,
        "train_seconds": state["train_seconds"],
    }
    return {(key, None): float(value) for key, value in costs.items()}
