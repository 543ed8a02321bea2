"""Span and SpanTree: nested labelled spans over one text, at levels from sentence to word.

Offsets are half-open `[start, end)` and count characters of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hdiff.errors import DataError

LEVELS: tuple[str, ...] = ("sentence", "clause", "phrase", "word", "token")
"""All levels, coarse to fine. A parser yields the first four; `token` exists after alignment."""


_RANKS = {level: rank for rank, level in enumerate(LEVELS)}


def level_rank(level: str) -> int:
    """Position of a level in `LEVELS`: 0 is the coarsest."""
    if level not in _RANKS:
        raise DataError(f"unknown level '{level}'; levels are {', '.join(LEVELS)} (coarse to fine)")
    return _RANKS[level]


@dataclass(frozen=True)
class Span:
    """A labelled stretch of text.

    Attributes:
        start: First position, inclusive.
        end: Last position, exclusive; `end > start`.
        label: Category, for example `NP`, `SBAR` or a part of speech.
        level: One of `LEVELS`.
    """

    start: int
    end: int
    label: str
    level: str

    def __len__(self) -> int:
        return self.end - self.start

    def contains(self, other: Span) -> bool:
        """Whether `other` lies inside this span (equal extents count)."""
        return self.start <= other.start and other.end <= self.end


def nesting_order(span: Span) -> tuple[int, int, int]:
    """Sort key of the spans of a tree: by start, longest first, coarse level first."""
    return (span.start, -span.end, _RANKS[span.level])


@dataclass(frozen=True)
class SpanTree:
    """Nested spans of one text, with a salience per word.

    Spans are kept in nesting order: by start, longest first, coarse level first; so a span's
    ancestors come before it. `build` sorts and checks; the constructor trusts its arguments.

    Attributes:
        text: The text all offsets refer to.
        spans: Spans of the levels sentence, clause, phrase and word; no two cross.
        salience: One score in [0, 1] per word-level span, in text order.
        heads: Index of each word's syntactic head, -1 for a root; None if the parser gives no heads.
        entities: Type of the named entity each word is in, "" for none; None if the parser gives none.
        tags: A part of speech of each word that is finer than its label; None if the parser gives none.
        relations: How each word hangs on its head; None if the parser gives none.
        language: Code of the language that the text was taken for, as `fr`; None if nobody asked.
    """

    text: str
    spans: tuple[Span, ...]
    salience: tuple[float, ...]
    heads: tuple[int, ...] | None = None
    entities: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    relations: tuple[str, ...] | None = None
    language: str | None = None

    @classmethod
    def build(
        cls,
        text: str,
        spans: Iterable[Span],
        salience: Sequence[float] | None = None,
        *,
        heads: Sequence[int] | None = None,
        entities: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        relations: Sequence[str] | None = None,
    ) -> SpanTree:
        """Sorts and validates spans into a tree.

        Args:
            text: The text.
            spans: Spans in any order.
            salience: One score in [0, 1] per word-level span in text order; 1.0 for each if None.
            heads: Index of the head of each word in text order, -1 for a root.
            entities: Entity type of each word in text order, "" for none.
            tags: Fine part of speech of each word in text order.
            relations: Relation of each word to its head in text order.

        Returns:
            The tree.

        Raises:
            DataError: If a span is empty or out of range, two spans cross, words overlap, or the
                number or range of what is told of the words is wrong.
        """
        ordered = tuple(sorted(spans, key=nesting_order))
        stack: list[Span] = []
        num_words = 0
        last_word_end = 0
        for span in ordered:
            if not 0 <= span.start < span.end <= len(text):
                raise DataError(
                    f"span [{span.start}, {span.end}) does not fit a text of {len(text)} characters"
                )
            while stack and stack[-1].end <= span.start:
                stack.pop()
            if stack and span.end > stack[-1].end:
                raise DataError(f"spans cross: {stack[-1]} and {span}; a SpanTree is nested")
            stack.append(span)
            if span.level == "word":
                if span.start < last_word_end:
                    raise DataError(f"word {span} overlaps the word before it; words are disjoint")
                last_word_end = span.end
                num_words += 1
        scores = (1.0,) * num_words if salience is None else tuple(float(s) for s in salience)
        if len(scores) != num_words:
            raise DataError(f"{len(scores)} salience scores for {num_words} words; give one per word")
        if any(not 0.0 <= s <= 1.0 for s in scores):
            raise DataError("salience must lie in [0, 1]; rescale the scores")
        told = {"heads": heads, "entities": entities, "tags": tags, "relations": relations}
        for name, given in told.items():
            if given is not None and len(given) != num_words:
                raise DataError(f"{len(given)} {name} for {num_words} words; give one per word")
        if heads is not None and any(not -1 <= head < num_words for head in heads):
            raise DataError(
                f"a head lies outside of -1..{num_words - 1}; heads are word indexes, -1 is a root"
            )
        return cls(
            text=text,
            spans=ordered,
            salience=scores,
            heads=None if heads is None else tuple(heads),
            entities=None if entities is None else tuple(entities),
            tags=None if tags is None else tuple(tags),
            relations=None if relations is None else tuple(relations),
        )

    def at(self, level: str) -> tuple[Span, ...]:
        """Spans of one level in text order."""
        level_rank(level)
        return tuple(span for span in self.spans if span.level == level)

    @property
    def words(self) -> tuple[Span, ...]:
        """Word-level spans in text order."""
        return self.at("word")

    def walk(self) -> Iterator[tuple[int, Span]]:
        """Yields (depth, span) in nesting order; depth 0 is a root."""
        stack: list[Span] = []
        for span in self.spans:
            while stack and stack[-1].end <= span.start:
                stack.pop()
            yield len(stack), span
            stack.append(span)


def segment(
    starts: Sequence[int],
    ends: Sequence[int],
    levels: Sequence[str],
    length: int,
    *,
    level: str,
    max_length: int | None = None,
) -> list[int]:
    """Flat segmentation of `length` positions by the maximal spans at `level` or finer.

    Walks nested spans top down and takes the first one that is at `level` or finer and no longer
    than `max_length`; positions no taken span covers are units of their own. The segmentation of a
    finer level always refines that of a coarser one (same `max_length`).

    Args:
        starts: Span starts (positions, for example tokens), in nesting order.
        ends: Span ends, exclusive.
        levels: Span levels.
        length: Number of positions.
        level: The coarsest level a unit may have.
        max_length: Longest unit in positions; None means no limit.

    Returns:
        A unit id per position: 0, 0, 1, 2, 2, ... ; ids are contiguous and non-decreasing.
    """
    rank = level_rank(level)
    ids = [0] * length
    position = 0
    unit = 0
    for start, end, span_level in zip(starts, ends, levels, strict=True):
        if start < position or level_rank(span_level) < rank:
            continue
        if max_length is not None and end - start > max_length:
            continue
        while position < start:
            ids[position] = unit
            position += 1
            unit += 1
        for covered in range(start, end):
            ids[covered] = unit
        position = end
        unit += 1
    while position < length:
        ids[position] = unit
        position += 1
        unit += 1
    return ids
