"""Rejected: what was in the source and gives no document, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hdiff.errors import DataError

EMPTY = "empty text"
MAX_REJECTED = 0.5
"""Default of the largest share of rows that may be rejected."""


@dataclass(frozen=True)
class Rejected:
    """A document that gives no tree.

    Attributes:
        text: The document, "" of a row that holds no text.
        reason: Why, the same for documents that fail alike.
        place: Where it is from, "" if that is told elsewhere.
    """

    text: str
    reason: str
    place: str = ""


class Row(NamedTuple):
    """A row of a source.

    Attributes:
        text: Its text, stripped; "" if it has none.
        place: Where it is from: file and line, within the source.
        reason: Why it cannot be read, with the remedy; None of a row that can.
        is_whole: Whether a part of it means nothing: it is never cut.
    """

    text: str
    place: str
    reason: str | None = None
    is_whole: bool = False

    @property
    def document(self) -> str | Rejected:
        """Its text, or what says why there is none."""
        return self.text if self.reason is None else Rejected(self.text, self.reason, self.place)


def check_share(rejected: Mapping[str, int], total: int, source: str, *, most: float | None = None) -> None:
    """Refuses a source of which too much was rejected. Empty texts do not count: nothing is lost with them.

    Args:
        rejected: How many rows there are of each reason.
        total: All rows.
        source: What to name.
        most: Largest share that is allowed, if the user can set it; None takes `MAX_REJECTED`.

    Raises:
        DataError: Naming the most frequent reason.
    """
    counts = {reason: number for reason, number in rejected.items() if reason != EMPTY}
    number = sum(counts.values())
    full = total - rejected.get(EMPTY, 0)
    limit = MAX_REJECTED if most is None else most
    if number <= limit * full:
        return
    reason = max(counts, key=counts.__getitem__)
    reasons = (
        f"{number:,} of the {full:,} documents of {source} are rejected, at most {limit:.0%} may be; the "
        f"most frequent reason is: {reason}; mend them"
    )
    if most is None:
        raise DataError(reasons)
    raise DataError(f"{reasons}, or allow more with", f"--max-rejected {min(1.0, number / full + 0.005):.2f}")
