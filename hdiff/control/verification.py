"""skeleton_checker: whether a text has the spans of a skeleton, as a parser sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hdiff.parsers.base import Parser

FREE = "*"
"""Label of a stretch whose labels the model chooses."""


class Labelled(Protocol):
    """What is known of a skeleton here."""

    @property
    def spans(self) -> tuple[tuple[str, int], ...]:
        """Label and tokens of each span."""


def skeleton_checker(parser: Parser, skeleton: Labelled) -> Callable[[Sequence[str]], bool]:
    """A function that parses a text and looks for every labelled span of a skeleton at its very place.

    A parser that checks is no classifier that is trained for the purpose, but it makes what passes agree with
    this parser and no other.

    Args:
        parser: The parser.
        skeleton: The spans.

    Returns:
        Pieces of text, one per token -> whether all labelled spans are there. White space around a span does
        not count.
    """

    def holds(pieces: Sequence[str]) -> bool:
        (tree,) = parser.parse(["".join(pieces)])
        places = {(span.start, span.end, span.label) for span in tree.spans}
        first = 0
        for label, length in skeleton.spans:
            start = sum(map(len, pieces[:first]))
            text = "".join(pieces[first : first + length])
            first += length
            left = start + len(text) - len(text.lstrip())
            if label != FREE and (left, left + len(text.strip()), label) not in places:
                return False
        return True

    return holds
