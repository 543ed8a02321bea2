"""Groups: which tokens of some rows lie in spans of a label or a length, or have a salience.

Dimensions: R rows, L tokens of a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hdiff.structure import LEVELS

if TYPE_CHECKING:
    from hdiff.data.packing import PackedBlocks
    from hdiff.data.prepared import PreparedData
    from hdiff.parsers.buckets import Buckets

LENGTHS = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 8), (9, 16), (17, None))
"""Lengths in tokens that are told apart, first and last; None: no end."""


@dataclass(frozen=True)
class Grouping:
    """One way of telling tokens apart.

    Attributes:
        name: For people, for example `phrase: label`.
        members: Name of a group -> the tokens in it, bool (R, L). Spans nest, so groups may overlap.
    """

    name: str
    members: dict[str, NDArray[np.bool_]]


def groupings(
    prepared: PreparedData, blocks: PackedBlocks, rows: Sequence[int], buckets: Buckets
) -> list[Grouping]:
    """Labels and lengths of every level that the data set keeps, and salience.

    A token counts for a label if any span of it holds the token, however long; for a length by the shortest
    span of the level around it.

    Args:
        prepared: The data set.
        blocks: Its validation split, packed.
        rows: Row numbers, rising.
        buckets: Classes of salience.

    Returns:
        The groupings, coarse levels first; groups in the order of their labels, lengths or salience.
    """
    length = blocks.sequence_length
    kept = [level for level in LEVELS if level in prepared.manifest["levels"]]
    labelled: dict[str, dict[str, NDArray[np.bool_]]] = {level: {} for level in kept}
    shortest = {level: np.zeros((len(rows), length), dtype=np.int64) for level in kept}
    for level, label, start, end in _spans(prepared, blocks, rows):
        tokens = end - start
        members = labelled[level].setdefault(label, np.zeros((len(rows), length), dtype=np.bool_))
        for row, first, last in _parts(start, end, rows, length):
            members[row, first:last] = True
            around = shortest[level][row, first:last]
            around[(around == 0) | (around > tokens)] = tokens
    groups = []
    for level in kept:
        groups.append(Grouping(f"{level}: label", dict(sorted(labelled[level].items()))))
        groups.append(Grouping(f"{level}: length in tokens", by_length(shortest[level])))
    groups.append(Grouping("salience", _by_salience(blocks, rows, buckets)))
    return groups


def by_length(lengths: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Tokens by a length, int64 of any shape; those of length 0 are in no group."""
    return {
        _range(low, high): (lengths >= low) & ((lengths <= high) if high is not None else True)
        for low, high in LENGTHS
    }


def _range(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} or more"
    return str(low) if low == high else f"{low} to {high}"


def _spans(
    prepared: PreparedData, blocks: PackedBlocks, rows: Sequence[int]
) -> Iterator[tuple[str, str, int, int]]:
    """Level, label, start and end (in the split's stream) of every span that touches one of the rows."""
    split = prepared.split("validation")
    separators = int(blocks.num_tokens > int(split.lengths("input_ids").sum()))
    ends_of_documents = (split.lengths("input_ids") + separators).cumsum()
    document = np.repeat(np.arange(len(split)), split.lengths("span_start"))
    offset = np.concatenate([[0], ends_of_documents])[document]
    start, end = split.values("span_start") + offset, split.values("span_end") + offset
    ends_of_rows = (np.asarray(rows) + 1) * blocks.sequence_length
    # The first row that ends after the span begins is the only one that can touch it first.
    nearest = np.minimum(np.searchsorted(ends_of_rows, start, side="right"), len(rows) - 1)
    first = np.asarray(rows)[nearest] * blocks.sequence_length
    touches = (first < end) & (start < first + blocks.sequence_length)
    levels, labels = split.values("span_level"), split.values("span_label")
    names = prepared.manifest["labels"]
    for index in np.flatnonzero(touches):
        yield LEVELS[levels[index]], str(names[labels[index]]), int(start[index]), int(end[index])


def _parts(start: int, end: int, rows: Sequence[int], length: int) -> Iterator[tuple[int, int, int]]:
    """Place of the row, first and last position of each part of a span that lies in one of the rows."""
    first = int(np.searchsorted(np.asarray(rows), start // length))
    for place in range(first, len(rows)):
        begin = rows[place] * length
        if begin >= end:
            return
        yield place, max(start - begin, 0), min(end - begin, length)


def _by_salience(blocks: PackedBlocks, rows: Sequence[int], buckets: Buckets) -> dict[str, NDArray[np.bool_]]:
    batch = blocks.batch(rows)
    salience = batch.salience
    assert salience is not None, "packed rows have salience"
    is_text = (batch.token_mask & (batch.input_ids != blocks.eos_id)).numpy()
    bucket = buckets.indexes(salience.numpy())
    edges = [0.0, *buckets.edges, 1.0]
    return {
        f"{edges[number]:.2f} to {edges[number + 1]:.2f}": (bucket == number) & is_text
        for number in range(len(buckets))
    }
