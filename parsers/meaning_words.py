"""Meaning words: short words that change what a sentence says, and tokens that are no words.

"not", "few" and "must" are frequent and of closed classes, so neither their part of speech nor their counts
tell that a sentence without them says something else. Emoji, addresses and numbers get whatever part of
speech a parser guesses. Both get a score of their own here; the values are ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

_NEGATION = """
not n't n’t nt no never none nobody nothing neither nor nowhere cannot without hardly scarcely barely seldom
rarely
"""
_QUANTIFIERS = """
all every each some any few fewer many much most more less least several both either half only almost nearly
always everyone everybody everything someone somebody something anyone anybody anything often
sometimes
"""
_MODALS = "can could ca may might must shall sha should would ought need dare"
_FLOORS = ((0.6, _NEGATION), (0.5, _QUANTIFIERS), (0.35, _MODALS))
FLOORS: Mapping[str, float] = {word: floor for floor, words in _FLOORS for word in words.split()}
"""Least salience of a word, by its lower-cased form."""

EMOJI, ADDRESS, NUMBER = 0.5, 0.5, 0.9
_ADDRESS = re.compile(
    r"(?:https?://|www\.)\S+|\S+@\S+\.\w+|@\w{2,}|\w[\w-]*(?:\.\w[\w-]*)*\.[a-z]{2,6}/\S*", re.I
)
_NUMBER = re.compile(r"[+-]?[$€£]?\d[\d.,:/]*%?")


def shape_prior(form: str) -> float | None:
    """The prior of an emoji, an address or a number, whatever its part of speech; None for other words.

    Args:
        form: The word.

    Returns:
        An emoji 0.5 (it says something of the whole sentence), an address 0.5 (one thing, however long and
        rare), a number 0.9.
    """
    if form.isalpha():
        return None
    if _NUMBER.fullmatch(form):
        return NUMBER
    if _ADDRESS.fullmatch(form):
        return ADDRESS
    if not form.isascii() and any(_is_pictograph(character) for character in form):
        return EMOJI
    return None


def _is_pictograph(character: str) -> bool:
    return unicodedata.category(character) == "So" and ord(character) >= 0x2190
