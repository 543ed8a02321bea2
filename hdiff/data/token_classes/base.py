"""TokenClasses: nested classes of token ids, learned from a training split.

Dimensions: V vocabulary, E directions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from hdiff.data.packing import PackedBlocks
from hdiff.data.token_classes.clustering import k_means, nested, renumbered
from hdiff.data.token_targets import TargetSpec
from hdiff.errors import DataError


class TokenClasses(ABC):
    """A kind of classes; every token id has one at each level, so that they cost nothing in a likelihood.

    Args:
        sizes: Classes of each level, coarse to fine; the levels after the first split the one before by the
            weight of its tokens, so that they have about as many.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        if any(size < 2 for size in sizes) or any(fine <= coarse for coarse, fine in pairwise(sizes)):
            raise DataError(f"sizes is {list(sizes)}; give numbers of classes >= 2, from coarse to fine")
        self.sizes = tuple(sizes)

    @property
    def spec(self) -> TargetSpec | None:
        """Columns of the split that it needs; None for none."""
        return None

    @abstractmethod
    def points(self, blocks: PackedBlocks) -> Tensor:
        """Where each token id lies.

        Args:
            blocks: The training split, with the columns of `spec`.

        Returns:
            Rows of norm 1, float (V, E).
        """

    def fine_points(self, blocks: PackedBlocks) -> Tensor:
        """The same for the levels after the first."""
        return self.points(blocks)

    def coarsest(self, blocks: PackedBlocks, weight: Tensor, generator: torch.Generator) -> Tensor:
        """Classes of the first level, without empty ones, long (V,)."""
        return renumbered(k_means(self.points(blocks), weight, self.sizes[0], generator))

    def dealt(self, levels: list[list[int]]) -> list[list[int]]:
        """What becomes of the tables in the end; a control deals them anew."""
        return levels

    def finer_sizes(self) -> Sequence[int]:
        """Sizes of the levels after the first."""
        return self.sizes[1:]

    @final
    def tables(self, blocks: PackedBlocks, *, seed: int = 0) -> list[list[int]]:
        """Learns the classes.

        Args:
            blocks: The training split, with the columns of `spec`.
            seed: Seed of the first centres.

        Returns:
            Class of each token id, length V, one table per level, nested and without empty classes.

        Raises:
            DataError: If there are more classes than tokens in the vocabulary.
        """
        if self.sizes and self.sizes[-1] > blocks.vocab_size:
            raise DataError(
                f"{self.sizes[-1]} classes of {blocks.vocab_size} tokens; give at most one per token"
            )
        weight = torch.log1p(token_counts(blocks).float())
        generator = torch.Generator().manual_seed(seed)
        levels = [self.coarsest(blocks, weight, generator)]
        if self.finer_sizes():
            points = self.fine_points(blocks)
        for size in self.finer_sizes():
            levels.append(nested(levels[-1], points, weight, size, generator))
        return self.dealt([level.tolist() for level in levels])


def token_counts(blocks: PackedBlocks) -> Tensor:
    """How often each token id occurs, long (V,)."""
    return torch.from_numpy(blocks.tokens).long().bincount(minlength=blocks.vocab_size)
