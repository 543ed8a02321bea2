"""Alignment: character spans to token spans, exact for any tokenizer. No torch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from hdiff.structure import SpanTree

_NOWHERE = -1


@dataclass(frozen=True)
class AlignedSpans:
    """The spans of a text in token positions.

    Attributes:
        starts: First token of each span, in nesting order.
        ends: Last token of each span, exclusive; every span has a token.
        levels: Level of each span.
        labels: Label of each span.
        salience: Salience of the word a token belongs to, 0 outside of words; one per token.
        snapped: Number of spans of the text with a border inside a token.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    levels: tuple[str, ...]
    labels: tuple[str, ...]
    salience: tuple[float, ...]
    snapped: int


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
    anchors = token_anchors(tree.text, offsets)
    ends = [max(end, start) for start, end in offsets]
    salience = [0.0] * len(anchors)
    kept: list[tuple[int, int, str, str]] = []
    word = 0
    snapped = 0
    for span in tree.spans:
        start = bisect_left(anchors, span.start)
        end = bisect_left(anchors, span.end, lo=start)
        snapped += any(_is_inside(tree.text, anchors, ends, border) for border in (span.start, span.end))
        if span.level == "word":
            salience[start:end] = [tree.salience[word]] * (end - start)
            word += 1
        if start < end:
            kept.append((start, end, span.level, span.label))
    starts, stops, levels, labels = zip(*kept, strict=True) if kept else ((), (), (), ())
    return AlignedSpans(starts, stops, levels, labels, tuple(salience), snapped)


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
    anchors: list[int] = []
    last = _NOWHERE
    for start, end in offsets:
        position = start
        while position < end and text[position].isspace():
            position += 1
        if position < end:
            last = max(last, position)
        anchors.append(last)
    first = next((anchor for anchor in anchors if anchor != _NOWHERE), _NOWHERE)
    return [first if anchor == _NOWHERE else anchor for anchor in anchors]


def _is_inside(text: str, anchors: Sequence[int], ends: Sequence[int], border: int) -> bool:
    """Whether a border cuts the token before it: it lies after its anchor, and text of it follows."""
    token = bisect_left(anchors, border) - 1
    return token >= 0 and anchors[token] < border < ends[token] and not text[border : ends[token]].isspace()
