"""The diagnosis of a run as a report shows it: frequency collapse and the marginal trap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hdiff.pages.report_charts import Chart

TITLES = {
    "count": "Pairs",
    "unit": "A pair is two",
    "total_correlation": "Total correlation, nats per pair",
    "stderr": "Its standard error",
    "excess_surprise": "Excess surprise, nats per pair",
    "excess_stderr": "Standard error of the surprise",
    "trapped": "Pairs filled at once that fit badly",
    "trapped_in_turn": "The same, filled in turn",
    "head_joint_recovers": "The joint head gains, nats per pair",
    "head_stderr": "Standard error of the gain",
    "head_on_chain": "The joint head gains on pairs filled in turn",
    "true_pairs": "Pairs of the text",
    "product_nats": "−log p, filled at once",
    "chain_nats": "−log p, filled in turn",
    "head_nats": "−log p, by the joint head",
    "gain": "at once less in turn",
    "gain_stderr": "standard error of that",
    "head_count": "Pairs that a joint head can fill",
    "disagreement_product": "Disagreeing, filled at once",
    "disagreement_chain": "Disagreeing, filled in turn",
    "disagreement_head": "Disagreeing, by the joint head",
    "disagreement_product_there": "Of the same pairs at once",
    "disagreement_chain_there": "Of the same pairs in turn",
    "left_out": "Frames left out",
    "half_distance": "KL is halved at distance",
    "prefixes": "Prefixes",
    "unigram_entropy": "Unigram entropy, nats",
}
"""What the figures of diagnosis.json are called; others keep their key."""

CURVES = (
    ("kl_to_unigram", "KL to the unigram distribution, nats"),
    ("entropy", "entropy of the prediction, nats"),
    ("top10_share", "share of likeliest tokens among the top 10"),
)


def diagnosis_charts(diagnosis: Mapping[str, Any]) -> dict[str, Chart]:
    """Curves over the distance of a mask from the text before it, as far as measured."""
    collapse = diagnosis.get("frequency_collapse") or {}
    distance = collapse.get("distance") or []
    charts: dict[str, Chart] = {}
    for key, y_label in CURVES:
        values = collapse.get(key) or []
        if not distance or len(values) != len(distance):
            continue
        errors = collapse.get("kl_stderr") if key == "kl_to_unigram" else None
        errors = errors if errors and len(errors) == len(distance) else [0.0] * len(distance)
        entropy = collapse.get("unigram_entropy") if key == "entropy" else None
        charts[f"diagnosis_{key}"] = {
            "x_label": "masks from the text",
            "y_label": y_label,
            "log_x": True,
            "series": [
                {
                    "name": "this model",
                    "points": [
                        [x, y, error or 0.0]
                        for x, y, error in zip(distance, values, errors, strict=True)
                        if x > 0 and y is not None
                    ],
                }
            ],
            "references": [] if entropy is None else [{"label": "unigram distribution", "y": entropy}],
        }
    return charts


def collapse_table(diagnosis: Mapping[str, Any]) -> dict[str, Any] | None:
    """The curves as a table; None without curves."""
    collapse = diagnosis.get("frequency_collapse") or {}
    distance = collapse.get("distance") or []
    keys = [key for key, _ in (*CURVES[:1], ("kl_stderr", ""), *CURVES[1:])]
    kept = [key for key in keys if len(collapse.get(key) or []) == len(distance)]
    if not distance or not kept:
        return None
    names = dict(CURVES) | {"kl_stderr": "its standard error"}
    columns = ("Distance", *(names[key] for key in kept))
    rows = [(str(x), *(_number(collapse[key][i]) for key in kept)) for i, x in enumerate(distance)]
    return {"columns": columns, "rows": rows}


@dataclass(frozen=True)
class Trap:
    """Figures of one part of the marginal trap as text.

    Attributes:
        heading: What was filled.
        facts: (name, figure), without what was not measured.
        columns: Headings of a table of its parts; empty if it has none.
        rows: Their figures.
    """

    heading: str
    facts: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def traps(diagnosis: Mapping[str, Any]) -> list[Trap]:
    """Figures of the marginal trap, of pairs of held-out text and of agreement, those that were measured."""
    trap = diagnosis.get("marginal_trap") or {}
    parts = (("Two neighbours, filled at once or in turn", "pairs"), ("Words that must agree", "agreement"))
    return [_trap(heading, values) for heading, key in parts if isinstance(values := trap.get(key), Mapping)]


def _trap(heading: str, values: Mapping[str, Any]) -> Trap:
    facts: list[tuple[str, str]] = []
    table: dict[str, Mapping[str, Any]] = {}
    for key, value in values.items():
        if not isinstance(value, Mapping):
            facts += _fact(key, value)
        elif value and all(isinstance(inner, Mapping) for inner in value.values()):
            table |= value
        else:
            facts += [fact for name, inner in value.items() for fact in _fact(name, inner, within=key)]
    keys = list(dict.fromkeys(key for each in table.values() for key in each))
    rows = [
        (name.replace("_", " "), *(_number(each.get(key)) for key in keys)) for name, each in table.items()
    ]
    columns = ("Of these", *(_title(key) for key in keys)) if table else ()
    return Trap(heading, tuple(facts), columns, tuple(rows))


def _fact(key: str, value: Any, *, within: str | None = None) -> list[tuple[str, str]]:
    if value is None or not isinstance(value, (int, float, str)):
        return []
    return [(_title(key) if within is None else f"{_title(within)}: {_title(key)}", _number(value))]


def _title(key: str) -> str:
    return TITLES.get(key, key.replace("_", " "))


def collapse_facts(diagnosis: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Single figures of the frequency collapse as text."""
    collapse = diagnosis.get("frequency_collapse") or {}
    return [
        (TITLES[key], _number(collapse[key]))
        for key in ("half_distance", "unigram_entropy", "prefixes")
        if collapse.get(key) is not None
    ]


def examples(diagnosis: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Context, the filling at once and the filling in turn, of the pairs that went most wrong."""
    pairs = (diagnosis.get("marginal_trap") or {}).get("examples") or []
    return [
        (str(each.get("context", "")), str(each.get("product", "")), str(each.get("chain", "")))
        for each in pairs
        if isinstance(each, Mapping)
    ]


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)
