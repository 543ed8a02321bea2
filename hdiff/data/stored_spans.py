"""StoredSpans: the spans of documents that lie end to end, in tokens.

Dimensions: N tokens of all documents, S spans.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hdiff.structure import level_rank

if TYPE_CHECKING:
    from hdiff.data.sources.arrow import ArrowRows


@dataclass(frozen=True)
class StoredSpans:
    """Spans in nesting order.

    Attributes:
        first: First token, int64 (S,).
        end: End, exclusive, int64 (S,).
        level: Rank of the level, int64 (S,).
        label: Id of the label in the data set, int64 (S,).
        num_tokens: Tokens N.
    """

    first: NDArray[np.int64]
    end: NDArray[np.int64]
    level: NDArray[np.int64]
    label: NDArray[np.int64]
    num_tokens: int

    @classmethod
    def of_rows(cls, rows: ArrowRows, starts: NDArray[np.int64]) -> StoredSpans:
        """Reads the spans of a split.

        Args:
            rows: Documents, with the columns of `hdiff.data.sources.arrow.schema`.
            starts: First token of each and the end of the last, int64 (documents + 1,).

        Returns:
            Their spans.
        """
        offset = np.repeat(starts[:-1], rows.lengths("span_start"))
        first, end, level, label = (
            rows.values(f"span_{name}").astype(np.int64) for name in ("start", "end", "level", "label")
        )
        return cls(first + offset, end + offset, level, label, int(starts[-1]))

    @property
    def words(self) -> StoredSpans:
        """The words."""
        return self.of(self.level == level_rank("word"))

    @property
    def above_words(self) -> StoredSpans:
        """Phrases, clauses and sentences."""
        return self.of(self.level < level_rank("word"))

    def of(self, chosen: NDArray[Any]) -> StoredSpans:
        """Some of the spans, by flags or places."""
        return StoredSpans(
            self.first[chosen], self.end[chosen], self.level[chosen], self.label[chosen], self.num_tokens
        )

    def tokens(self) -> NDArray[np.int64]:
        """All tokens of all spans, one span after another."""
        lengths = self.end - self.first
        inside = np.arange(int(lengths.sum())) - np.repeat(lengths.cumsum() - lengths, lengths)
        tokens: NDArray[np.int64] = np.repeat(self.first, lengths) + inside
        return tokens

    def depth(self) -> NDArray[np.int64]:
        """How many of the spans hold each, int64 (S,).

        Of the spans before one in nesting order, those that have ended are beside it; the others hold it.
        """
        ended = np.sort(self.end).searchsorted(self.first, side="right")
        depth: NDArray[np.int64] = np.arange(len(self.first)) - ended
        return depth

    def by_depth(self) -> list[StoredSpans]:
        """Disjoint spans, the outermost first."""
        depth = self.depth()
        order = depth.argsort(kind="stable")
        borders = np.bincount(depth, minlength=1).cumsum()[:-1]
        return [self.of(places) for places in np.split(order, borders)]

    def count_around(self) -> NDArray[np.int64]:
        """How many spans hold both a token and the one before it, int64 (N,)."""
        change = np.zeros(self.num_tokens + 2, dtype=np.int64)
        np.add.at(change, self.first + 1, 1)
        np.add.at(change, self.end, -1)
        around: NDArray[np.int64] = change.cumsum()[: self.num_tokens]
        return around
