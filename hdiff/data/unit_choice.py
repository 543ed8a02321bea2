"""Unit choice: which spans of a tree may become units, before training sees the text.

Each choice leaves out some spans above the words; of what remains, units are the outermost spans up to the
largest size. Random choices are functions of a seed and the document, so the same text has the same units.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hdiff.errors import DataError
from hdiff.structure import level_rank

OUTERMOST, INNERMOST, CUT = "outermost", "innermost", "cut"
CHOICES = (OUTERMOST, INNERMOST, CUT)
_WORD = level_rank("word")
_MIX = np.uint64(0x9E3779B97F4A7C15)


def eligible(
    choice: str | Sequence[str],
    *,
    first: NDArray[np.int64],
    end: NDArray[np.int64],
    rank: NDArray[np.integer],
    label: NDArray[np.integer],
    document: NDArray[np.int64],
    keys: NDArray[np.uint64],
    labels: Sequence[str],
) -> NDArray[np.bool_]:
    """Which spans may become units; words always may.

    Args:
        choice: `outermost` (all), `innermost` (those that hold no other span above the words), `cut` (those
            below a random cut through the tree of each document), or labels.
        first: First token of each span, int64 (S,), in nesting order over all documents.
        end: End of each span, exclusive.
        rank: Level of each span, as `level_rank` gives it.
        label: Label id of each span.
        document: Document of each span.
        keys: A number for each document, as `document_keys` gives it.
        labels: Labels by their ids.

    Returns:
        A flag per span, bool (S,).

    Raises:
        DataError: If a label is not in the data set.
    """
    is_word = rank >= _WORD
    if choice == OUTERMOST:
        return np.ones(len(first), dtype=np.bool_)
    if choice == INNERMOST:
        above = np.flatnonzero(~is_word)
        holds = np.zeros(len(above), dtype=np.bool_)
        holds[:-1] = first[above][1:] < end[above][:-1]  # in nesting order the next one is inside, or after
        kept = is_word.copy()
        kept[above[~holds]] = True
        return kept
    if choice == CUT:
        # A span is opened where its number is below the threshold of its document: a higher threshold opens
        # more, so that the cuts of a tree form a family from coarse to fine.
        order = np.arange(len(first), dtype=np.uint64) - np.searchsorted(document, document).astype(np.uint64)
        numbers = _uniform(keys[document] + (order + np.uint64(1)) * _MIX)
        return np.asarray(is_word | (numbers >= _uniform(keys)[document]))
    wanted = [choice] if isinstance(choice, str) else list(choice)
    for name in wanted:
        if name not in labels:
            raise DataError(
                f"data.units names label '{name}', the data set has {', '.join(sorted(set(labels)))}; "
                f"name one of these, or one of {', '.join(CHOICES)}"
            )
    ids = [number for number, name in enumerate(labels) if name in wanted]
    return np.asarray(is_word | np.isin(label, ids))


def document_keys(
    tokens: NDArray[np.integer], lengths: NDArray[np.int64], *, seed: int
) -> NDArray[np.uint64]:
    """A number for each document that depends on its tokens and a seed alone.

    Args:
        tokens: Tokens of all documents, end to end.
        lengths: Tokens of each document.
        seed: The seed.

    Returns:
        Numbers, uint64 (documents,).
    """
    ends = np.cumsum(lengths)
    parts = (np.ascontiguousarray(tokens[end - size : end]) for end, size in zip(ends, lengths, strict=True))
    return np.array(
        [zlib.crc32(part.tobytes(), (seed ^ seed >> 32) & 0xFFFFFFFF) for part in parts], dtype=np.uint64
    )


def _uniform(numbers: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) by the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = numbers + _MIX
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11), dtype=np.float64) / float(1 << 53)
