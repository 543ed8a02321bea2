"""Syntactic classes of token ids: what a parser says where they occur.

Dimensions: N tokens of the split, V vocabulary, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor

from hdiff.data.control_trees import TREES
from hdiff.data.packing import PackedBlocks
from hdiff.data.token_classes.base import TokenClasses
from hdiff.data.token_classes.clustering import directions, renumbered, roots
from hdiff.data.token_classes.neighbours import neighbour_features
from hdiff.data.token_targets import INSIDE_WORD, LARGEST_COUNT, TargetSpec
from hdiff.errors import DataError, nearest

NUM_LABELS = 20
WEIGHT_BESIDE = 0.7
"""Of the brackets of the neighbours, which say less of a token than its own."""


class ParsedClasses(TokenClasses):
    """Classes that need a parse of the training split; the text that is scored is never parsed.

    Args:
        sizes: See `TokenClasses`.
        trees: `parsed`; or a control: `random`, `shuffled`, `balanced`, `right_branching`.
    """

    def __init__(self, sizes: Sequence[int], trees: str) -> None:
        super().__init__(sizes)
        if trees not in TREES:
            raise DataError(f"no trees '{trees}'{nearest(trees, TREES)} (known: {', '.join(TREES)})")
        self.trees = trees

    @property
    @final
    def spec(self) -> TargetSpec:
        return TargetSpec(("pos", "phrase", "parent", "opens", "closes", "gaps"), self.trees, NUM_LABELS)


@final
class Syntax(ParsedClasses):
    """Clusters of token ids by the syntax around their occurrences (`syntax_features`).

    Args:
        sizes: See `TokenClasses`.
        trees: See `ParsedClasses`.
        fine: What splits the first level: `syntax`, or `clusters` of neighbours.
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int] = (64,),
        trees: str = "parsed",
        fine: Literal["syntax", "clusters"] = "syntax",
    ) -> None:
        super().__init__(sizes, trees)
        self.fine = fine

    def points(self, blocks: PackedBlocks) -> Tensor:
        return directions(syntax_features(blocks))

    def fine_points(self, blocks: PackedBlocks) -> Tensor:
        return directions(neighbour_features(blocks)) if self.fine == "clusters" else self.points(blocks)


@final
class Both(ParsedClasses):
    """Clusters by syntax and neighbours together, each of norm 1.

    Args:
        sizes: See `TokenClasses`.
        trees: See `ParsedClasses`.
    """

    def __init__(self, *, sizes: Sequence[int] = (64,), trees: str = "parsed") -> None:
        super().__init__(sizes, trees)

    def points(self, blocks: PackedBlocks) -> Tensor:
        parts = (syntax_features(blocks), neighbour_features(blocks))
        return directions(torch.cat([F.normalize(part, dim=1) for part in parts], 1))


@final
class PartsOfSpeech(ParsedClasses):
    """The most frequent part of speech of each token id, with whether it begins a word.

    Args:
        sizes: Classes of the levels that split these, by neighbours; none for no other level.
        trees: See `ParsedClasses`.
    """

    def __init__(self, *, sizes: Sequence[int] = (), trees: str = "parsed") -> None:
        super().__init__(sizes, trees)

    def points(self, blocks: PackedBlocks) -> Tensor:
        return directions(neighbour_features(blocks))

    def coarsest(self, blocks: PackedBlocks, weight: Tensor, generator: torch.Generator) -> Tensor:
        return renumbered(_table(blocks, _parts(blocks), 2 * NUM_LABELS).argmax(1))

    def finer_sizes(self) -> Sequence[int]:
        return self.sizes


def syntax_features(blocks: PackedBlocks) -> Tensor:
    """Square roots of distributions of what the parse says at and beside each token id, float (V, F).

    They are: part of speech with inside or at the beginning of a word, the same of both neighbours, the label
    of the innermost phrase with that of the one around it, and the phrases that open and close here and at
    both neighbours.
    """
    columns = {name: torch.from_numpy(values).long() for name, values in blocks.targets.items()}
    parts = _parts(blocks)
    around = columns["phrase"] * NUM_LABELS + columns["parent"]
    brackets = columns["opens"] * (LARGEST_COUNT + 1) + columns["closes"]
    num_parts, num_brackets = 2 * NUM_LABELS, (LARGEST_COUNT + 1) ** 2
    features = [
        (parts, num_parts, 1.0),
        (_beside(parts, -1), num_parts, 1.0),
        (_beside(parts, 1), num_parts, 1.0),
        (around, NUM_LABELS**2, 1.0),
        (brackets, num_brackets, 1.0),
        (_beside(brackets, -1), num_brackets, WEIGHT_BESIDE),
        (_beside(brackets, 1), num_brackets, WEIGHT_BESIDE),
    ]
    return torch.cat([weight * roots(_table(blocks, value, size)) for value, size, weight in features], 1)


def _parts(blocks: PackedBlocks) -> Tensor:
    """Part of speech, and whether a token is inside its word, long (N,)."""
    pos, gaps = (torch.from_numpy(blocks.targets[name]).long() for name in ("pos", "gaps"))
    return 2 * pos + (gaps == INSIDE_WORD)


def _beside(values: Tensor, shift: int) -> Tensor:
    """The value of the left (-1) or right (1) neighbour, 0 where there is none."""
    moved = torch.zeros_like(values)
    if shift < 0:
        moved[1:] = values[:-1]
    else:
        moved[:-1] = values[1:]
    return moved


def _table(blocks: PackedBlocks, values: Tensor, size: int) -> Tensor:
    """How often each token id has each value, float (V, size)."""
    ids = torch.from_numpy(blocks.tokens).long()
    return torch.bincount(ids * size + values, minlength=blocks.vocab_size * size).view(-1, size).float()
