"""RecipeData: the prepared text of a recipe in the forms that training needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hdiff.components import build
from hdiff.config import Recipe
from hdiff.corruption import Corruption, SoftMasking
from hdiff.corruption.soft_masking import Tables
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.token_classes import CLASSES, TokenClasses
from hdiff.data.token_classes.of_head import head_classes_spec
from hdiff.data.token_targets import TargetSpec
from hdiff.errors import CheckpointError, RecipeError
from hdiff.factory import build_corruption
from hdiff.runs.folder import RunFolder
from hdiff.runs.record import read_run, statistics_digest


class RecipeData:
    """Packed splits, and the statistics of the text that a corruption is built with.

    Args:
        recipe: The recipe.
        prepared: Its data set.
        first: Record of the model that training starts from, whose classes its weights belong to.

    Attributes:
        unit_lengths: Level -> histogram of the lengths of its units, for levels the corruption asked for.
        token_classes: Class of each token id, (V,) or, of several levels, (levels, V); empty if the
            corruption has none.
        head_classes: Class of each token id by which the head factors its output, (levels, V), if it does.
        block_size: Tokens of a block, once the corruption is built, if it has blocks.
    """

    def __init__(
        self, recipe: Recipe, prepared: PreparedData, first: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.recipe = recipe
        self.prepared = prepared
        self.first = first
        self.unit_lengths: dict[str, list[float]] = {}
        self.token_classes: Tables = []
        self.head_classes: list[list[int]] = []
        self.block_size: int | None = None

    def blocks(self, split: str, levels: Sequence[str], *, targets: TargetSpec | None = None) -> PackedBlocks:
        """One split, packed as the recipe says, with units of these levels and targets of supervision."""
        if self.prepared.prompts is not None:
            check_prompts(self.recipe)
        packing = self.recipe.packing(split, block_size=self.block_size)
        return PackedBlocks.build(self.prepared, split, levels=levels, targets=targets, **packing)

    def class_table(self, kind: str, num_classes: int) -> list[int]:
        """Class of each token id, of `clusters` or `random`."""
        return self._learn_classes({"kind": kind, "sizes": [num_classes]}, "supervision")[0]

    def learn_head_classes(self) -> list[list[int]]:
        """Class of each token id by which the recipe's head factors its output, (levels, V), if it does."""
        spec = head_classes_spec(self.recipe.head)
        if spec is not None and not self.head_classes:
            self.head_classes = self._of_run("head_classes") or self._learn_classes(spec, "head.classes")
        return self.head_classes

    def _learn_classes(self, spec: Mapping[str, Any], section: str) -> list[list[int]]:
        kind: TokenClasses = build(spec, CLASSES, section=section)
        blocks = self.blocks("train", (), targets=kind.spec)
        return kind.tables(blocks, seed=self.recipe.seed)

    def corruption(self) -> Corruption:
        """The recipe's corruption, not yet of a model."""
        corruption = build_corruption(
            self.recipe.corruption,
            mask_id=self.prepared.tokenizer.vocab_size,
            unit_lengths=self._count_unit_lengths,
            token_classes=self._learn_token_classes,
        )
        if self.recipe.model.kind != "autoregressive":
            self.block_size = corruption.block_size
        return corruption

    def statistics_digest(self) -> str:
        """sha256 of `facts`, for checkpoints."""
        return statistics_digest(self.facts())

    def facts(self) -> dict[str, Any]:
        """Statistics of the text that the weights belong to, for run.json."""
        facts = {"unit_lengths": self.unit_lengths, "token_classes": self.token_classes}
        return {**facts, "head_classes": self.head_classes} if self.head_classes else facts

    def _count_unit_lengths(self, level: str) -> list[float]:
        self.unit_lengths[level] = self.blocks("train", (level,)).unit_length_histogram(level)
        return self.unit_lengths[level]

    def _learn_token_classes(self, corruption: SoftMasking) -> Tables:
        self.token_classes = self._of_run("token_classes")
        if not self.token_classes:
            levels = self._learn_classes(corruption.class_spec, "corruption.classes")
            self.token_classes = levels if len(levels) > 1 else levels[0]
        return self.token_classes

    def _of_run(self, name: str) -> list[Any]:
        """Classes of the run that resumes, or of the model that training starts from; else empty."""
        run = Path(self.recipe.output)
        if not RunFolder.has_checkpoint(run):
            return list(self.first.get(name) or [])
        tables = read_run(run).get(name, [])
        levels = tables if isinstance(tables, list) and tables and isinstance(tables[0], list) else [tables]
        if not all(isinstance(level, list) and all(type(c) is int for c in level) for level in levels):
            raise CheckpointError(
                f"{run / 'run.json'} is damaged ({name} are no list of numbers); put back a copy of it, "
                f"or make a new run:",
                "output=DIR",
            )
        return list(tables)


def check_prompts(recipe: Recipe) -> None:
    """Refuses what does not go with a data set of prompts."""
    if recipe.data.stream is not None or recipe.data.mixture:
        raise RecipeError(
            f"{recipe.data.path} has prompts, and rows of streams and mixtures have none; train on it alone:",
            "data.stream=null data.mixture=[]",
        )
    if recipe.head.get("sees_row"):
        raise RecipeError(
            f"head.sees_row reads rows, and {recipe.data.path} has prompts, which heads do not see; use",
            "head.sees_row=false",
        )
