"""Report of one run: headline numbers, curves, samples and provenance as a single HTML page."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hdiff.pages import check_exploration, check_trajectory, render_page
from hdiff.report_text import count, duration, facts, headlines, quality_table
from hdiff.run_record import RunRecord

MAX_POINTS = 500
"""Most points a curve is drawn with; longer ones are averaged in buckets."""

SCRIPTS = ("charts.js", "inspection.js", "trajectory.js", "start_report.js")


def build_report(run: Path) -> str:
    """Builds the page `hdiff report RUN` writes to `RUN/report.html`.

    Parts that were not made yet (evaluation, samples ...) are replaced by the command that makes them.

    Args:
        run: A run folder.

    Returns:
        The page as HTML, self-contained.

    Raises:
        CheckpointError: If the folder is missing, is no run folder, or a file in it is damaged.
        DataError: If samples or explorations are not what `hdiff.pages` describes.
    """
    record = RunRecord.read(Path(run))
    trajectory = _trajectory(record)
    explorations = record.explorations or []
    for exploration in explorations:
        check_exploration(exploration)
    charts = _charts(record)
    return render_page(
        "report.html",
        title=str(record.run.get("name", record.path.name)),
        data={"charts": charts, "trajectory": trajectory, "explorations": explorations},
        scripts=SCRIPTS,
        context={
            "record": record,
            "path": shlex.quote(str(record.path)),
            "summary": _summary(record),
            "numbers": headlines(record),
            "bound": (record.evaluation or {}).get("bound"),
            "charts": charts,
            "trajectory": trajectory,
            "texts": [sample.get("text", "") for sample in (record.samples or {}).get("samples", [])],
            "explorations": explorations,
            "quality": quality_table(record.evaluation or {}),
            "facts": facts(record.run),
        },
    )


def _summary(record: RunRecord) -> str:
    run = record.run
    parts = []
    if total := (run.get("parameters") or {}).get("total"):
        parts.append(f"{count(total)} parameters")
    if source := (run.get("data") or {}).get("source"):
        parts.append(f"trained on {source}")
    if run.get("steps"):
        parts.append(f"{run['steps']:,} steps")
    if run.get("tokens_seen"):
        parts.append(f"{count(run['tokens_seen'])} tokens seen")
    if run.get("train_seconds"):
        parts.append(duration(run["train_seconds"]))
    return ", ".join(parts)


def _trajectory(record: RunRecord) -> dict[str, Any] | None:
    """The samples as a trajectory, or None when they carry no steps (an autoregressive model's)."""
    samples = record.samples
    if not samples or not samples.get("samples") or not all(s.get("pieces") for s in samples["samples"]):
        return None
    trajectory = {
        "title": "Samples",
        "num_steps": samples["num_steps"],
        "samples": [{"pieces": sample["pieces"]} for sample in samples["samples"]],
    }
    check_trajectory(trajectory)
    return trajectory


def _charts(record: RunRecord) -> dict[str, Any]:
    """The charts by the name of the place they go to; None where there is no data."""
    return {
        "loss": _loss_chart(record.metrics or []),
        "t_step": _t_step_chart(record.evaluation or {}),
        "judge": _judge_chart(record.evaluation or {}),
    }


def _loss_chart(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    loss = _points(metrics, "loss")
    validation = _points(metrics, "validation_bound")
    if not loss and not validation:
        return None
    series: list[dict[str, Any]] = []
    if loss:
        drawn = _averaged(loss)
        colour = "var(--accent)"
        series.append({"name": "each step", "points": drawn, "faint": True, "colour": colour})
        series.append({"name": "training loss, smoothed", "points": _smoothed(drawn), "colour": colour})
    if validation:
        series.append({"name": "validation bound", "points": _averaged(validation), "colour": "var(--warm)"})
    return {"x_label": "step", "y_label": "nats per token", "series": series}


def _t_step_chart(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    curve = evaluation.get("t_step")
    if not curve:
        return None
    errors = evaluation.get("t_step_stderr") or {}
    points = [[int(t), curve[t], errors.get(t) or 0.0] for t in sorted(curve, key=int)]
    bound = evaluation.get("bound") or {}
    references = []
    if bound.get("nats_per_token") is not None and not bound.get("conditional_on_structure"):
        references.append({"label": "bound in continuous time", "y": bound["nats_per_token"]})
    return {
        "x_label": "sampling steps T",
        "y_label": "L_T, nats per token",
        "log_x": True,
        "series": [{"name": "L_T", "points": points}],
        "references": references,
    }


def _judge_chart(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    quality = evaluation.get("quality") or {}
    points = [
        [int(t), quality[t]["judge_nll"]]
        for t in sorted(quality, key=int)
        if quality[t].get("judge_nll") is not None
    ]
    if not points:
        return None
    reference = (evaluation.get("reference") or {}).get("judge_nll")
    return {
        "x_label": "sampling steps T",
        "y_label": "nats per token under the judge",
        "log_x": True,
        "series": [{"name": "samples", "points": points}],
        "references": [] if reference is None else [{"label": "held-out text", "y": reference}],
    }


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
    """Centred moving average over up to `2 * half_width + 1` points; narrower at the ends."""
    smooth = []
    for i, (step, _) in enumerate(points):
        reach = min(half_width, i, len(points) - 1 - i)
        window = points[i - reach : i + reach + 1]
        smooth.append([step, sum(point[1] for point in window) / len(window)])
    return smooth
