"""Checks of an ablation before anything is trained: every data set, corruption, model and sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from hdiff.ablation.results import newest_checkpoint
from hdiff.ablation.specification import Ablation
from hdiff.config import Recipe
from hdiff.data.prepared import PreparedData
from hdiff.errors import DataError, RecipeError, UserError
from hdiff.factory import build_corruption, build_model, build_sampler, count_parameters, required_levels
from hdiff.run_record import RunRecord


@dataclass(frozen=True)
class Checked:
    """What the checks found out.

    Attributes:
        parameters: Variant -> what `count_parameters` counts; empty without data.
        missing: Why data sets cannot be opened, with the remedy; only where they need not be there.
    """

    parameters: Mapping[str, Mapping[str, int]]
    missing: tuple[str, ...]


def check_ablation(ablation: Ablation, *, needs_data: bool = True) -> Checked:
    """Builds every variant and the judge, without weights.

    Args:
        ablation: The ablation.
        needs_data: Whether data sets that are not there are an error.

    Returns:
        What was found out.

    Raises:
        RecipeError: If a component has no such key or does not fit another, or tokenizers differ.
        DataError: If a data set is missing or lacks a level.
    """
    recipes = dict(ablation.variants)
    if ablation.judge is not None:
        recipes["judge"] = ablation.judge.recipe
    data: dict[str, PreparedData] = {}
    missing = []
    for path in dict.fromkeys(recipe.data.path for recipe in recipes.values()):
        try:
            data[path] = PreparedData.load(path)
        except DataError as error:
            if needs_data:
                raise
            missing.append(str(error))
    _check_same_tokens(data)
    parameters = {}
    for variant, recipe in recipes.items():
        try:
            parameters[variant] = _build(recipe, data.get(recipe.data.path))
        except UserError as error:
            raise type(error)(f"'{variant}' of {ablation.file}: {error}") from error
    if not missing:
        check_data_of_runs(ablation, data)
    return Checked({} if missing else parameters, tuple(missing))


def check_data_of_runs(ablation: Ablation, data: Mapping[str, PreparedData]) -> None:
    """Raises DataError if a run that is there was trained on other data than its path holds now."""
    for run in ablation.all_runs:
        if newest_checkpoint(run.path) is None:
            continue
        trained_on = RunRecord.read(run.path).run["data"]["sha256"]
        if trained_on != data[run.recipe.data.path].fingerprint:
            raise DataError(
                f"{run.path} was trained on other data than {run.recipe.data.path} holds now; delete that "
                f"folder to train it anew, or give the ablation another output"
            )


def _check_same_tokens(data: Mapping[str, PreparedData]) -> None:
    paths = list(data)
    for first, path in pairwise(paths):
        if data[path].tokenizer.sha256 != data[first].tokenizer.sha256:
            raise RecipeError(
                f"{path} was prepared with another tokenizer than {first}, so nats per token do not compare; "
                f"prepare it with --tokenizer {Path(first) / 'tokenizer.json'}"
            )


def _build(recipe: Recipe, prepared: PreparedData | None) -> dict[str, int]:
    """Builds what a recipe describes on a device without memory; returns parameter counts."""
    vocab_size = 2 if prepared is None else prepared.tokenizer.vocab_size
    levels: list[str] = []

    def unit_lengths(level: str) -> list[float]:
        levels.append(level)  # training counts the lengths of its units
        return [0.5, 0.5]

    corruption = build_corruption(recipe.corruption, mask_id=vocab_size, unit_lengths=unit_lengths)
    with torch.device("meta"):
        model = build_model(recipe, vocab_size, corruption)
    if recipe.evaluation.sampler is not None:
        build_sampler(recipe.evaluation.sampler, num_steps=1)
    levels += required_levels(corruption, model)
    for level in levels:
        if prepared is not None and level not in ("token", *prepared.manifest["levels"]):
            raise DataError(
                f"level '{level}' is not in {recipe.data.path}, which keeps {prepared.manifest['levels']}; "
                f"re-run hdiff prepare with --levels {level}"
            )
    return count_parameters(model)
