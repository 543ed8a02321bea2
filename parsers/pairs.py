"""Pairs: which brackets and quotes of a sentence belong together. No torch."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from .dependency import DependencyTree

_QUOTES = {
    '"': '"', "＂": "＂", "'": "'", "``": "'' \"", "`": "'", "''": "''",
    "“": "” ″", "”": "” “", "„": "“ ” ‟", "‟": "”", "‘": "’", "’": "’ ‘", "‚": "‘ ’ ‛", "‛": "’",
    "«": "»", "»": "« »", "‹": "›", "›": "‹ ›", "〝": "〞 〟", "⹂": "” “", "❝": "❞", "❛": "❜",
}  # fmt: skip
"""Quotes that may open -> those that close them, by blanks; languages use the same marks differently."""
_CLOSERS = {opener: frozenset(closers.split()) for opener, closers in _QUOTES.items()}
_QUOTE_MARKS = frozenset(_CLOSERS) | frozenset().union(*_CLOSERS.values())
_MAY_OPEN = re.compile(r"""[(\[{"]|``|[^\x00-\x7f]|(?<!\w)['`]""")
APOSTROPHES = frozenset("'’‘`‛")

_ODD_BRACKETS = {"⦓": "⦔", "⦕": "⦖", "﴾": "﴿", "﴿": ""}
"""Brackets whose names or categories do not tell which closes them."""
_NAMED_APART = (("LEFT", "RIGHT"), ("GYON", "GYAS"), ("FEATHER", "REVERSED FEATHER"), ("TOP", "BOTTOM"))
_OPEN_OR_CLOSE = frozenset(("Ps", "Pe", "Pi", "Pf"))


class Pair(NamedTuple):
    """The words of an opening and of its closing mark, brackets or else quotes."""

    first: int
    last: int
    is_bracket: bool


class _Open(NamedTuple):
    word: int
    closers: frozenset[str]
    is_bracket: bool


def pairs(tree: DependencyTree) -> list[Pair]:
    """Brackets and quotes that have a partner in another word of the sentence.

    A bracket closes the last one of its kind that is open. Quotes are paired within brackets, and brackets
    within quotes; where the two cross, brackets win. A mark without a partner is in no pair. An apostrophe
    is a quote only where it is PUNCT.

    Args:
        tree: The sentence.

    Returns:
        The pairs, by their closing mark; no two of them cross.
    """
    text, offsets = tree.text, tree.offsets
    if not _MAY_OPEN.search(text, offsets[0][0], offsets[-1][1]):
        return []
    return paired([text[start:end] for start, end in offsets], tree.pos)


def paired(words: Sequence[str], pos: Sequence[str]) -> list[Pair]:
    """As `pairs`, of words and their universal parts of speech."""
    partners: list[Pair] = []
    stack: list[_Open] = []
    for word, mark, closers in _marks(words, pos):
        place = next((i for i in reversed(range(len(stack))) if mark in stack[i].closers), None)
        is_quote = mark in _QUOTE_MARKS
        if place is not None and is_quote and any(each.is_bracket for each in stack[place + 1 :]):
            place = None  # a quote does not close one outside of the brackets it stands in
        if place is not None:
            opened = stack[place]
            del stack[place:]
            if opened.word < word:
                partners.append(Pair(opened.word, word, opened.is_bracket))
        elif closers:
            stack.append(_Open(word, closers, not is_quote))
    return partners


def _marks(words: Sequence[str], pos: Sequence[str]) -> Iterator[tuple[int, str, frozenset[str]]]:
    """(word, mark, marks that would close it) of all brackets and quotes."""
    for position, word in enumerate(words):
        if word.isalpha():
            continue
        if word in _QUOTE_MARKS:
            if word not in APOSTROPHES or pos[position] == "PUNCT":
                yield position, word, _CLOSERS.get(word, frozenset())
        elif len(word) == 1 or any(map(str.isalnum, word)):  # not a face such as :-)
            for character in word:
                if unicodedata.category(character) in _OPEN_OR_CLOSE and character not in _QUOTE_MARKS:
                    yield position, character, _bracket_closers(character)


@cache
def _bracket_closers(opener: str) -> frozenset[str]:
    """The bracket that closes one, by its name in Unicode; nothing for one that opens nothing."""
    if opener in _ODD_BRACKETS:
        return frozenset(_ODD_BRACKETS[opener])
    name = unicodedata.name(opener, "")
    if unicodedata.category(opener) not in ("Ps", "Pi"):
        return frozenset()
    closers = set()
    for part, partner in _NAMED_APART:
        try:
            closers.add(unicodedata.lookup(name.replace(part, partner)))
        except KeyError:
            continue
    return frozenset(closers - {opener})
