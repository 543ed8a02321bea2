"""Resuming: a run resumes only with the recipe, data and rows per update it began with.

Where its folder and its data lie does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff.config import Recipe
from hdiff.config.train import TrainConfig
from hdiff.errors import CheckpointError, DataError, RecipeError
from hdiff.files import write_atomically
from hdiff.recipe import differences, load_recipe, to_yaml
from hdiff.runs.folder import RECIPE_FILE
from hdiff.runs.places import at_places_of, without_places
from hdiff.runs.record import check_statistics, read_run

if TYPE_CHECKING:
    from hdiff.data.prepared import PreparedData
    from hdiff.data.rows.training_rows import TrainingRows
    from hdiff.training.recipe_data import RecipeData

OF_THE_START = ("train.batch_size", "train.gradient_accumulation", "train.process_timeout")
"""Keys a run may be resumed with other values of, as long as its updates have as many rows as before."""

WITHOUT_EFFECT = ("data.stream.workers", "data.stream.timeout", "train.trackers")
"""Keys a run may be resumed with other values of: its rows and numbers are the same."""


def check_same_run(path: Path, recipe: Recipe, prepared: PreparedData, rows: TrainingRows) -> None:
    """Refuses to resume a run that was another one."""
    saved = at_places_of(load_recipe(path / RECIPE_FILE), recipe)  # of the data there are hashes, below
    changed = [
        key
        for key in differences(_with_default_workers(saved), _with_default_workers(recipe))
        if key.split(".")[0] not in ("resume", "evaluation") and key not in (*OF_THE_START, *WITHOUT_EFFECT)
    ]
    if changed:
        raise RecipeError(
            f"{path} was trained with another recipe (different: {', '.join(changed)}); "
            f"use the same values to resume, or make a new run:",
            "output=DIR",
        )
    record = read_run(path)
    if record["data"]["sha256"] != prepared.fingerprint:
        raise DataError(
            f"{path} was trained on another data set than {recipe.data.path} holds now; "
            f"prepare the same data again, name the place where they lie, or make a new run:",
            "data.path=DATA",
            "output=DIR",
        )
    for name, value in rows.facts().items():
        if without_places(record["data"].get(name)) != without_places(value):
            raise DataError(
                f"{path} was trained on another {name} of texts than data.{name} names now "
                f"({record['data'].get(name)} instead of {value}); give the same again, or "
                f"make a new run:",
                "output=DIR",
            )


def check_same_statistics(path: Path, data: RecipeData, state: Mapping[str, Any]) -> None:
    """Refuses token classes and unit lengths that are not those the weights were trained with."""
    check_statistics(path, read_run(path), state)
    expected = state.get("statistics_sha256")
    if expected is not None and data.statistics_digest() != expected:
        raise CheckpointError(
            f"{path} was trained with other unit_lengths or token_classes than this hdiff finds in the same "
            f"data; resume with the version named in its run.json, or make a new run:",
            "output=DIR",
        )


def renew_places(path: Path, recipe: Recipe) -> None:
    """Has the recipe of a run say where its folder and its prepared data lie now; else it stays as it is."""
    saved = load_recipe(path / RECIPE_FILE)
    renewed = at_places_of(saved, recipe)
    if renewed != saved:
        write_atomically(path / RECIPE_FILE, to_yaml(renewed))


def check_rows_per_update(path: Path, train: TrainConfig, *, before: int | None, now: int) -> None:
    """Refuses updates of another number of rows: only the same rows give the same updates."""
    if before is not None and before != now:
        batches = train.batch_size * train.gradient_accumulation
        raise RecipeError(
            f"{path} has {before} rows per update, this start would have {now}: train.batch_size "
            f"{train.batch_size} x train.gradient_accumulation {train.gradient_accumulation} x "
            f"{now // batches} processes; choose them so that the product is {before}"
        )


def _with_default_workers(recipe: Recipe) -> Recipe:
    """The recipe without what does not count in the members of a mixture, which are compared as one value."""
    defaults = {"workers": 0, "timeout": None}
    members = tuple(
        member
        if member.stream is None
        else member.model_copy(update={"stream": member.stream.model_copy(update=defaults)})
        for member in recipe.data.mixture
    )
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"mixture": members})})
