"""Words as they stand in brackets and in the text."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from hdiff.errors import ParserError

ESCAPES = {
    "-LRB-": "(",
    "-RRB-": ")",
    "-LSB-": "[",
    "-RSB-": "]",
    "-LCB-": "{",
    "-RCB-": "}",
}


PENN_QUOTES = ("``", "''")
"""How trees may write a double quote of the text."""


_ESCAPED = re.compile(rf"{'|'.join(ESCAPES)}|-U([0-9A-F]{{4,6}})-|\\([/*])")


_UNSAFE = re.compile(rf"[\s\\()]|{'|'.join(ESCAPES)}|-U[0-9A-F]{{4,6}}-")


def locate(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Where words stand in a text, one after another.

    Args:
        words: The words.
        text: The text; between words there may only be whitespace.

    Returns:
        Half-open character offsets.

    Raises:
        ParserError: If the text does not go on with the next word.
    """
    offsets = []
    end = 0
    for word in words:
        start = end
        while start < len(text) and text[start].isspace():
            start += 1
        if word in PENN_QUOTES and not text.startswith(word, start) and text[start : start + 1] == '"':
            word = '"'
        if not text.startswith(word, start):
            raise ParserError(
                f"the text goes on with '{text[start : start + 20]}' where the tree has '{word[:40]}'; "
                "tree and text must have the same words"
            )
        end = start + len(word)
        offsets.append((start, end))
    return offsets


def unescape(word: str) -> str:
    """A word as it stands in the text."""

    def character(match: re.Match[str]) -> str:
        code, slash_or_star = match.groups()
        if code:
            number = int(code, 16)
            # What is no character was not escaped by anybody: it is the word itself.
            is_character = number <= sys.maxunicode and not 0xD800 <= number <= 0xDFFF
            return chr(number) if is_character else match.group()
        return slash_or_star or ESCAPES[match.group()]

    return _ESCAPED.sub(character, word)
