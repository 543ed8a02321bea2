"""Tables of `data_limited.py`: figures of every system, and differences seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compare import spread

from hdiff.ablation.statistics import paired_difference

Figures = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""CORPUS/SIZE -> system -> seed -> figures."""

COLUMNS: dict[str, tuple[str, int]] = {
    "validation_bound": ("validation minimum", 3),
    "bound": ("bound, nats/token", 3),
    "best_process": ("best process", 3),
    "L_1": ("L_1", 3),
    "L_16": ("L_16", 3),
    "epochs": ("epochs to the minimum", 0),
    "updates": ("updates in all", 0),
    "other": ("another corpus", 3),
    "gap": ("gold phrases", 3),
    "agreement": ("agreement, %", 1),
    "blimp": ("BLiMP, %", 1),
}


def _value(own: Mapping[str, Any], column: str) -> float | None:
    if column == "best_process":
        return own["best_process"]["nats"] if column in own else None
    if column.startswith("L_"):
        return own.get("L", {}).get(column[2:])
    if column == "gap":
        return own.get("gold_gaps", {}).get("phrases")
    value = own.get(column)
    return 100 * value if value is not None and column in ("agreement", "blimp") else value


def table(results: Figures) -> str:
    """Markdown: mean and standard deviation over seeds."""
    titles = ["corpus", "system", "seeds", *(title for title, _ in COLUMNS.values())]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for name, systems in results.items():
        for system, seeds in systems.items():
            cells = [name, system, str(len(seeds))]
            for column, (_, digits) in COLUMNS.items():
                values = [v for own in seeds.values() if (v := _value(own, column)) is not None]
                cells.append(spread(values, digits=digits))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


PAIRS = (
    ("spans_supervised", "spans", "supervision"),
    ("spans_classes", "spans", "classes of the head"),
    ("spans_parsed", "spans", "both"),
    ("spans_neighbours", "spans", "supervision, without a parser"),
    ("spans_distributional", "spans", "both, without a parser"),
    ("spans_supervised", "spans_neighbours", "the parser's own part of supervision"),
    ("spans_parsed", "spans_distributional", "the parser's own part of both"),
    ("spans_parsed", "spans_supervised", "classes on top of supervision"),
    ("spans", "token_masking", "joint spans"),
    ("spans_supervised", "token_masking", "joint spans with supervision"),
    ("token_masking_supervised", "token_masking", "supervision of token masking"),
    ("token_masking", "autoregressive", "diffusion"),
)
"""System, its reference, and what their difference is worth."""


COMPARED = ("validation_bound", "best_process", "gap", "other")
"""Columns whose differences are told."""


def differences(results: Figures) -> str:
    """Markdown: differences seed by seed, with their 95 % interval and what it says."""
    titles = ["corpus", "what", "system - reference", *(COLUMNS[column][0] for column in COMPARED)]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for name, systems in results.items():
        for system, reference, what in PAIRS:
            cells = [
                _difference(systems.get(system, {}), systems.get(reference, {}), column)
                for column in COMPARED
            ]
            if any(cells):
                lines.append("| " + " | ".join([name, what, f"{system} - {reference}", *cells]) + " |")
    return "\n".join(lines)


def _difference(one: Mapping[str, Any], other: Mapping[str, Any], column: str) -> str:
    """A cell: the mean over seeds that both have, its interval, and what it says."""
    first, second = (
        {int(seed): value for seed, own in seeds.items() if (value := _value(own, column)) is not None}
        for seeds in (one, other)
    )
    if not first.keys() & second.keys():
        return ""
    pair = paired_difference(first, second)
    interval = "" if pair.low is None else f" [{pair.low:+.3f}, {pair.high:+.3f}]"
    return f"{pair.mean:+.3f}{interval}, {pair.verdict}"
