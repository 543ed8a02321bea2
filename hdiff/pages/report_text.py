"""Words and tables of a report: headline numbers with their meaning, sample quality, provenance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hdiff.evaluation.perplexity import perplexity_text, shown, what_is_bounded
from hdiff.evaluation.reading import best_process, judged_text, parallel_cost, processes
from hdiff.runs.record import RunRecord

COLUMNS = (
    ("judge_nll", "Judge NLL, nats per token", 2),
    ("unigram_entropy", "Unigram entropy, nats", 2),
    ("distinct_2", "Distinct-2", 3),
    ("seconds_per_sample", "Seconds per sample", 3),
    ("ngram_nll", "N-gram NLL, nats per token", 2),
    ("link_grammar_rate", "Parsed by link-grammar", 3),
    ("phrase_valid", "Valid phrases", 3),
    ("phrase_ceiling", "Best factorised model", 3),
)
"""Columns of the quality table: key, heading, decimals."""

COST_HEADINGS = ("NFE", "Head passes")
"""What samples cost: trunk calls, and passes of the head one after another."""


@dataclass(frozen=True)
class Headline:
    """One number at the top of a report.

    Attributes:
        label: What it is.
        value: The number as text.
        unit: Its unit, or an empty string.
        meaning: A sentence for a reader who is new to the field.
    """

    label: str
    value: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class ReportTable:
    """A table of text cells; the first cell of a row is its heading.

    Attributes:
        columns: Headings.
        rows: Cells of each row.
        reference: A last row to compare with, or None.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    reference: tuple[str, ...] | None


def headlines(record: RunRecord, evaluation: Mapping[str, Any]) -> list[Headline]:
    """The numbers a reader should see first, as far as they were measured."""
    lines = [_bound(evaluation.get("bound")), _best(evaluation), _parallel_cost(evaluation)]
    lines += [_judged(evaluation), _size(record)]
    return [headline for headline in lines if headline is not None]


def _bound(bound: Mapping[str, Any] | None) -> Headline | None:
    if not bound or bound.get("nats_per_token") is None:
        return None
    nats = bound["nats_per_token"]
    error = f" ± {bound['stderr']:.2f}" if math.isfinite(bound.get("stderr") or math.nan) else ""
    tokens = f"{bound['tokens']:,} held-out tokens" if bound.get("tokens") else "held-out text"
    what = what_is_bounded(bound).replace("-", "−")
    if bound.get("kind") == "exact":
        meaning = f"{what}, exact and not a bound, on {tokens}: {perplexity_text(bound)}."
        return Headline("Negative log-likelihood", f"{nats:.2f}{error}", "nats per token", meaning)
    if bound.get("conditional_on_structure"):
        meaning = (
            "Given the structure: not comparable. The model was shown the segmentation of the true text, "
            f"so this is −log p(x_0 | structure), measured on {tokens}."
        )
        return Headline("Bound given the structure", f"{nats:.2f}{error}", "nats per token", meaning)
    meaning = f"Upper bound on {what}, measured on {tokens}: {perplexity_text(bound)}."
    if (uniform := bound.get("uniform_nats_per_token")) is not None:
        meaning += f" Guessing uniformly scores {uniform:.2f}."
    return Headline("Bound of the training process", f"{nats:.2f}{error}", "nats per token", meaning)


def _best(evaluation: Mapping[str, Any]) -> Headline | None:
    """The best way to write, where there is more than one; the bound of training stands beside it."""
    best = best_process([evaluation])
    if best is None or len(processes(evaluation)) < 2:
        return None
    meaning = (
        f"Of {len(processes(evaluation))} ways to write whose bound was measured, {best.name} has the "
        f"lowest: perplexity per token (upper bound) {shown(best.nats)}."
    )
    return Headline("Best process", best.shown, "nats per token", meaning)


def _parallel_cost(evaluation: Mapping[str, Any]) -> Headline | None:
    cost = parallel_cost(evaluation)
    if cost is None:
        return None
    unit = "nats per token" if cost.context is None else f"of {cost.context:.2f} nats per token"
    return Headline("Cost of parallel decoding", f"{cost.nats:.3f}", unit, cost.meaning)


