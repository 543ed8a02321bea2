"""WordStatistics: in how many documents each word occurs, counted in parts and put together. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hdiff.structure import SpanTree

MAX_WORDS = 2_000_000
"""Most words that are kept; beyond it those of the fewest documents go."""


@dataclass
class WordStatistics:
    """Counts over documents.

    Attributes:
        num_documents: Documents counted.
        document_counts: In how many of them each lower-cased word occurs.
    """

    num_documents: int = 0
    document_counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, trees: Iterable[SpanTree]) -> WordStatistics:
        """Counts documents; one tree is one document.

        Args:
            trees: Parsed texts.

        Returns:
            The counts.
        """
        statistics = cls()
        for tree in trees:
            text = tree.text
            statistics.num_documents += 1
            statistics.document_counts.update({text[word.start : word.end].lower() for word in tree.words})
        return statistics

    def add(self, other: WordStatistics) -> None:
        """Adds the counts of other documents; memory stays bounded by `MAX_WORDS`.

        The order does not matter until words have to go. Then counts are too small by at most the largest
        count that went, which is that of the rarest words.

        Args:
            other: Counts of other documents.
        """
        self.num_documents += other.num_documents
        self.document_counts.update(other.document_counts)
        if len(self.document_counts) > MAX_WORDS:
            kept = sorted(self.document_counts.items(), key=lambda item: (-item[1], item[0]))
            self.document_counts = Counter(dict(kept[: MAX_WORDS // 2]))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy; `from_dict` restores it exactly."""
        return {"num_documents": self.num_documents, "document_counts": dict(self.document_counts)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WordStatistics:
        """Restores what `to_dict` gave."""
        return cls(int(data["num_documents"]), Counter(data["document_counts"]))
