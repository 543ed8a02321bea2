"""Layout: the stretches of a text that no sentence crosses, told from its lines. No torch.

Blank lines, headings, list items, table cells, turns of a speaker, chat lines and lines of their own end a
sentence; the lines of a hard-wrapped paragraph are one stretch. Offsets are those of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

_LINE_END = r"(?:\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029])"
_LINE = re.compile(rf"[^\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+|{_LINE_END}")
_BREAKS = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
ENUMERATOR = re.compile(r"\(?(?:\d{1,3}(?:\.\d{1,2}){0,3}|[A-Za-z]|[ivxlIVXL]{1,6})[.)]+")
"""A number or letter of a list item; it begins a sentence and is none."""

_OPENS = re.compile(
    r"""\s*(?:
        \#{1,6}\s | =+\s.*\s=+\s*$                                        # heading of Markdown, of a wiki
      | <[^<>\s]{1,40}>\s | [\[(]?\d\d?:\d\d(?::\d\d)?(?:\s?[AaPp][Mm])?[\])]?\s  # chat line
      | @\w{1,40}\s | >\s | RT\s@                                         # tweet, quotation
    )""",
    re.VERBOSE,
)
_MAY_OPEN = re.compile(
    rf"""\s*(?:
        (?:[-*+•‣◦⁃∙·●○▪–—]|{ENUMERATOR.pattern}|\[[ xX]?\])\s+\S          # list item
      | [A-Z][\w.'’-]*(?:\s[A-Z(][\w.'’)-]*){{0,4}}\s?:\s                 # turn of a speaker
    )""",
    re.VERBOSE,
)
"""Opens something after a line that ends something; in a hard-wrapped paragraph it is a coincidence."""
_RULE = re.compile(r"\s*(?:[-=_*~#+|:\s]{3,})$")
_CELL = re.compile(r"[|\t]*[^|\t]+(?:[|\t]+\s*$)?")
_CONTINUES = re.compile(r"[,;–—-]\s*$")
_ENDS = re.compile(r"""[.!?…:]['"”’)\]]*\s*$""")
MIN_WIDTH, MAX_WIDTH = 40, 120
"""Widths, in characters, at which paragraphs are wrapped by hand or by an editor."""


class _Line(NamedTuple):
    start: int
    end: int
    text: str

    @property
    def indent(self) -> int:
        return len(self.text) - len(self.text.lstrip())


def blocks(text: str) -> Iterator[tuple[int, int]]:
    """Half-open offsets of stretches that no sentence crosses; what lies between them is blank."""
    if not _BREAKS.search(text) and "\t" not in text and "|" not in text:
        yield from _stripped(text, 0, len(text))
        return
    for group in _groups(text):
        if len(group) == 1 and _is_row(group[0].text) and not _RULE.match(group[0].text):
            for cell in _CELL.finditer(group[0].text):
                yield from _stripped(text, group[0].start + cell.start(), group[0].start + cell.end())
            continue
        first = group[0].start
        is_wrapped = _is_wrapped(group)
        for line, following in pairwise(group):
            if not _goes_on(line, following, group[0], is_wrapped=is_wrapped):
                yield from _stripped(text, first, line.end)
                first = following.start
        yield from _stripped(text, first, group[-1].end)


def without_breaks(text: str) -> str:
    """The text with blanks for line breaks; as long as before."""
    return _BREAKS.sub(" ", text)


def _groups(text: str) -> Iterator[list[_Line]]:
    """Lines between blank ones, rules and lines that open something of their own."""
    group: list[_Line] = []
    for match in _LINE.finditer(text):
        line = _Line(match.start(), match.end(), match.group())
        if _BREAKS.match(line.text):
            is_blank = match.start() == 0 or _BREAKS.match(text[match.start() - 1]) is not None
            if is_blank and group:
                yield group
                group = []
            continue
        is_apart = not line.text.strip() or _RULE.match(line.text) or _is_row(line.text)
        if group and (is_apart or _opens(line, group)):
            yield group
            group = []
        if not line.text.strip():
            continue
        group.append(line)
        if is_apart:
            yield group
            group = []
    if group:
        yield group


def _opens(line: _Line, before: list[_Line]) -> bool:
    """Whether a line opens an item, a turn, a heading."""
    if _OPENS.match(line.text):
        return True
    last = before[-1].text
    has_ended = _ENDS.search(last) or _MAY_OPEN.match(before[0].text) or len(last) < MIN_WIDTH
    return bool(has_ended and _MAY_OPEN.match(line.text))


def _is_row(line: str) -> bool:
    """Whether a line is a row of a table: tabs or bars between its cells."""
    cells = line.strip()
    if not cells.replace("|", "").strip():
        return False
    return "\t" in cells or cells.count("|") >= 2 or (" | " in cells and cells.count("|") == 1)


def _is_wrapped(group: list[_Line]) -> bool:
    """Whether lines end where their next word would not have fitted, but for one in ten."""
    width = max(len(line.text.rstrip()) for line in group)
    if not MIN_WIDTH <= width <= MAX_WIDTH:
        return False
    num_short = sum(
        len(line.text.rstrip()) + 1 + len(following.text.split(maxsplit=1)[0]) <= width
        for line, following in pairwise(group)
    )
    return 10 * num_short < len(group)


def _goes_on(line: _Line, following: _Line, first: _Line, *, is_wrapped: bool) -> bool:
    """Whether a line break stands within a sentence."""
    if is_wrapped:
        return True
    if _ENDS.search(line.text):
        return False
    if _CONTINUES.search(line.text) or (following.indent > first.indent and _MAY_OPEN.match(first.text)):
        return True
    return len(line.text) >= MIN_WIDTH and following.text.lstrip()[:1].islower()


def _stripped(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    if piece.strip():
        yield start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
