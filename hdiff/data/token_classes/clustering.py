"""Clustering: token ids that have similar features, by spherical k-means, level within level.

Dimensions: V vocabulary, F features, E directions kept, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NUM_DIRECTIONS = 48
NUM_ROUNDS = 25


def directions(features: Tensor) -> Tensor:
    """Features along the directions in which they differ most, each row of norm 1: (V, F) -> (V, E)."""
    centred = (features - features.mean(0)).double()  # in float32 many constant columns have no eigenvectors
    values, vectors = torch.linalg.eigh(centred.T @ centred)  # deterministic, unlike a randomised SVD
    basis = vectors[:, values.argsort(descending=True)[:NUM_DIRECTIONS]].to(features.dtype)
    return torch.nn.functional.normalize(features @ basis, dim=1)


def roots(counts: Tensor) -> Tensor:
    """Square roots of each row's distribution, whose distances are those of Hellinger: (V, F)."""
    return (counts / counts.sum(1, keepdim=True).clamp(min=1)).sqrt()


def k_means(points: Tensor, weight: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
    """Spherical k-means, (V, E) -> (V,); a class that loses all its tokens keeps its centre."""
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


def nested(
    coarse: Tensor, points: Tensor, weight: Tensor, num_classes: int, generator: torch.Generator
) -> Tensor:
    """Splits classes into about as many as asked for, each by its share of the weight.

    Args:
        coarse: Class of each token id, long (V,).
        points: Rows of norm 1 by which tokens are told apart, float (V, E).
        weight: Weight of each token id, float (V,).
        num_classes: Classes of all together.
        generator: Source of the first centres.

    Returns:
        Finer classes, long (V,), numbered without gaps, those of one class together.
    """
    total = weight.sum()
    fine = torch.zeros_like(coarse)
    begin = 0
    for number in range(int(coarse.max()) + 1):
        members = (coarse == number).nonzero().squeeze(1)
        share = round(float(num_classes * weight[members].sum() / total))
        parts = min(max(1, share), len(members))
        own = torch.zeros_like(members)
        if parts > 1:
            own = renumbered(k_means(points[members], weight[members], parts, generator))
        fine[members] = begin + own
        begin += int(own.max()) + 1
    return fine


def renumbered(classes: Tensor) -> Tensor:
    """The same classes without the numbers of empty ones."""
    return torch.unique(classes, return_inverse=True)[1]  # type: ignore[no-any-return]


def shuffled_classes(classes: Sequence[int], *, seed: int = 0) -> list[int]:
    """The same class sizes with tokens dealt at random, the control; nested tables stay nested."""
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    return [classes[place] for place in order.tolist()]
