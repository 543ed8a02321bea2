"""Span errors: which spans of a parser are not in the gold tree, and which of the gold tree it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from hdiff.structure import SpanTree

Extents = Mapping[tuple[int, int], tuple[str, str]]
"""Half-open word positions -> (category, level)."""


@dataclass(frozen=True)
class SpanError:
    """A span that the two trees do not share.

    Attributes:
        span: Its text.
        gold: Category in the gold tree; "" if it is not there.
        parser: Category of the parser; "" if it is not there.
        sentence: The sentence.
    """

    span: str
    gold: str
    parser: str
    sentence: str

    def to_dict(self) -> dict[str, str]:
        """A JSON-able copy."""
        return asdict(self)


def span_errors(tree: SpanTree, gold: Extents, parsed: Extents) -> Iterator[SpanError]:
    """Missing, additional and wrongly labelled spans of two trees over the same words, in text order."""
    words = tree.words
    for first, end in sorted({*gold, *parsed}):
        label, own = gold.get((first, end), ("", ""))[0], parsed.get((first, end), ("", ""))[0]
        if label != own:
            yield SpanError(tree.text[words[first].start : words[end - 1].end], label, own, tree.text)