def _judged(evaluation: Mapping[str, Any]) -> Headline | None:
    quality = evaluation.get("quality") or {}
    steps = [t for t in sorted(quality, key=int) if judged_text(quality[t])]
    if not steps:
        return None
    last = steps[-1]
    meaning = (
        f"How surprising {quality[last]['samples']} samples made in {last} steps are to a separately trained "
        f"autoregressive model."
    )
    if reference := judged_text(evaluation.get("reference"), 2):
        meaning += f" Held-out real text scores {reference}."
    return Headline("Samples under the judge", judged_text(quality[last], 2), "nats per token", meaning)


def _size(record: RunRecord) -> Headline | None:
    parameters = record.run.get("parameters") or {}
    if not parameters.get("total"):
        return None
    parts = [
        f"{count(parameters[part])} {part}" for part in ("trunk", "head", "embedding") if parameters.get(part)
    ]
    return Headline("Parameters", count(parameters["total"]), "", ", ".join(parts) + "." if parts else "")


def quality_table(evaluation: Mapping[str, Any]) -> ReportTable | None:
    """Sample quality by the number of sampling steps, with held-out text as the reference."""
    quality = evaluation.get("quality")
    if not quality:
        return None
    by_steps = {key: evaluation.get(key) or {} for key in ("phrase_valid", "phrase_ceiling")}
    rows = {
        t: {**{key: values.get(t) for key, values in by_steps.items()}, **quality[t]}
        for t in sorted(quality, key=int)
    }
    reference = evaluation.get("reference") or {}
    columns = [column for column in COLUMNS if any(row.get(column[0]) is not None for row in rows.values())]
    has_reference = any(reference.get(key) is not None for key, _, _ in columns)
    return ReportTable(
        columns=("Steps", *COST_HEADINGS, *(heading for _, heading, _ in columns)),
        rows=tuple((t, *cost_cells(row), *quality_cells(row, columns)) for t, row in rows.items()),
        reference=("held-out text", "", "", *quality_cells(reference, columns)) if has_reference else None,
    )


def cost_cells(row: Mapping[str, Any]) -> tuple[str, str]:
    """Trunk calls and passes of the head as text, under `COST_HEADINGS`."""
    return whole(row.get("nfe")), whole(row.get("head_passes"))


def quality_cells(
    row: Mapping[str, Any], columns: Sequence[tuple[str, str, int]] = COLUMNS
) -> tuple[str, ...]:
    """Figures of one set of samples as text, in the order of the columns."""
    return tuple(
        judged_text(row, digits)
        if key == "judge_nll"
        else ""
        if row.get(key) is None
        else f"{row[key]:.{digits}f}"
        for key, _, digits in columns
    )


def whole(value: float | None) -> str:
    """A number without decimals if it needs none, otherwise with one; empty for None."""
    return "" if value is None else f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"


def facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where a run comes from, as (name, text) pairs; what is unknown is left out."""
    data = run.get("data") or {}
    levels = data.get("levels")
    pairs = [
        ("Created", run.get("created")),
        ("Commit", run.get("commit")),
        ("Seed", run.get("seed")),
        ("Data", data.get("source")),
        ("Parser", _parser(data.get("parser"))),
        ("Levels", ", ".join(levels) if levels else None),
        ("Training tokens", f"{data['train_tokens']:,}" if data.get("train_tokens") else None),
        ("Vocabulary", f"{run['vocab_size']:,} tokens" if run.get("vocab_size") else None),
        ("Steps", f"{run['steps']:,}" if run.get("steps") else None),
        ("Tokens seen", f"{run['tokens_seen']:,}" if run.get("tokens_seen") else None),
        ("Training time", duration(run["train_seconds"]) if run.get("train_seconds") else None),
        ("Machine", _listed(run.get("machine"))),
        ("Versions", _listed(run.get("versions"))),
    ]
    return [(name, str(value)) for name, value in pairs if value is not None and value != ""]


def _parser(value: Any) -> str | None:
    """Name and model of a parser; its hashes stay in run.json."""
    if isinstance(value, Mapping):
        return ", ".join(str(value[key]) for key in ("name", "model", "model_version") if value.get(key))
    return None if value is None else str(value)


def _listed(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or None
    return None if value is None else str(value)


def count(number: float) -> str:
    """A count in three digits: 950, 1.4 M, 54 k."""
    for size, unit in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}" if number / size < 1000 else f"{number / size:.0f}{unit}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """A duration in the largest unit that fits: 42 s, 5.3 min, 2.1 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
