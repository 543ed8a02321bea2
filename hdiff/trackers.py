"""Trackers: the numbers of metrics.jsonl, also for the trackers of Accelerate that a recipe names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdiff.components import nearest
from hdiff.config import Recipe
from hdiff.errors import RecipeError
from hdiff.metrics import read_metrics

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
    return cls(recipe.name, path) if cls.requires_logging_directory else cls(recipe.name)
