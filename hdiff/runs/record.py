"""RunRecord: what a run folder says about itself, read without torch."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdiff.errors import CheckpointError
from hdiff.runs.metrics_file import METRICS_FILE, read_metrics

_REMEDY = "put back a copy of it, or make a new run:"


@dataclass(frozen=True)
class RunRecord:
    """The files of a run folder; a part that was not made yet is None.

    Attributes:
        path: The run folder.
        run: `run.json`: name, seed, versions, machine, parameters, data, steps, tokens, seconds.
        recipe: Text of `recipe.yaml`, the resolved recipe.
        metrics: Lines of `metrics.jsonl`; losses in nats per token.
        evaluation: `eval.json`: bound, T-step bounds, sample quality.
        evaluations: File name without `.json` -> content, of every other `eval_*.json`.
        analysis: `analysis.json`: loss per label, calibration.
        diagnosis: `diagnosis.json`: what `hdiff diagnose` found.
        samples: `samples.json`: free samples of the model as it is, with the steps that filled them in.
        other_samples: File name without `.json` -> content, of every `samples_*.json`: asked for differently.
        explorations: `exploration.json`: corruption explorations of validation sentences.
    """

    path: Path
    run: dict[str, Any]
    recipe: str | None
    metrics: list[dict[str, Any]] | None
    evaluation: dict[str, Any] | None
    evaluations: dict[str, dict[str, Any]]
    analysis: dict[str, Any] | None
    diagnosis: dict[str, Any] | None
    samples: dict[str, Any] | None
    other_samples: dict[str, dict[str, Any]]
    explorations: list[dict[str, Any]] | None

    @classmethod
    def read(cls, path: Path) -> RunRecord:
        """Reads the folder that training wrote."""
        if not path.is_dir():
            raise CheckpointError(
                f"no run folder at '{path}'; train one:",
                f"hdiff train RECIPE output={shlex.quote(str(path))}",
            )
        run = _read_json(path / "run.json", dict)
        if run is None:
            raise CheckpointError(
                f"'{path}' holds no run.json, so it is no run folder or its training never started; train:",
                f"hdiff train RECIPE output={shlex.quote(str(path))} resume=auto",
            )
        recipe = path / "recipe.yaml"
        return cls(
            path=path,
            run=run,
            recipe=recipe.read_text(encoding="utf-8") if recipe.is_file() else None,
            metrics=read_metrics(path / METRICS_FILE) if (path / METRICS_FILE).is_file() else None,
            evaluation=_read_json(path / "eval.json", dict),
            evaluations=_read_all(path, "eval_*.json"),
            analysis=_read_json(path / "analysis.json", dict),
            diagnosis=_read_json(path / "diagnosis.json", dict),
            samples=_read_json(path / "samples.json", dict),
            other_samples=_read_all(path, "samples_*.json"),
            explorations=_read_json(path / "exploration.json", list),
        )


def read_run(path: Path) -> dict[str, Any]:
    """Reads the `run.json` of a run that is resumed or used."""
    file = path / "run.json"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{file} is missing, which says what was trained on; {_REMEDY}", "output=DIR"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is damaged ({error}); {_REMEDY}", "output=DIR") from error
    data = record.get("data") if isinstance(record, dict) else None
    if not isinstance(data, dict) or "sha256" not in data or not {"created", "steps"} <= record.keys():
        raise CheckpointError(
            f"{file} is damaged (it has no 'created', 'steps' or hash of its data); {_REMEDY}",
            "output=DIR",
        )
    return dict(record)


def statistics_digest(values: Mapping[str, Any]) -> str:
    """sha256 of the statistics of the text that a corruption is built with; checkpoints keep it.

    Args:
        values: `unit_lengths`, `token_classes` and, where a head has them, `head_classes`, as `run.json` has
            them; others do not count.
    """
    names = ["unit_lengths", "token_classes", *(["head_classes"] if values.get("head_classes") else [])]
    statistics = {name: values.get(name) for name in names}
    return hashlib.sha256(json.dumps(statistics, sort_keys=True).encode()).hexdigest()


def check_statistics(path: Path, record: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Compares the statistics in `run.json` with the digest that a checkpoint keeps of them."""
    expected = state.get("statistics_sha256")
    if expected is not None and statistics_digest(record) != expected:
        raise CheckpointError(
            f"{path / 'run.json'} is damaged (unit_lengths and token_classes are not those of the "
            f"checkpoint); {_REMEDY}",
            "output=DIR",
        )


def _read_json(file: Path, kind: type) -> Any:
    if not file.is_file():
        return None
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"'{file}' is damaged ({error}); delete it and make it again") from error
    if not isinstance(value, kind):
        raise CheckpointError(
            f"'{file}' holds a {type(value).__name__}, expected a {kind.__name__}; "
            "delete it and make it again"
        )
    return value


def _read_all(folder: Path, pattern: str) -> dict[str, dict[str, Any]]:
    return {file.stem: _read_json(file, dict) for file in sorted(folder.glob(pattern))}
