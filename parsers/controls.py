"""Controls: trees that know nothing of the language, over the words and sentences of another parser.

An ablation compares a parser with them: if random trees of the same sizes train as well, it was the sizes.
Every choice is drawn from a seed and the text, so the same text always gets the same tree.
"""

from __future__ import annotations

import hashlib
import random
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, final

from hdiff.errors import ParserError
from hdiff.structure import Span, SpanTree

from .base import ANNOTATIONS, Parser, Words


class Extent(NamedTuple):
    """A clause or phrase over word positions of its sentence, half-open."""

    first: int
    end: int
    label: str
    level: str


class ControlParser(Parser):
    """Keeps sentences and words of an inner parser and replaces its clauses and phrases.

    Args:
        inner: Specification of the inner parser, as `load_parser` takes it.
        annotations: What the inner parser is to tell of each word besides.
        seed: Seed of the trees.

    Raises:
        ParserError: If no inner parser is given.

    Attributes:
        keeps_levels: Whether it has the levels of the inner parser; else all its spans are phrases.
    """

    levels: tuple[str, ...] = ("sentence", "phrase", "word")
    takes_model = True
    annotations = ANNOTATIONS
    keeps_levels = False

    def __init__(self, inner: str | None = None, *, annotations: Collection[str] = (), seed: int = 0) -> None:
        from . import load_parser

        if inner is None:
            raise ParserError(f"parser '{self.name}' needs one to take words from; write {self.name}:spacy")
        self.inner = load_parser(inner, annotations=annotations)
        self.seed = seed
        if self.keeps_levels:
            self.levels = self.inner.levels
            self.lacks = self.inner.lacks
        self.language = self.inner.language

    @staticmethod
    @abstractmethod
    def extents(num_words: int, given: list[Extent], generator: random.Random) -> Iterable[Extent]:
        """Clauses and phrases of a sentence, no two of which cross; those of the inner parser are given."""

    @final
    def parse(self, texts: Iterable[str]) -> Iterator[SpanTree]:
        return map(self._replaced, self.inner.parse(texts))

    @final
    def parse_words(self, sentences: Iterable[Words]) -> Iterator[SpanTree]:
        return map(self._replaced, self.inner.parse_words(sentences))

    @final
    def fingerprint(self) -> dict[str, str]:
        inner = {f"inner_{key}": value for key, value in self.inner.fingerprint().items()}
        return {"name": self.name, "seed": str(self.seed), "rules": "1", **inner}

    def _replaced(self, tree: SpanTree) -> SpanTree:
        digest = hashlib.sha256(f"{self.seed}:{tree.text}".encode()).digest()
        generator = random.Random(digest)
        words = tree.words
        starts, ends = [word.start for word in words], [word.end for word in words]
        spans: list[Span] = [*tree.at("sentence"), *words]
        inner = [
            (bisect_left(starts, span.start), bisect_left(ends, span.end) + 1, span)
            for span in tree.spans
            if span.level in ("clause", "phrase")
        ]
        for sentence in tree.at("sentence"):
            first, end = bisect_left(starts, sentence.start), bisect_left(ends, sentence.end) + 1
            given = [
                Extent(left - first, right - first, span.label, span.level)
                for left, right, span in inner
                if first <= left and right <= end
            ]
            spans.extend(
                Span(starts[first + extent.first], ends[first + extent.end - 1], extent.label, extent.level)
                for extent in self.extents(end - first, given, generator)
            )
        told = {name: getattr(tree, name) for name in (*ANNOTATIONS, "tags", "relations")}
        return SpanTree.build(tree.text, spans, tree.salience, **told)


@final
class RandomTrees(ControlParser):
    """As many spans of the same lengths, labels and levels, at random places where they nest.

    The longest spans are placed first, each where it crosses none of the others; a span that fits nowhere
    in 20 tries is left out.
    """

    name = "random"
    keeps_levels = True

    @staticmethod
    def extents(num_words: int, given: list[Extent], generator: random.Random) -> Iterable[Extent]:
        placed: list[Extent] = []
        for extent in sorted(given, key=lambda extent: extent.first - extent.end):
            length = extent.end - extent.first
            for _ in range(20):
                first = generator.randint(0, num_words - length)
                moved = extent._replace(first=first, end=first + length)
                if not any(_cross(moved, other) for other in placed):
                    placed.append(moved)
                    break
        return placed


@final
class BalancedTrees(ControlParser):
    """Halves of halves, down to two words."""

    name = "balanced"

    @staticmethod
    def extents(num_words: int, given: list[Extent], generator: random.Random) -> Iterable[Extent]:
        extents = []
        stack = [(0, num_words)]
        while stack:
            first, end = stack.pop()
            if end - first >= 2:
                if end - first < num_words:
                    extents.append(Extent(first, end, "X", "phrase"))
                middle = (first + end + 1) // 2
                stack += [(middle, end), (first, middle)]
        return extents


@final
class RightBranchingTrees(ControlParser):
    """From every word but the last to the end of the sentence."""

    name = "right_branching"

    @staticmethod
    def extents(num_words: int, given: list[Extent], generator: random.Random) -> Iterable[Extent]:
        return [Extent(first, num_words, "X", "phrase") for first in range(1, num_words - 1)]


@final
class ShuffledTrees(ControlParser):
    """The inner tree with the children of every node in another order: same shape, sizes, labels."""

    name = "shuffled"
    keeps_levels = True

    @staticmethod
    def extents(num_words: int, given: list[Extent], generator: random.Random) -> Iterable[Extent]:
        root = Extent(0, num_words, "", "sentence")
        children: dict[int, list[int]] = {-1: []}
        stack = [-1]
        for number, extent in enumerate(given):
            while stack[-1] >= 0 and given[stack[-1]].end <= extent.first:
                stack.pop()
            children[stack[-1]].append(number)
            children[number] = []
            stack.append(number)
        extents = []
        to_place = [(-1, 0)]
        while to_place:
            number, start = to_place.pop()
            node = root if number < 0 else given[number]
            if number >= 0:
                extents.append(node._replace(first=start, end=start + node.end - node.first))
            below = children[number]
            loose = node.end - node.first - sum(given[child].end - given[child].first for child in below)
            order: list[int | None] = [*below, *([None] * loose)]
            generator.shuffle(order)
            for child in order:
                if child is None:
                    start += 1
                else:
                    to_place.append((child, start))
                    start += given[child].end - given[child].first
        return extents


CONTROLS: dict[str, type[ControlParser]] = {
    control.name: control for control in (RandomTrees, ShuffledTrees, BalancedTrees, RightBranchingTrees)
}


def _cross(one: Extent, other: Extent) -> bool:
    return one.first < other.first < one.end < other.end or other.first < one.first < other.end < one.end
