"""Token classes: tokens that keep similar company, found in the training split. Torch and numpy.

Dimensions: N tokens of the split, V vocabulary, C classes, F frequent neighbours.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdiff.errors import DataError

NUM_NEIGHBOURS = 512
NUM_DIRECTIONS = 48
NUM_ROUNDS = 25


def learn_token_classes(
    tokens: NDArray[np.int32], vocab_size: int, num_classes: int, *, seed: int = 0
) -> list[int]:
    """Clusters of tokens by the tokens to their left and right.

    Square roots of the two neighbour distributions (over the most frequent tokens) are reduced by a singular
    value decomposition and clustered by spherical k-means, tokens weighing log(1 + count). Source:
    distributional classes of Schuetze (1995); HDLM takes embeddings of a pretrained model instead.

    Args:
        tokens: The split, int32 (N,).
        vocab_size: Vocabulary V.
        num_classes: Classes C.
        seed: Seed of the start.

    Returns:
        Class of each token id, length V.

    Raises:
        DataError: If there are more classes than tokens in the vocabulary.
    """
    if num_classes > vocab_size:
        raise DataError(f"{num_classes} classes of {vocab_size} tokens; give at most one per token")
    ids = torch.from_numpy(tokens.astype(np.int64))
    counts = torch.bincount(ids, minlength=vocab_size)
    frequent = counts.argsort(descending=True, stable=True)[:NUM_NEIGHBOURS]
    place = torch.full((vocab_size,), -1, dtype=torch.long)
    place[frequent] = torch.arange(len(frequent))
    features = torch.cat([_neighbours(ids, place, shift) for shift in (-1, 1)], 1)  # (V, 2 F)
    centred = features - features.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred)  # deterministic, unlike a randomised SVD
    basis = vectors[:, values.argsort(descending=True)[:NUM_DIRECTIONS]]
    points = torch.nn.functional.normalize(features @ basis, dim=1)
    generator = torch.Generator().manual_seed(seed)
    return [int(c) for c in _k_means(points, torch.log1p(counts.float()), num_classes, generator)]


def shuffled_classes(classes: list[int], *, seed: int = 0) -> list[int]:
    """The same class sizes with the tokens dealt at random: the control.

    Args:
        classes: Class of each token id.
        seed: Seed of the shuffle.

    Returns:
        Class of each token id.
    """
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    return [classes[place] for place in order.tolist()]


def _neighbours(ids: Tensor, place: Tensor, shift: int) -> Tensor:
    """Square root of the distribution of the left (-1) or right (1) neighbour, (V, F)."""
    size, width = len(place), int(place.max()) + 1
    words, others = (ids[1:], ids[:-1]) if shift < 0 else (ids[:-1], ids[1:])
    known = place[others] >= 0
    pairs = words[known] * width + place[others[known]]
    table = torch.bincount(pairs, minlength=size * width).view(size, width).float()
    return (table / table.sum(1, keepdim=True).clamp(min=1)).sqrt()


def _k_means(points: Tensor, weight: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
    """Spherical k-means, (V, d) -> (V,); a class that loses all its tokens keeps its centre."""
    chosen = torch.multinomial(weight + 1e-6, num_classes, generator=generator)
    centres = points[chosen]
    classes = (points @ centres.T).argmax(1)
    for _ in range(NUM_ROUNDS):
        sums = torch.zeros_like(centres).index_add(0, classes, points * weight[:, None])
        is_empty = (sums.norm(dim=1) == 0)[:, None]
        centres = torch.where(is_empty, centres, torch.nn.functional.normalize(sums, dim=1))
        new = (points @ centres.T).argmax(1)
        if torch.equal(new, classes):
            break
        classes = new
    return classes
