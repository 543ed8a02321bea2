"""Report of one run: headline numbers, curves, samples and provenance as a single HTML page."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hdiff.errors import CheckpointError
from hdiff.evaluation.reading import parallel_cost
from hdiff.pages.page import check_exploration, check_trajectory, render_page
from hdiff.pages.report_analysis import calibration_charts, loss_by_time_chart, loss_groups
from hdiff.pages.report_charts import Chart, loss_chart, quality_charts, t_step_chart
from hdiff.pages.report_diagnosis import collapse_facts, collapse_table, diagnosis_charts, examples, traps
from hdiff.pages.report_evaluations import Evaluations, overview
from hdiff.pages.report_text import count, duration, facts, headlines, quality_table
from hdiff.pages.trajectory import steps_text
from hdiff.runs.record import RunRecord
from hdiff.runs.results import request_text
from hdiff.runs.weights import newest_checkpoint, used_step, weights_of
from hdiff.shipped import is_builtin, model_name

SCRIPTS = ("charts.js", "calibration.js", "tables.js", "inspection.js", "trajectory.js", "start_report.js")


def build_report(run: Path) -> str:
    """The page that `hdiff report RUN` writes; a part not made yet is replaced by its command."""
    return report_page(RunRecord.read(Path(run)))


def report_page(record: RunRecord) -> str:
    """As `build_report`, of a record that is read already."""
    free, others = _free_samples(record)
    trajectory = _trajectory(free)
    explorations = record.explorations or []
    for exploration in explorations:
        check_exploration(exploration)
    evaluations = Evaluations.of(record)
    main = {} if evaluations.main is None else evaluations.main.values
    charts = _charts(record, evaluations)
    table = overview(evaluations.all)
    return render_page(
        "report.html",
        title=str(record.run.get("name", record.path.name)),
        data={
            "charts": {name: _drawn(chart) for name, chart in charts.items()},
            "trajectory": trajectory,
            "explorations": explorations,
        },
        scripts=SCRIPTS,
        context={
            "record": record,
            "path": shlex.quote(model_name(record.path)),
            "is_shipped": is_builtin(model_name(record.path)),
            "summary": _summary(record),
            "numbers": headlines(record, main),
            "bound": main.get("bound"),
            "cost": parallel_cost(main),
            "main": main,
            "step": None if (newest := newest_checkpoint(record.path)) is None else used_step(newest),
            "evaluations": evaluations,
            "charts": charts,
            "trajectory": trajectory,
            "free": free,
            "steps_text": "" if trajectory is None else steps_text(trajectory),
            "texts": [sample.get("text", "") for sample in (free or {}).get("samples", [])],
            "others": others,
            "request_text": request_text,
            "sentences": dict.fromkeys(exploration["text"] for exploration in explorations),
            "word_tables": _word_tables(explorations),
            "explorations": explorations,
            "quality": quality_table(main),
            "overview": table if table.rows and len(evaluations.all) > 1 else None,
            "pairs": _minimal_pairs(main),
            "facts": facts(record.run),
            **_analysis(record),
            **_diagnosis(record),
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


def _free_samples(record: RunRecord) -> tuple[dict[str, Any] | None, dict[str, dict[str, Any]]]:
    """The free, unselected samples if there are any, and all others by the name of their file.

    An older version wrote all samples to one file and not what was asked for. Given text has step 0 in it,
    and samples that were chosen among candidates have a score.
    """
    samples = record.samples
    if samples is None or "asked" in samples:
        return samples, record.other_samples
    drawn = [sample for sample in samples.get("samples", []) if isinstance(sample, Mapping)]
    is_asked = any(
        "score" in sample or any(piece.get("step") == 0 for piece in sample.get("pieces") or ())
        for sample in drawn
    )
    return (
        (None, {"samples": samples, **record.other_samples}) if is_asked else (samples, record.other_samples)
    )


def _trajectory(samples: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The samples as a trajectory, or None when they carry no steps (an autoregressive model's)."""
    if not samples or not samples.get("samples") or not all(s.get("pieces") for s in samples["samples"]):
        return None
    trajectory = {
        "title": "Samples",
        "num_steps": samples["num_steps"],
        "samples": [{"pieces": sample["pieces"]} for sample in samples["samples"]],
    }
    check_trajectory(trajectory)
    return trajectory


def _charts(record: RunRecord, evaluations: Evaluations) -> dict[str, Chart | None]:
    """The charts by the name of the place they go to; None where there is no data."""
    charts: dict[str, Chart | None] = {
        "loss": loss_chart(record.metrics or []),
        "t_step": t_step_chart(evaluations),
        **quality_charts(evaluations.all),
    }
    if record.analysis is not None:
        with _reading("analysis.json"):
            charts["loss_by_time"] = loss_by_time_chart(record.analysis)
            charts |= calibration_charts(record.analysis)
    if record.diagnosis is not None:
        charts |= diagnosis_charts(record.diagnosis)
    return charts


def _drawn(chart: Chart | None) -> Chart | None:
    """What the script needs: a table stands in the page already."""
    return None if chart is None else {key: value for key, value in chart.items() if key != "table"}


def _word_tables(explorations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first exploration of each sentence as a table."""
    first = {exploration["text"]: exploration for exploration in reversed(explorations)}
    return [
        {
            "title": f"{text} ({exploration.get('choice') or exploration['title']})",
            "columns": ("Word", "Salience", "Hidden from t"),
            "rows": [
                (word["text"], f"{word.get('salience', 1.0):.2f}", f"{word['time']:.2f}")
                for word in exploration["words"]
            ],
        }
        for text, exploration in reversed(first.items())
    ]


def _minimal_pairs(evaluation: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Accuracy on minimal pairs: suite, percent, pairs, what was compared."""
    rows = []
    for name, accuracy in (evaluation.get("minimal_pairs") or {}).items():
        error = "" if accuracy.get("stderr") is None else f" ± {100 * accuracy['stderr']:.1f}"
        rows.append(
            (name, f"{100 * accuracy['accuracy']:.1f}{error}", str(accuracy["pairs"]), accuracy["likelihood"])
        )
    return rows


def _analysis(record: RunRecord) -> dict[str, Any]:
    if record.analysis is None:
        return {"analysis": None, "groups": [], "is_stale": False}
    with _reading("analysis.json"):
        groups = loss_groups(record.analysis)
    weights = weights_of(record.path)
    is_stale = weights is not None and record.analysis.get("weights") != weights
    return {"analysis": record.analysis, "groups": groups, "is_stale": is_stale}


def _diagnosis(record: RunRecord) -> dict[str, Any]:
    diagnosis = record.diagnosis
    if diagnosis is None:
        return {"diagnosis": None}
    return {
        "diagnosis": diagnosis,
        "collapse": collapse_table(diagnosis),
        "collapse_facts": collapse_facts(diagnosis),
        "traps": traps(diagnosis),
        "has_diagnosis_page": (record.path / "diagnosis.html").is_file(),
        "examples": examples(diagnosis),
    }


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Names the file in whose content something is missing."""
    try:
        yield
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"'{name}' of the run is not as expected ({type(error).__name__}: {error}); delete it, and "
            f"hdiff report makes it again"
        ) from error
