"""Evaluations of a report: the files of a run folder and the sampler each was made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hdiff.evaluation.reading import sampler_text
from hdiff.pages.report_text import COLUMNS, COST_HEADINGS, ReportTable, cost_cells, quality_cells
from hdiff.runs.record import RunRecord

PLAIN_SAMPLERS = ({"kind": "ancestral"}, {"kind": "coarse_to_fine"})
"""What `hdiff eval` takes where nobody names a sampler."""


@dataclass(frozen=True)
class Evaluation:
    """One file that `hdiff eval` wrote.

    Attributes:
        name: File name without `.json`.
        values: Its content.
    """

    name: str
    values: Mapping[str, Any]

    @property
    def sampler(self) -> str | None:
        """The sampler in words, None if the file names none."""
        return sampler_text(self.values.get("sampler"))

    @property
    def is_plain(self) -> bool:
        """Whether the sampler is the plain one of the corruption, or not named."""
        return self.values.get("sampler") in (None, *PLAIN_SAMPLERS)

    @property
    def is_conditional(self) -> bool:
        """Whether its bounds are given the structure."""
        return bool((self.values.get("bound") or {}).get("conditional_on_structure"))


@dataclass(frozen=True)
class Evaluations:
    """All evaluations of a run.

    Attributes:
        main: The one whose figures stand at the top: `eval.json`, else the first by name; None without any.
        others: The others, by name.
        unread: Names of `eval_*.json` files that hold no evaluation.
    """

    main: Evaluation | None
    others: tuple[Evaluation, ...]
    unread: tuple[str, ...]

    @classmethod
    def of(cls, record: RunRecord) -> Evaluations:
        """The evaluations of a run folder."""
        named = {} if record.evaluation is None else {"eval": record.evaluation}
        named |= record.evaluations
        evaluations = [Evaluation(name, values) for name, values in named.items() if _is_evaluation(values)]
        # A bound given the structure is no headline if there is another one.
        ordered = sorted(evaluations, key=lambda each: (each.name != "eval", each.is_conditional, each.name))
        unread = tuple(name for name, values in named.items() if not _is_evaluation(values))
        return cls(ordered[0] if ordered else None, tuple(ordered[1:]), unread)

    @property
    def all(self) -> tuple[Evaluation, ...]:
        """The main one first."""
        return () if self.main is None else (self.main, *self.others)

    @property
    def comparable(self) -> tuple[Evaluation, ...]:
        """Those whose bounds may stand in one chart with the main one's."""
        return tuple(
            each for each in self.all if self.main and each.is_conditional == self.main.is_conditional
        )

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of those whose bounds may not."""
        return tuple(each.name for each in self.all if each not in self.comparable)

    @property
    def references_differ(self) -> bool:
        """Whether held-out text scored differently in two of them: another text, or another judge."""
        scores = {
            (each.values.get("reference") or {}).get("judge_nll")
            for each in self.all
            if each.values.get("reference")
        }
        return len(scores) > 1


def overview(evaluations: Sequence[Evaluation]) -> ReportTable:
    """Sample quality of all evaluations, a row for each and every T."""
    rows = []
    for evaluation in evaluations:
        quality = evaluation.values.get("quality") or {}
        for t in sorted(quality, key=int):
            rows.append(
                (
                    evaluation.name,
                    evaluation.sampler or "not named",
                    t,
                    *cost_cells(quality[t]),
                    *quality_cells(quality[t], COLUMNS[:4]),
                )
            )
    headings = (heading for _, heading, _ in COLUMNS[:4])
    return ReportTable(("File", "Sampler", "T", *COST_HEADINGS, *headings), tuple(rows), None)


def _is_evaluation(values: Mapping[str, Any]) -> bool:
    return isinstance(values.get("bound"), Mapping)
