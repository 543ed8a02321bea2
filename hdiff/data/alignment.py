"""Alignment: character spans to token spans, exact for any tokenizer.

Dimensions: C characters, L tokens, S spans, W words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hdiff.structure import SpanTree

_NOWHERE = -1
_SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], dtype=np.uint32)


@dataclass(frozen=True)
class AlignedSpans:
    """The spans of a text in token positions.

    Attributes:
        tree: The spans in characters.
        kept: Which of `tree.spans` have a token, in their order, int (S,).
        starts: First token of each kept span, int32 (S,).
        ends: Last token of each kept span, exclusive, int32 (S,).
        salience: Salience of the word a token belongs to, 0 outside of words, float (L,).
        snapped: Number of spans of the text with a border inside a token.
    """

    tree: SpanTree
    kept: NDArray[np.intp]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    salience: NDArray[np.float64]
    snapped: int

    @property
    def levels(self) -> tuple[str, ...]:
        """Level of each kept span."""
        return tuple(self.tree.spans[span].level for span in self.kept)

    @property
    def labels(self) -> tuple[str, ...]:
        """Label of each kept span."""
        return tuple(self.tree.spans[span].label for span in self.kept)


def align(tree: SpanTree, offsets: Sequence[tuple[int, int]]) -> AlignedSpans:
    """Moves the spans of a text onto its tokens.

    A token belongs to a span if and only if its anchor does (`token_anchors`). Spans that get no
    token vanish; the others stay nested, though different spans may end up with equal extents.

    Args:
        tree: The spans of the text.
        offsets: Characters [start, end) of each token, in text order.

    Returns:
        The aligned spans.
    """
    borders = np.array(offsets, dtype=np.int64).reshape(-1, 2)  # (L, 2)
    next_word = _next_non_space(tree.text)
    anchors = _anchors(borders, next_word)
    first = np.array([span.start for span in tree.spans], dtype=np.int64)
    last = np.array([span.end for span in tree.spans], dtype=np.int64)
    starts, ends = np.searchsorted(anchors, first), np.searchsorted(anchors, last)
    kept = np.flatnonzero(starts < ends)
    cut = _is_inside(borders, anchors, next_word, first) | _is_inside(borders, anchors, next_word, last)
    return AlignedSpans(
        tree=tree,
        kept=kept,
        starts=starts[kept].astype(np.int32),
        ends=ends[kept].astype(np.int32),
        salience=_token_salience(tree, anchors),
        snapped=int(cut.sum()),
    )


def token_anchors(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The character that decides where a token belongs.

    It is the first non-space character inside the token. A token without one (whitespace, or no
    characters at all) takes the anchor of the token before it, or after it at the start of the text.
    Anchors never go back: a normaliser that reorders marks cannot tear a span apart.

    Args:
        text: The text.
        offsets: Characters [start, end) of each token.

    Returns:
        One character position per token, non-decreasing; -1 for all if the text has no anchor.
    """
    borders = np.array(offsets, dtype=np.int64).reshape(-1, 2)
    anchors: list[int] = _anchors(borders, _next_non_space(text)).tolist()
    return anchors


def token_texts(text: str, offsets: Sequence[tuple[int, int]]) -> list[str]:
    """The text of each token; white space goes to the token behind it, a shared character to the last one.

    Args:
        text: The text.
        offsets: Characters [start, end) of each token, at least one.

    Returns:
        One string per token; joined they are the text.
    """
    cuts, following = [len(text)], len(text)
    for (_, end), (start, _) in zip(reversed(offsets[:-1]), reversed(offsets[1:]), strict=True):
        following = min(following, start)
        cuts.append(min(end, following, cuts[-1]))
    cuts = [0, *(max(cut, 0) for cut in reversed(cuts))]
    return [text[start:end] for start, end in pairwise(cuts)]


def _next_non_space(text: str) -> NDArray[np.int64]:
    """For each character, and the end of the text, the next position that is no whitespace, (C + 1,)."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    positions = np.arange(len(codes) + 1)
    positions[:-1][np.isin(codes, _SPACES)] = len(codes)
    following: NDArray[np.int64] = np.minimum.accumulate(positions[::-1])[::-1]
    return following


def _anchors(borders: NDArray[np.int64], next_word: NDArray[np.int64]) -> NDArray[np.int64]:
    """Anchor of each token, (L,)."""
    if not len(borders):
        return np.zeros(0, dtype=np.int64)
    positions = next_word[borders[:, 0]]
    anchors = np.maximum.accumulate(np.where(positions < borders[:, 1], positions, _NOWHERE))
    has_anchor = anchors != _NOWHERE
    first = anchors[np.argmax(has_anchor)]  # _NOWHERE if there is none
    return np.where(has_anchor, anchors, first)


def _is_inside(
    borders: NDArray[np.int64],
    anchors: NDArray[np.int64],
    next_word: NDArray[np.int64],
    positions: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether a position cuts the token before it: it lies after its anchor, and text of it follows."""
    if not len(anchors):
        return np.zeros(len(positions), dtype=np.bool_)
    token = np.searchsorted(anchors, positions) - 1
    inside: NDArray[np.bool_] = (token >= 0) & (next_word[positions] < borders[token, 1])
    return inside


def _token_salience(tree: SpanTree, anchors: NDArray[np.int64]) -> NDArray[np.float64]:
    """Salience of each token's word, (L,)."""
    words = tree.words
    if not words:
        return np.zeros(len(anchors), dtype=np.float64)
    starts = np.array([word.start for word in words])
    ends = np.array([word.end for word in words])
    word = np.searchsorted(starts, anchors, side="right") - 1
    is_in_word = (word >= 0) & (anchors < ends[word])
    salience: NDArray[np.float64] = np.where(is_in_word, np.array(tree.salience)[word], 0.0)
    return salience
