"""PlainParser: lines are sentences, whitespace separates words; no grammar, no model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import final

from hdiff.structure import Span, SpanTree

from .base import Parser, check_text

_LINE = re.compile(r"\S(?:[^\r\n]*\S)?")
_WORD = re.compile(r"\S+")


@final
class PlainParser(Parser):
    """The control without linguistics, and the parser for text that is already tokenised."""

    name = "plain"
    levels = ("sentence", "word")

    def parse(self, texts: Iterable[str]) -> Iterator[SpanTree]:
        for text in texts:
            check_text(text)
            lines = (Span(match.start(), match.end(), "S", "sentence") for match in _LINE.finditer(text))
            words = (Span(match.start(), match.end(), "X", "word") for match in _WORD.finditer(text))
            yield SpanTree.build(text, (*lines, *words))

    def fingerprint(self) -> dict[str, str]:
        return {"name": self.name, "rules": "1"}
