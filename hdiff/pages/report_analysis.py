"""Loss per label and calibration as a report shows them: rows with bars, charts with tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hdiff.pages.report_charts import Chart

CALIBRATIONS = {
    "tokens": (
        "Tokens",
        "The most likely token of every hidden position, predicted alone from what is visible.",
    ),
    "spans": (
        "Whole spans",
        "The greedy filling of every hidden span of several tokens; right if all its tokens are.",
    ),
    "boundary": ("Planner: borders", "Whether a span of its level begins at a hidden position."),
    "label": ("Planner: labels", "The most likely label of the span around a hidden position."),
}
"""Key of analysis.json -> heading, and what is predicted."""

PROBABILITY_LABELS = ("predicted probability", "observed frequency")


def loss_by_time_chart(analysis: Mapping[str, Any]) -> Chart | None:
    """Mean loss over t; None for a model without times."""
    entries = analysis["loss"]["by_time"]
    if not analysis.get("times"):
        return None
    return {
        "x_label": "time t",
        "y_label": "mean −log p, nats per token",
        "series": [
            {"name": "mean loss", "points": [[e["t"], e["mean"], e["stderr"] or 0.0] for e in entries]}
        ],
        "references": [],
        "table": {
            "columns": ("t", "Mean −log p", "Standard error", "Tokens"),
            "rows": [
                (f"{e['t']:g}", f"{e['mean']:.3f}", _error(e["stderr"]), f"{e['tokens']:,}") for e in entries
            ],
        },
    }


def loss_groups(analysis: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The groups of tokens, their losses as text, and where bars and error bars lie, in percent."""
    groups = analysis["loss"]["groups"]
    everything = analysis["loss"]["all"]["mean"]
    ends = [row["mean"] + (row["stderr"] or 0.0) for group in groups for row in group["rows"]]
    widest = max([everything, *ends]) or 1.0

    def percent(value: float) -> float:
        return round(100 * min(1.0, max(0.0, value / widest)), 2)

    return [
        {
            "name": group["name"],
            "rows": [
                {
                    "label": row["label"],
                    "mean": f"{row['mean']:.2f}",
                    "stderr": "" if row["stderr"] is None else f"± {row['stderr']:.2f}",
                    "tokens": f"{row['tokens']:,}",
                    "sort": (row["mean"], row["tokens"]),
                    "bar": percent(row["mean"]),
                    "low": percent(row["mean"] - (row["stderr"] or 0.0)),
                    "high": percent(row["mean"] + (row["stderr"] or 0.0)),
                    "all": percent(everything),
                }
                for row in group["rows"]
            ],
        }
        for group in groups
    ]


def calibration_charts(analysis: Mapping[str, Any]) -> dict[str, Chart]:
    """A reliability diagram for everything that was predicted with a probability."""
    charts = {}
    for key, (title, what) in CALIBRATIONS.items():
        curve = analysis["calibration"].get(key)
        if curve is None:
            continue
        charts[f"calibration_{key}"] = {
            "kind": "calibration",
            "title": title,
            "what": what,
            "x_label": PROBABILITY_LABELS[0],
            "y_label": PROBABILITY_LABELS[1],
            "bins": [
                [b["predicted"], b["observed"], b["stderr"] or 0.0, b["count"], b["low"], b["high"]]
                for b in curve["bins"]
            ],
            "text": (
                f"Expected calibration error {curve['expected_error']:.3f}, Brier score "
                f"{curve['brier']:.3f}, {curve['count']:,} predictions, {curve['observed']:.1%} of them true."
            ),
            "table": {
                "columns": ("Probability", "Predictions", "Mean predicted", "Observed", "Standard error"),
                "rows": [
                    (
                        f"{b['low']:.1f} to {b['high']:.1f}",
                        f"{b['count']:,}",
                        f"{b['predicted']:.3f}",
                        f"{b['observed']:.3f}",
                        _error(b["stderr"]),
                    )
                    for b in curve["bins"]
                ],
            },
        }
    return charts


def _error(stderr: float | None) -> str:
    return "" if stderr is None else f"{stderr:.3f}"
