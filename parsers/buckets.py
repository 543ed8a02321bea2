"""Buckets: salience quantised, so that corruption and models tell a few classes of words apart."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from hdiff.errors import ParserError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Buckets:
    """Half-open intervals of salience: bucket i holds edges[i-1] <= s < edges[i]; the last one holds 1, too.

    Attributes:
        edges: Inner borders, strictly increasing in (0, 1); none makes one bucket.

    Raises:
        ParserError: If the edges are not so.
    """

    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if any(not 0 < edge < 1 for edge in self.edges) or any(a >= b for a, b in pairwise(self.edges)):
            raise ParserError(
                f"salience buckets have the edges {list(self.edges)}; give increasing numbers between 0 and 1"
            )

    def __len__(self) -> int:
        return len(self.edges) + 1

    @classmethod
    def of_histogram(cls, histogram: Sequence[int], num_buckets: int) -> Buckets:
        """Buckets that hold about as many tokens each.

        Args:
            histogram: Tokens by salience, in equal bins over [0, 1]; `salience_histogram` of a data set.
            num_buckets: How many to make; fewer come out if one score has more than its share.

        Returns:
            The buckets.

        Raises:
            ParserError: If fewer than one bucket is wanted, or the histogram is empty.
        """
        total = sum(histogram)
        if num_buckets < 1 or total <= 0:
            raise ParserError(f"{num_buckets} buckets for {total} tokens; give at least one of each")
        sums = list(accumulate(histogram))
        # The border is after the bin in which the share is reached.
        borders = [
            next(bin_ for bin_, count in enumerate(sums, start=1) if count * num_buckets >= total * part)
            for part in range(1, num_buckets)
        ]
        used = sorted(
            {border for border in borders if 0 < border < len(histogram) and sums[border - 1] < total}
        )
        return cls(tuple(border / len(histogram) for border in used))

    def index(self, score: float) -> int:
        """Bucket of one score in [0, 1], counted from 0."""
        return bisect_right(self.edges, score)

    def indexes(self, scores: Any) -> NDArray[Any]:
        """Buckets of an array of scores, any shape; int64, same shape."""
        import numpy as np

        return np.searchsorted(np.array(self.edges), np.asarray(scores), side="right")
