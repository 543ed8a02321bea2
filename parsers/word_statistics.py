"""WordStatistics: how often words and pairs of neighbours occur, counted in parts, added up."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hdiff.structure import SpanTree

MAX_WORDS = 2_000_000
"""Most words, and most pairs, that are kept; beyond it those with the smallest counts go."""


@dataclass
class WordStatistics:
    """Counts over documents.

    Attributes:
        num_documents: Documents counted.
        document_counts: In how many of them each lower-cased word occurs.
        word_counts: How often each lower-cased word occurs; empty unless pairs were asked for.
        pair_counts: How often "left right" occur next to each other in a sentence; empty likewise.
    """

    num_documents: int = 0
    document_counts: Counter[str] = field(default_factory=Counter)
    word_counts: Counter[str] = field(default_factory=Counter)
    pair_counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, trees: Iterable[SpanTree], *, pairs: bool = False) -> WordStatistics:
        """Counts documents, one tree each; words and pairs of neighbours only if asked for."""
        statistics = cls()
        for tree in trees:
            text = tree.text
            forms = [text[word.start : word.end].lower() for word in tree.words]
            statistics.num_documents += 1
            statistics.document_counts.update(set(forms))
            if pairs:
                statistics.word_counts.update(forms)
                statistics.pair_counts.update(" ".join(pair) for _, *pair in neighbours(tree))
        return statistics

    def add(self, other: WordStatistics) -> None:
        """Adds the counts of other documents; memory stays bounded by `MAX_WORDS`.

        The order does not matter until words have to go. Then counts are too small by at most the largest
        count that went, which is that of the rarest words.

        Args:
            other: Counts of other documents.
        """
        self.num_documents += other.num_documents
        self.document_counts = _bounded(self.document_counts, other.document_counts)
        self.word_counts = _bounded(self.word_counts, other.word_counts)
        self.pair_counts = _bounded(self.pair_counts, other.pair_counts)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy; `from_dict` restores it exactly."""
        data = {"num_documents": self.num_documents, "document_counts": dict(self.document_counts)}
        if self.pair_counts:
            data |= {"word_counts": dict(self.word_counts), "pair_counts": dict(self.pair_counts)}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WordStatistics:
        """Restores what `to_dict` gave."""
        names = ("document_counts", "word_counts", "pair_counts")
        return cls(int(data["num_documents"]), *(Counter(data.get(name, {})) for name in names))


def neighbours(tree: SpanTree) -> Iterator[tuple[int, str, str]]:
    """Neighbouring words, lower-cased, behind the position of the left one; both have a letter or digit."""
    words = tree.words
    starts = [word.start for word in words]
    first_words = {bisect_left(starts, sentence.start) for sentence in tree.at("sentence")}
    forms = [tree.text[word.start : word.end].lower() for word in words]
    is_word = [any(character.isalnum() for character in form) for form in forms]
    for position, (left, right) in enumerate(pairwise(forms)):
        if is_word[position] and is_word[position + 1] and position + 1 not in first_words:
            yield position, left, right


def _bounded(counts: Counter[str], more: Counter[str]) -> Counter[str]:
    counts.update(more)
    if len(counts) <= MAX_WORDS:
        return counts
    kept = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Counter(dict(kept[: MAX_WORDS // 2]))
