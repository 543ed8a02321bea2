"""PlainParser: lines are sentences, whitespace separates words; no grammar, no model.

Scripts that put no spaces between words are cut as Unicode's word borders are by default (UAX 29): each
ideograph and each hiragana is a word, a run of katakana is one, and so is a syllable of Thai, Lao, Khmer or
Burmese with its marks. A syllable is a base letter with what is written around it, not a whole word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import final

from hdiff.structure import Span, SpanTree

from .base import Parser, check_text

_LINE = re.compile(r"\S(?:[^\r\n]*\S)?")
_CHUNK = re.compile(r"\S+")
_IDEOGRAPH = r"[\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_KANA = r"[\u3041-\u309f][\u3099\u309a\u30fc]?|[\u30a1-\u30ff\u31f0-\u31ff\uff66-\uff9f]+"
_MARK = r"[\u3001-\u3020\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\u0f0b-\u0f14]"
_LEADING = r"[\u0e40-\u0e44\u0ec0-\u0ec4]"  # vowels of Thai and Lao, written before their consonant
_BASE = r"[\u0e01-\u0e2f\u0e81-\u0eaf\u0edc-\u0edf\u1000-\u102a\u103f\u1780-\u17b5]"
_AROUND = r"[\u0e30-\u0e3a\u0e45-\u0e4e\u0eb0-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u1056-\u109d\u17b6-\u17d3]"
_TIBETAN = r"[\u0f40-\u0fbc]+"
_SPACELESS = re.compile(rf"{_IDEOGRAPH}|{_KANA}|{_LEADING}?{_BASE}{_AROUND}*|{_TIBETAN}|{_MARK}")


@final
class PlainParser(Parser):
    """The control without linguistics, and the parser for text that is already tokenised."""

    name = "plain"
    levels = ("sentence", "word")

    def parse(self, texts: Iterable[str]) -> Iterator[SpanTree]:
        for text in texts:
            check_text(text)
            lines = (Span(match.start(), match.end(), "S", "sentence") for match in _LINE.finditer(text))
            words = (Span(start, end, "X", "word") for start, end in _words(text))
            yield SpanTree.build(text, (*lines, *words))

    def fingerprint(self) -> dict[str, str]:
        return {"name": self.name, "rules": "2"}


def _words(text: str) -> Iterator[tuple[int, int]]:
    """Half-open offsets of what stands between blanks, cut where a script has none."""
    for chunk in _CHUNK.finditer(text):
        if text.isascii() or not _SPACELESS.search(chunk.group()):
            yield chunk.span()
            continue
        end = chunk.start()
        for match in _SPACELESS.finditer(text, *chunk.span()):
            if match.start() > end:
                yield end, match.start()
            yield match.span()
            end = match.end()
        if end < chunk.end():
            yield end, chunk.end()
