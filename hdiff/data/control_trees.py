"""ControlTrees: the trees of `hdiff.parsers.controls` over stored words: they know no language."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hdiff.data.stored_spans import StoredSpans
from hdiff.parsers.controls import CONTROLS, Extent
from hdiff.structure import LEVELS, level_rank

PARSED = "parsed"
TREES = (PARSED, *CONTROLS)
"""Names of trees to train on."""

NO_LABEL = -1
"""Label id of spans that a control gives no label of the data set."""


def with_control_trees(spans: StoredSpans, starts: NDArray[np.int64], trees: str) -> StoredSpans:
    """Documents with other clauses and phrases over the same words and outermost spans, the sentences.

    Args:
        spans: Their spans.
        starts: First token of each document and the end of the last, int64 (documents + 1,).
        trees: `parsed` for no change, or the name of a control.

    Returns:
        Their spans; those of one document depend on nothing else.
    """
    if trees == PARSED:
        return spans
    words, above = spans.words, spans.above_words
    is_outer = above.depth() == 0
    inner, sentences = above.of(~is_outer), above.of(is_outer)
    first_word, end_word = (
        words.first.searchsorted(sentences.first),
        words.first.searchsorted(sentences.end),
    )
    # Extents of clauses and phrases over the words of the whole text.
    left, right = words.first.searchsorted(inner.first), words.first.searchsorted(inner.end)
    begin, end = inner.first.searchsorted(sentences.first), inner.first.searchsorted(sentences.end)
    document = starts.searchsorted(sentences.first, side="right") - 1
    drawn = []
    for number in range(len(sentences.first)):
        low, high = int(first_word[number]), int(end_word[number])
        given = [
            Extent(
                int(left[span]) - low,
                int(right[span]) - low,
                str(inner.label[span]),
                LEVELS[inner.level[span]],
            )
            for span in range(begin[number], end[number])
            if left[span] < right[span] <= high
        ]
        place = words.first[low:high] - starts[document[number]]
        generator = random.Random(hashlib.sha256(place.tobytes()).digest())
        drawn += [
            (
                words.first[low + extent.first],
                words.end[low + extent.end - 1],
                level_rank(extent.level),
                int(extent.label) if extent.label.isdigit() else NO_LABEL,
            )
            for extent in CONTROLS[trees].extents(high - low, given, generator)
        ]
    return _with((words, sentences), np.array(drawn, dtype=np.int64).reshape(-1, 4))


def _with(kept: Sequence[StoredSpans], drawn: NDArray[np.int64]) -> StoredSpans:
    """All together, in nesting order: by start, longest first, coarse level first."""
    tables = [np.stack([spans.first, spans.end, spans.level, spans.label], 1) for spans in kept]
    first, end, level, label = np.concatenate([*tables, drawn]).T
    order = np.lexsort((level, -end, first))
    return StoredSpans(first[order], end[order], level[order], label[order], kept[0].num_tokens)
