"""Checks of an ablation before anything is trained: every data set, corruption, model and sampler."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch

from hdiff.ablation.results import check_folders
from hdiff.ablation.specification import OWN_KEYS, Ablation
from hdiff.components import with_defaults
from hdiff.config import Recipe
from hdiff.corruption import CORRUPTIONS
from hdiff.data.prepared import PreparedData
from hdiff.data.token_classes.of_head import stand_in_classes
from hdiff.data.token_targets import TokenTargets
from hdiff.errors import DataError, RecipeError, UserError
from hdiff.factory import build_corruption, build_model, build_supervision, count_parameters, required_levels
from hdiff.heads import HEADS
from hdiff.recipe import differences, naming_origin
from hdiff.runs.record import RunRecord
from hdiff.runs.weights import newest_checkpoint
from hdiff.samplers import SAMPLERS
from hdiff.samplers.build import build_sampler

Data = Literal["needed", "if there", "unread"]


@dataclass(frozen=True)
class Checked:
    """Parameter counts by variant, empty without data, and why data sets cannot be opened."""

    parameters: Mapping[str, Mapping[str, int]]
    missing: tuple[str, ...]


def check_ablation(ablation: Ablation, *, data: Data = "needed") -> Checked:
    """Builds every variant and the judge, without weights, and compares runs that are there with them."""
    recipes = _recipes(ablation)
    prepared: dict[str, PreparedData] = {}
    missing: list[DataError] = []
    for path in () if data == "unread" else dict.fromkeys(recipe.data.path for recipe in recipes.values()):
        try:
            prepared[path] = PreparedData.load(path)
        except DataError as error:
            missing.append(error)
    parameters: dict[str, dict[str, int]] = {}
    other: dict[str, str] = {}
    for variant, recipe in recipes.items():
        with _named(variant, ablation):
            parameters[variant] = _build(recipe, prepared.get(recipe.data.path))
            text = json.dumps(_spelled_out(recipe), sort_keys=True, default=repr)
        if text in other:
            keys = differences(ablation.variants[other[text]], recipe)
            spelled_out = ", ".join(key for key in keys if key not in OWN_KEYS)
            raise RecipeError(
                f"{ablation.file}: variants '{other[text]}' and '{variant}' are the same, as {spelled_out} "
                f"only says the default; change a key in one of them or remove it"
            )
        other[text] = variant
    check_folders(ablation)
    if missing and data == "needed":
        raise missing[0]
    _check_same_tokens(prepared)
    if data == "unread" or missing:
        return Checked({}, tuple(map(str, missing)))
    check_data_of_runs(ablation, prepared)
    return Checked(parameters, ())


def _recipes(ablation: Ablation) -> dict[str, Recipe]:
    recipes = dict(ablation.variants)
    if ablation.judge is not None:
        recipes["judge"] = ablation.judge.recipe
    return recipes


@contextmanager
def _named(variant: str, ablation: Ablation) -> Iterator[None]:
    """Says of which variant an error is."""
    try:
        with naming_origin("", ablation.overrides):
            yield
    except UserError as error:
        raise type(error)(f"'{variant}' of {ablation.file}: {error.args[0]}", *error.remedies) from error


def _spelled_out(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says of a model and its training, components with the defaults of their arguments."""
    values = recipe.model_dump(mode="json", exclude={"name", "output", "seed", "resume"})
    for section, family in (("corruption", CORRUPTIONS), ("head", HEADS), ("type_head", HEADS)):
        if values[section] is not None:
            values[section] = with_defaults(values[section], family, section=section)
    if (sampler := recipe.evaluation.sampler) is not None:
        values["evaluation"]["sampler"] = with_defaults(sampler, SAMPLERS, section="sampler")
    return values


def check_data_of_runs(ablation: Ablation, data: Mapping[str, PreparedData]) -> None:
    """Raises DataError if a run that is there was trained on other data than its path holds now."""
    for run in ablation.all_runs:
        if newest_checkpoint(run.path) is None:
            continue
        trained_on = RunRecord.read(run.path).run["data"]["sha256"]
        if trained_on != data[run.recipe.data.path].fingerprint:
            raise DataError(
                f"{run.path} was trained on other data than {run.recipe.data.path} holds now; delete that "
                f"folder to train it anew, or make another ablation:",
                "output=DIR",
            )


def _check_same_tokens(data: Mapping[str, PreparedData]) -> None:
    paths = list(data)
    for first, path in pairwise(paths):
        if data[path].tokenizer.sha256 != data[first].tokenizer.sha256:
            raise RecipeError(
                f"{path} was prepared with another tokenizer than {first}, so nats per token do not compare; "
                f"prepare it anew:",
                f"hdiff prepare SOURCE --out DATA --tokenizer {shlex.quote(str(first))}",
            )


def _build(recipe: Recipe, prepared: PreparedData | None) -> dict[str, int]:
    """Builds what a recipe describes on a device without memory; returns parameter counts."""
    vocab_size = 2 if prepared is None else prepared.tokenizer.vocab_size
    levels: list[str] = []

    def unit_lengths(level: str) -> list[float]:
        levels.append(level)  # training counts the lengths of its units
        return [0.5, 0.5]

    corruption = build_corruption(
        recipe.corruption,
        mask_id=vocab_size,
        unit_lengths=unit_lengths,
        token_classes=lambda soft: stand_in_classes({"classes": soft.class_spec}, vocab_size),
    )
    with torch.device("meta"):
        classes = stand_in_classes(recipe.head, vocab_size)
        model = build_model(recipe, vocab_size, corruption, head_classes=classes)
    supervision = build_supervision(recipe, lambda _, number: [number - 1] * vocab_size)
    if supervision is not None and supervision.spec is not None and prepared is not None:
        TokenTargets(prepared, supervision.spec)
    if recipe.evaluation.sampler is not None:
        build_sampler(recipe.evaluation.sampler, num_steps=1, section="evaluation.sampler")
    levels += required_levels(corruption, model)
    for level in levels:
        if prepared is not None and level not in ("token", *prepared.manifest["levels"]):
            raise DataError(
                f"level '{level}' is not in {recipe.data.path}, which keeps {prepared.manifest['levels']}; "
                f"prepare it with that level:",
                prepared.command_with(level),
            )
    return count_parameters(model)
