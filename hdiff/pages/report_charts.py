"""Charts of training and evaluation: what the page draws, and the same as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hdiff.evaluation.perplexity import shown
from hdiff.evaluation.reading import best_process, judged
from hdiff.pages.report_evaluations import Evaluation, Evaluations

MAX_POINTS = 500
"""Most points a curve is drawn with; longer ones are averaged in buckets."""

TABLE_ROWS = 12
"""Rows of the table beside the loss curve."""

QUALITY = (
    ("judge_nll", "judge NLL, nats per token"),
    ("unigram_entropy", "unigram entropy, nats"),
)
COSTS = (("nfe", "NFE (trunk calls)"), ("seconds_per_sample", "seconds per sample"))

Chart = dict[str, Any]


def loss_chart(metrics: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Training loss and validation bound over steps, of the lines of metrics.jsonl; None without any."""
    loss, validation = _points(metrics, "loss"), _points(metrics, "validation_bound")
    if not loss and not validation:
        return None
    series: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    if loss:
        drawn, colour = _averaged(loss), "var(--accent)"
        smooth = _smoothed(drawn)
        series.append({"name": "each step", "points": drawn, "faint": True, "colour": colour})
        series.append({"name": "training loss, smoothed", "points": smooth, "colour": colour})
        every = max(1, math.ceil(len(smooth) / TABLE_ROWS))
        chosen = [*smooth[::every], *smooth[-1:]] if (len(smooth) - 1) % every else smooth[::every]
        rows += [("training loss, smoothed", f"{step:,}", f"{value:.3f}") for step, value in chosen]
    if validation:
        series.append({"name": "validation bound", "points": _averaged(validation), "colour": "var(--warm)"})
        rows += [("validation bound", f"{step:,}", f"{value:.3f}") for step, value in validation]
    return {
        "x_label": "step",
        "y_label": "nats per token",
        "series": series,
        "table": {"columns": ("Curve", "Step", "Nats per token"), "rows": rows},
    }


def t_step_chart(evaluations: Evaluations) -> Chart | None:
    """L_T over T, a curve for each evaluation whose bounds compare; None without any."""
    series, rows = [], []
    for evaluation in evaluations.comparable:
        curve = evaluation.values.get("t_step") or {}
        errors = evaluation.values.get("t_step_stderr") or {}
        is_given = evaluation.is_conditional
        points = [[int(t), curve[t], errors.get(t) or 0.0] for t in sorted(curve, key=int)]
        if points:
            series.append({"name": evaluation.name, "points": points})
            rows += [
                (evaluation.name, t, f"{value:.3f}", f"{error:.3f}", "" if is_given else shown(value))
                for t, value, error in points
            ]
    if not series:
        return None
    bound = (evaluations.main.values.get("bound") or {}) if evaluations.main else {}
    references = []
    if bound.get("nats_per_token") is not None and not bound.get("conditional_on_structure"):
        references.append({"label": "bound of the training process", "y": bound["nats_per_token"]})
    best = best_process(each.values for each in evaluations.comparable)
    if best is not None and len(rows) > 1 and best.nats not in [line["y"] for line in references]:
        references.append({"label": f"best: {best.name}", "y": best.nats})
    return {
        "x_label": "sampling steps T",
        "y_label": "L_T, nats per token",
        "log_x": True,
        "series": series,
        "references": references,
        "table": {
            "columns": (
                "File",
                "T",
                "L_T, nats per token",
                "Standard error",
                "Perplexity per token (upper bound)",
            ),
            "rows": [tuple(str(cell) for cell in row) for row in rows],
        },
    }


def quality_charts(evaluations: Sequence[Evaluation]) -> dict[str, Chart | None]:
    """Judge NLL and entropy of samples, over NFE and over seconds; None without points."""
    return {
        f"{figure}_{cost}": _quality_chart(evaluations, figure, y_label, cost, x_label)
        for figure, y_label in QUALITY
        for cost, x_label in COSTS
    }


def _quality_chart(
    evaluations: Sequence[Evaluation], figure: str, y_label: str, cost: str, x_label: str
) -> Chart | None:
    series = []
    for evaluation in evaluations:
        quality = evaluation.values.get("quality") or {}
        # A fourth number says which T a point is.
        points = [
            [quality[t][cost], quality[t][figure], _error(quality[t], figure), f"T = {t}"]
            for t in sorted(quality, key=int)
            if _is_shown(quality[t], figure) and (quality[t].get(cost) or 0) > 0
        ]
        if points:
            series.append({"name": evaluation.name, "points": points})
    if not series:
        return None
    held_out = evaluations[0].values.get("reference") or {}
    reference = held_out.get(figure) if _is_shown(held_out, figure) else None
    return {
        "x_label": x_label,
        "y_label": y_label,
        "log_x": True,
        "series": series,
        "references": [] if reference is None else [{"label": "held-out text", "y": reference}],
    }


def _is_shown(figures: Mapping[str, Any], figure: str) -> bool:
    """Whether a figure was measured, and on enough samples if a judge gave it."""
    return figures.get(figure) is not None and (figure != "judge_nll" or judged(figures) is not None)


def _error(figures: Mapping[str, Any], figure: str) -> float:
    error = figures.get(f"{figure}_stderr")
    return error if error is not None and math.isfinite(error) else 0.0


def _points(metrics: Sequence[Mapping[str, Any]], key: str) -> list[list[float]]:
    return [
        [line["step"], line[key]]
        for line in metrics
        if line.get(key) is not None and "step" in line and math.isfinite(line[key])
    ]


def _averaged(points: Sequence[Sequence[float]]) -> list[list[float]]:
    """At most MAX_POINTS points: means over equally many neighbours."""
    size = math.ceil(len(points) / MAX_POINTS)
    buckets = [points[start : start + size] for start in range(0, len(points), max(1, size))]
    return [
        [bucket[len(bucket) // 2][0], sum(point[1] for point in bucket) / len(bucket)] for bucket in buckets
    ]


def _smoothed(points: Sequence[Sequence[float]], *, half_width: int = 7) -> list[list[float]]:
    """Moving average over up to `2 * half_width + 1` points, centred; those at the end look back."""
    smooth = []
    for i, (step, _) in enumerate(points):
        reach = min(half_width, i)  # equal on both sides at the beginning, where curves are steep
        window = points[i - reach : i + reach + 1]
        smooth.append([step, sum(point[1] for point in window) / len(window)])
    return smooth
