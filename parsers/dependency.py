"""DependencyTree: one sentence as words, heads and relations, whichever parser they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from hdiff.errors import ParserError

ROOT = -1
"""Head of a root word."""


@dataclass(frozen=True)
class DependencyTree:
    """Words of one sentence with their heads; several roots are allowed.

    Attributes:
        text: The text that `offsets` refer to; may hold more than this sentence.
        offsets: Half-open character offsets of each word, increasing and disjoint.
        heads: Index of each word's head, `ROOT` for none.
        deps: Relation of each word to its head, ClearNLP labels (nsubj, dobj, prep, pobj ...).
        pos: Universal part of speech of each word (NOUN, VERB, PUNCT ...).
        tags: Part of speech of each word in the tag set of the language (NNS, VBZ ...); () if not known.
    """

    text: str
    offsets: tuple[tuple[int, int], ...]
    heads: tuple[int, ...]
    deps: tuple[str, ...]
    pos: tuple[str, ...]
    tags: tuple[str, ...] = ()

    @classmethod
    def build(
        cls,
        text: str,
        offsets: Sequence[tuple[int, int]],
        heads: Sequence[int],
        deps: Sequence[str],
        pos: Sequence[str],
    ) -> DependencyTree:
        """Checks the parts and puts them together.

        Args:
            text: The text.
            offsets: Half-open character offsets per word.
            heads: Head index per word, `ROOT` for none.
            deps: Relation per word.
            pos: Part of speech per word.

        Returns:
            The tree.

        Raises:
            ParserError: If the lengths differ, a head is out of range or heads form a cycle.
        """
        count = len(offsets)
        if not count == len(heads) == len(deps) == len(pos):
            raise ParserError(
                f"{count} offsets, {len(heads)} heads, {len(deps)} relations, {len(pos)} parts of speech; "
                "a dependency tree has one of each per word"
            )
        for word, head in enumerate(heads):
            if not (head == ROOT or 0 <= head < count):
                raise ParserError(
                    f"word {word} has head {head}; heads lie in 0..{count - 1}, or {ROOT} for a root"
                )
        tree = cls(text, tuple(offsets), tuple(heads), tuple(deps), tuple(pos))
        if len(tree.bottom_up) != count:
            raise ParserError("the heads form a cycle; every word must reach a root")
        return tree

    def __len__(self) -> int:
        return len(self.heads)

    def word(self, index: int) -> str:
        """The lower-cased text of a word."""
        start, end = self.offsets[index]
        return self.text[start:end].lower()

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Dependents of each word, left to right."""
        children: list[list[int]] = [[] for _ in self.heads]
        for word, head in enumerate(self.heads):
            if head != ROOT:
                children[head].append(word)
        return tuple(map(tuple, children))

    @cached_property
    def bottom_up(self) -> tuple[int, ...]:
        """All words that reach a root, dependents before heads."""
        order = [word for word, head in enumerate(self.heads) if head == ROOT]
        for word in order:  # grows while it is read
            order.extend(self.children[word])
        return tuple(reversed(order))

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """First and last word (inclusive) of each word's subtree."""
        left, right = list(range(len(self))), list(range(len(self)))
        heads = self.heads
        for word in self.bottom_up:
            head = heads[word]
            if head == ROOT:
                continue
            if left[word] < left[head]:  # faster than min and max, and this is run for every word
                left[head] = left[word]
            if right[word] > right[head]:
                right[head] = right[word]
        return tuple(zip(left, right, strict=True))

    @cached_property
    def is_contiguous(self) -> tuple[bool, ...]:
        """Whether each word's subtree is a stretch of text without gaps."""
        sizes = [1] * len(self)
        for word in self.bottom_up:
            if self.heads[word] != ROOT:
                sizes[self.heads[word]] += sizes[word]
        return tuple(right - left + 1 == size for (left, right), size in zip(self.edges, sizes, strict=True))

    @property
    def num_discontinuous(self) -> int:
        """Subtrees with gaps; they yield no span."""
        return self.is_contiguous.count(False)
