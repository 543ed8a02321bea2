"""Clusters of tokens that keep similar company, and their control.

Dimensions: N tokens of the split, V vocabulary, F frequent neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from hdiff.data.packing import PackedBlocks
from hdiff.data.token_classes.base import TokenClasses, token_counts
from hdiff.data.token_classes.clustering import directions, roots, shuffled_classes

NUM_NEIGHBOURS = 512


@final
class Clusters(TokenClasses):
    """Clusters of tokens by the tokens to their left and right.

    Square roots of the two neighbour distributions (over the most frequent tokens) are reduced by a singular
    value decomposition and clustered by spherical k-means, tokens weighing log(1 + count). Source:
    distributional classes of Schuetze (1995); HDLM takes embeddings of a pretrained model instead.

    Args:
        sizes: See `TokenClasses`.
    """

    def __init__(self, *, sizes: Sequence[int] = (64,)) -> None:
        super().__init__(sizes)

    def points(self, blocks: PackedBlocks) -> Tensor:
        return directions(neighbour_features(blocks))


@final
class RandomClasses(TokenClasses):
    """The control: classes of the sizes that clusters have, with the tokens dealt at random.

    Args:
        sizes: See `TokenClasses`.
        seed: Seed of the deal.
    """

    def __init__(self, *, sizes: Sequence[int] = (64,), seed: int = 0) -> None:
        super().__init__(sizes)
        self.seed = seed

    def points(self, blocks: PackedBlocks) -> Tensor:
        return directions(neighbour_features(blocks))

    def dealt(self, levels: list[list[int]]) -> list[list[int]]:
        return [shuffled_classes(level, seed=self.seed) for level in levels]


def neighbour_features(blocks: PackedBlocks) -> Tensor:
    """Square roots of the distributions of the left and the right neighbour, float (V, 2 F)."""
    ids = torch.from_numpy(blocks.tokens).long()
    frequent = token_counts(blocks).argsort(descending=True, stable=True)[:NUM_NEIGHBOURS]
    place = torch.full((blocks.vocab_size,), -1, dtype=torch.long)
    place[frequent] = torch.arange(len(frequent))
    return torch.cat([_neighbours(ids, place, shift) for shift in (-1, 1)], 1)


def _neighbours(ids: Tensor, place: Tensor, shift: int) -> Tensor:
    """Of the left (-1) or right (1) neighbour, (V, F)."""
    size, width = len(place), int(place.max()) + 1
    words, others = (ids[1:], ids[:-1]) if shift < 0 else (ids[:-1], ids[1:])
    known = place[others] >= 0
    pairs = words[known] * width + place[others[known]]
    return roots(torch.bincount(pairs, minlength=size * width).view(size, width).float())
