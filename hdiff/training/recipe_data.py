"""RecipeData: the prepared text of a recipe in the forms that training needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hdiff.config import Recipe
from hdiff.corruption import Corruption, SoftMasking
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.token_classes import learn_token_classes, shuffled_classes
from hdiff.errors import CheckpointError
from hdiff.factory import build_corruption
from hdiff.runs.folder import RunFolder
from hdiff.runs.record import read_run, statistics_digest


class RecipeData:
    """Packed splits, and the statistics of the text that a corruption is built with.

    Args:
        recipe: The recipe.
        prepared: Its data set.

    Attributes:
        unit_lengths: Level -> histogram of the lengths of its units, for levels the corruption asked for.
        token_classes: Class of each token id, (V,); empty if the corruption has none.
    """

    def __init__(self, recipe: Recipe, prepared: PreparedData) -> None:
        self.recipe = recipe
        self.prepared = prepared
        self.unit_lengths: dict[str, list[float]] = {}
        self.token_classes: list[int] = []

    def blocks(self, split: str, levels: Sequence[str]) -> PackedBlocks:
        """One split, packed as the recipe says.

        Args:
            split: `train` or `validation`.
            levels: Levels whose units are needed.

        Returns:
            Its rows.

        Raises:
            DataError: If a level was not prepared, or the training split is smaller than `train_tokens`.
        """
        return PackedBlocks.build(self.prepared, split, levels=levels, **self.recipe.data.packing(split))

    def corruption(self) -> Corruption:
        """The recipe's corruption.

        Returns:
            The corruption, not yet of a model.

        Raises:
            RecipeError: If its section is wrong.
        """
        return build_corruption(
            self.recipe.corruption,
            mask_id=self.prepared.tokenizer.vocab_size,
            unit_lengths=self._count_unit_lengths,
            token_classes=self._learn_token_classes,
        )

    def statistics_digest(self) -> str:
        """sha256 of `unit_lengths` and `token_classes`, for checkpoints."""
        return statistics_digest({"unit_lengths": self.unit_lengths, "token_classes": self.token_classes})

    def _count_unit_lengths(self, level: str) -> list[float]:
        self.unit_lengths[level] = self.blocks("train", (level,)).unit_length_histogram(level)
        return self.unit_lengths[level]

    def _learn_token_classes(self, corruption: SoftMasking) -> list[int]:
        run = Path(self.recipe.output)
        if RunFolder.has_checkpoint(run):  # its weights belong to these classes
            self.token_classes = _classes_of(run)
        if self.token_classes:
            return self.token_classes
        self.token_classes = learn_token_classes(
            self.blocks("train", ()).tokens,
            self.prepared.tokenizer.vocab_size,
            corruption.num_classes,
            seed=self.recipe.seed,
        )
        if corruption.classes == "random":
            self.token_classes = shuffled_classes(self.token_classes, seed=self.recipe.seed)
        return self.token_classes


def _classes_of(run: Path) -> list[int]:
    classes = read_run(run).get("token_classes", [])
    if not isinstance(classes, list) or not all(type(number) is int for number in classes):
        raise CheckpointError(
            f"{run / 'run.json'} is damaged (token_classes are no list of numbers); put back a copy of it, "
            f"or use output=DIR for a new run"
        )
    return classes
