"""Trackers: the numbers of metrics.jsonl, also for the trackers of Accelerate that a recipe names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdiff.config import Recipe
from hdiff.errors import RecipeError, nearest
from hdiff.recipe import flattened
from hdiff.runs.folder import RECORD_FILE
from hdiff.runs.metrics_file import read_metrics

TENSORBOARD = "tensorboard"
TOLD_FILE = ".told-trackers.json"


class Trackers:
    """The open trackers of a run, on the main process.

    TensorBoard is told to drop the points behind the resumed step and gets them again. Others cannot drop
    any, so they get nothing again that they got before; what is done again has the same numbers. How much
    they got, whatever a resume cuts off metrics.jsonl, stands in a file of the run folder.

    Args:
        recipe: The recipe.
        first_step: Updates already done.
    """

    def __init__(self, recipe: Recipe, first_step: int) -> None:
        path = Path(recipe.output)
        self.file = path / TOLD_FILE
        self.told = _read_told(path)
        self.last = (0, 0)
        self.open: list[Any] = []
        for name in recipe.train.trackers:
            tracker = _open(name, recipe, path, first_step)
            tracker.start()
            if name != TENSORBOARD:  # recipe.yaml lies beside its folder
                tracker.store_init_configuration(_settings(recipe))
            self.open.append(tracker)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Gives the numbers of one step to every tracker."""
        self.last = (step, self.last[1] + 1 if step == self.last[0] else 1)
        is_new = self.last > self.told
        for tracker in self.open:
            if tracker.name == TENSORBOARD or is_new:
                tracker.log(values, step=step)
        if is_new and any(tracker.name != TENSORBOARD for tracker in self.open):
            self.told = self.last
            aside = self.file.with_suffix(".writing")
            aside.write_text(json.dumps(self.told), encoding="utf-8")
            aside.replace(self.file)

    def close(self) -> None:
        """Ends all trackers."""
        for tracker in self.open:
            tracker.finish()
        self.open = []


def _read_told(path: Path) -> tuple[int, int]:
    """The last line that trackers got: its step, and how many of that step they had then."""
    try:
        step, number = json.loads((path / TOLD_FILE).read_text(encoding="utf-8"))
        return int(step), int(number)
    except FileNotFoundError:
        return (0, 0)
    except (OSError, ValueError, TypeError):  # damaged: what metrics.jsonl has, they had
        lines = [line["step"] for line in read_metrics(path / "metrics.jsonl")]
        return max(lines, default=0), len(lines)


def check_trackers(names: Sequence[str]) -> None:
    """Refuses trackers that cannot be opened, before anything is trained."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, filter_trackers

    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
            raise RecipeError(
                f"no tracker '{name}' in train.trackers{nearest(name, LOGGER_TYPE_TO_CLASS)} (known: {known})"
            )
        if not filter_trackers([name], logging_dir="."):
            raise RecipeError(
                f"train.trackers names '{name}', which is not installed; metrics.jsonl is always written, so "
                f"leave it out, or install it:",
                f"train.trackers=[{', '.join(other for other in names if other != name)}]",
                f"pip install {name.replace('_', '-')}",
            )


def _open(name: str, recipe: Recipe, path: Path, first_step: int) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    cls = LOGGER_TYPE_TO_CLASS[name]
    if name == TENSORBOARD:  # in the folder of that name
        return cls(TENSORBOARD, path, purge_step=first_step + 1)
    folder = (path,) if cls.requires_logging_directory else ()
    return cls(recipe.name, *folder, **own_options(name, path))


def own_options(name: str, path: Path) -> dict[str, Any]:
    """What a tracker needs to know to name a run by its folder, and to resume it."""
    if name == "wandb":
        record = json.loads((path / RECORD_FILE).read_text(encoding="utf-8"))
        facts = [path.name, record["seed"], record["created"]]
        identity = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        return {"name": path.name, "id": identity, "resume": "allow"}
    if name == "mlflow":
        return {"run_name": path.name}
    if name == "dvclive":  # its default is a folder that every start empties
        return {"dir": str(path / "dvclive"), "resume": True}
    return {}


def _settings(recipe: Recipe) -> dict[str, str | int | float | bool]:
    """Dotted keys of a recipe with values that every tracker takes."""
    return {
        key: value if isinstance(value, str | int | float | bool) else json.dumps(value)
        for key, value in flattened(recipe).items()
    }
