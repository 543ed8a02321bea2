"""PythonWords: the tokens of Python source as words, at exact characters."""

from __future__ import annotations

import io
import keyword
import re
import tokenize
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

_LINE_END = re.compile(r"\r\n|\r|\n")
_NO_WORD = frozenset(
    (tokenize.ENCODING, tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
)
_STARTS_STRING, _ENDS_STRING = ("FSTRING_START", "TSTRING_START"), ("FSTRING_END", "TSTRING_END")
_OPENING, _CLOSING = "([{", ")]}"
_PUNCTUATION = frozenset((",", ":", ".", ";"))
_CONSTANTS = frozenset(("True", "False", "None", "..."))
_KINDS: Mapping[int, str] = {
    tokenize.NUMBER: "NUMBER",
    tokenize.STRING: "STRING",
    tokenize.COMMENT: "COMMENT",
}


class PythonWord(NamedTuple):
    """A token; a string is one, whatever is inside, and so is a comment."""

    start: int
    end: int
    text: str
    label: str


@dataclass(frozen=True)
class PythonWords:
    """Source as words: its tokens but white space, in order."""

    text: str
    words: tuple[PythonWord, ...]

    @classmethod
    def of(cls, text: str) -> PythonWords:
        """Reads source that parses."""
        source = cls(text, ())
        return cls(text, tuple(source._read()))

    def at(self, row: int, column: int) -> int:
        """Place in the text of a line, from 1, and a character of it."""
        return self._line_starts[row - 1] + column

    def at_byte(self, row: int, column: int) -> int:
        """Place in the text of a line, from 1, and a byte of it in UTF-8, as `ast` counts."""
        first, end = self._line_starts[row - 1], self._line_starts[row]
        line = self.text[first:end]
        return first + (column if line.isascii() else len(line.encode()[:column].decode()))

    def first(self, place: int) -> int:
        """The word that begins at a place, or the next one."""
        return bisect_left(self._starts, place)

    def last(self, place: int) -> int:
        """The word that ends at a place, or the one before."""
        return bisect_left(self._ends, place + 1) - 1

    def back_to(self, word: int, texts: tuple[str, ...]) -> int:
        """The nearest word before another one that is one of some texts."""
        while self.words[word - 1].text not in texts:
            word -= 1
        return word - 1

    def balanced(self, first: int, last: int) -> tuple[int, int]:
        """The least stretch of words, both inclusive, around another one that cuts no pair of brackets."""
        low, high = first, last
        while True:
            partners = [self.partner[word] for word in range(low, high + 1)]
            wider = min(partners), max(partners)
            if wider == (low, high) or (wider[0] >= low and wider[1] <= high):
                return low, high
            low, high = min(low, wider[0]), max(high, wider[1])

    @cached_property
    def partner(self) -> tuple[int, ...]:
        """The other bracket of each bracket; every other word is its own."""
        partners, stack = list(range(len(self.words))), []
        for number, word in enumerate(self.words):
            if word.label != "BRACKET":
                continue
            if word.text in _OPENING:
                stack.append(number)
            else:
                opening = stack.pop()
                partners[opening], partners[number] = number, opening
        return tuple(partners)

    @cached_property
    def _line_starts(self) -> tuple[int, ...]:
        """Where each line begins, and twice the end of the text; lines end as Python sees it."""
        starts = [0, *(match.end() for match in _LINE_END.finditer(self.text))]
        return (*starts, len(self.text), len(self.text))

    @cached_property
    def _starts(self) -> list[int]:
        return [word.start for word in self.words]

    @cached_property
    def _ends(self) -> list[int]:
        return [word.end for word in self.words]

    def _read(self) -> Iterator[PythonWord]:
        lines = io.StringIO(_LINE_END.sub("\n", self.text))  # columns do not depend on how lines end
        depth, opened = 0, 0
        for kind, text, first, last, _ in tokenize.generate_tokens(lines.readline):
            name = tokenize.tok_name[kind]
            if name in _STARTS_STRING:  # Python 3.12 and later tell the parts of f-strings
                opened = self.at(*first) if not depth else opened
                depth += 1
            elif name in _ENDS_STRING:
                depth -= 1
                if not depth:
                    yield PythonWord(opened, self.at(*last), self.text[opened : self.at(*last)], "STRING")
            elif not depth and kind not in _NO_WORD and text.strip():
                yield PythonWord(self.at(*first), self.at(*last), text, _label(kind, text))


def _label(kind: int, text: str) -> str:
    """Kind of a word, from its text alone."""
    if text in _CONSTANTS:
        return "CONSTANT"
    if kind == tokenize.OP:
        is_bracket = text in _OPENING or text in _CLOSING
        return "BRACKET" if is_bracket else "PUNCT" if text in _PUNCTUATION else "OPERATOR"
    if keyword.iskeyword(text):
        return "KEYWORD"
    return _KINDS.get(kind, "NAME")
