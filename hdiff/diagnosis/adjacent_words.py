"""Adjacent words: which two neighbours of held-out text are hidden together.

Dimensions: L tokens of a row.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hdiff.data.tokenizer import Tokenizer

_WORD = re.compile(r"[^\W_]+")
_INSIDE = re.compile(r"[^\W_]|['’]")  # "don" before "'t" is no word of its own


@dataclass(frozen=True)
class AdjacentPair:
    """Two neighbours in a row of held-out text.

    Attributes:
        row: The row.
        place: Place of the first of the two.
    """

    row: tuple[int, ...]
    place: int


def choose_pairs(
    rows: Sequence[Sequence[int]], tokenizer: Tokenizer, *, seed: int, whole_words: bool = True
) -> list[AdjacentPair]:
    """One pair of each row, drawn evenly from those it has.

    Args:
        rows: Rows of held-out text.
        tokenizer: Tells what text a token is.
        seed: Seed of the places.
        whole_words: Whether both tokens must be words of their own: inside a word the next piece is nearly
            certain once the first is known, and that is spelling, not agreement.

    Returns:
        The pairs; none of a row that has none.
    """
    generator = random.Random(seed)
    chosen = []
    for row in rows:
        fits = whole_word_flags(tokenizer.pieces(list(row))) if whole_words else [True] * len(row)
        places = [place for place, both in enumerate(pairwise(fits)) if all(both)]
        if places:
            chosen.append(AdjacentPair(tuple(row), generator.choice(places)))
    return chosen


def whole_word_flags(pieces: Sequence[str]) -> list[bool]:
    """Whether each token is one word of letters or digits and no letter touches it.

    The first and the last token of a row are none: what is before and after them is not known.

    Args:
        pieces: Text of each token, with its spaces.

    Returns:
        A flag per token.
    """
    text = "".join(pieces)
    flags, start = [], 0
    for piece in pieces:
        end = start + len(piece)
        first, last = start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
        is_word = _WORD.fullmatch(text[first:last]) is not None
        around = (text[first - 1 : first], text[last : last + 1])
        is_apart = all(side and _INSIDE.fullmatch(side) is None for side in around)
        flags.append(is_word and is_apart)
        start = end
    return flags
