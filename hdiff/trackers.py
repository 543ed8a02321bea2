"""Trackers: the numbers of metrics.jsonl, also for the trackers of Accelerate that a recipe names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdiff.components import nearest
from hdiff.config import Recipe
from hdiff.errors import RecipeError
from hdiff.metrics import read_metrics
from hdiff.recipe import flattened
from hdiff.run_folder import RECORD_FILE

TENSORBOARD = "tensorboard"


class Trackers:
    """The open trackers of a run, on the main process.

    TensorBoard is told to drop the points behind the resumed step and gets them again. Others cannot drop
    any, so they get no step that metrics.jsonl had before the stop; what is done again has the same numbers.

    Args:
        recipe: The recipe.
        first_step: Updates already done.
    """

    def __init__(self, recipe: Recipe, first_step: int) -> None:
        path = Path(recipe.output)
        lines = read_metrics(path / "metrics.jsonl")
        self.logged = max((line["step"] for line in lines), default=0)
        self.open: list[Any] = []
        for name in recipe.train.trackers:
            tracker = _open(name, recipe, path, first_step)
            tracker.start()
            if name != TENSORBOARD:  # recipe.yaml lies beside its folder
                tracker.store_init_configuration(_settings(recipe))
            self.open.append(tracker)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Gives the numbers of one step to every tracker."""
        for tracker in self.open:
            if tracker.name == TENSORBOARD or step > self.logged:
                tracker.log(values, step=step)

    def close(self) -> None:
        """Ends all trackers."""
        for tracker in self.open:
            tracker.finish()
        self.open = []


def check_trackers(names: Sequence[str]) -> None:
    """Refuses trackers that cannot be opened, before anything is trained.

    Args:
        names: Value of `train.trackers`.

    Raises:
        RecipeError: If Accelerate does not know a name, or its package is not installed.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, filter_trackers

    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
            raise RecipeError(
                f"no tracker '{name}' in train.trackers{nearest(name, LOGGER_TYPE_TO_CLASS)} (known: {known})"
            )
        if not filter_trackers([name], logging_dir="."):
            raise RecipeError(
                f"train.trackers names '{name}', which is not installed; "
                f"pip install {name.replace('_', '-')}, or leave it out: metrics.jsonl is always written"
            )


def _open(name: str, recipe: Recipe, path: Path, first_step: int) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    cls = LOGGER_TYPE_TO_CLASS[name]
    if name == TENSORBOARD:  # in the folder of that name
        return cls(TENSORBOARD, path, purge_step=first_step + 1)
    folder = (path,) if cls.requires_logging_directory else ()
    return cls(recipe.name, *folder, **own_options(name, path))


def own_options(name: str, path: Path) -> dict[str, Any]:
    """What a tracker needs to know to name a run by its folder, and to go on with it.

    Args:
        name: Name of the tracker.
        path: Run folder, with its record.

    Returns:
        Keyword arguments; none for trackers that we know nothing of.
    """
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
