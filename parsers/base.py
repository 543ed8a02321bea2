"""Parser: texts in, one SpanTree per text out, in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hdiff.errors import ParserError
from hdiff.structure import SpanTree

ANNOTATIONS: tuple[str, ...] = ("heads", "entities")
"""Fields of a SpanTree that hold one entry per word and that not every parser gives."""


class TextError(ParserError):
    """A text that a parser cannot take: why, with the remedy, and where in the text."""

    def __init__(self, message: str, *, place: str) -> None:
        super().__init__(message)
        self.place = place


class Words(NamedTuple):
    """A sentence with half-open character offsets of its words."""

    text: str
    offsets: tuple[tuple[int, int], ...]


class Parser(ABC):
    """Finds the spans of a text.

    Attributes:
        name: Name in `hdiff.parsers.PARSERS`.
        levels: Levels it can produce, coarse to fine.
        takes_model: Whether a model may follow the name, as in `spacy:en_core_web_sm`.
        annotations: What it can tell of each word besides spans, out of `ANNOTATIONS`, if asked.
        options: What may follow the name after a plus sign, as in `spacy+single-words`.
        language: Code of the language it was made for, as `en`; None for any.
        lacks: What its model or file lacks, with the remedy; `levels` leaves out what that costs.
    """

    name: str
    levels: tuple[str, ...]
    takes_model: bool = False
    annotations: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    language: str | None = None

    @abstractmethod
    def parse(self, texts: Iterable[str]) -> Iterator[SpanTree]:
        """Parses texts as a stream.

        Args:
            texts: Any texts; an empty or blank one gives a tree without spans.

        Yields:
            One tree per text, in order.

        Raises:
            ParserError: If a text is not valid Unicode; `check_text` tells beforehand.
        """

    def parse_words(self, sentences: Iterable[Words]) -> Iterator[SpanTree]:
        """Parses sentences whose words are given, as gold trees give them.

        Args:
            sentences: The sentences.

        Yields:
            One tree of one sentence each, with exactly these words.

        Raises:
            ParserError: If this parser finds its words itself.
        """
        raise ParserError(f"parser '{self.name}' cannot take given words; take another one, or raw text")

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """Everything that changes the output: name, model, versions, options; JSON-able."""


def check_text(text: str) -> None:
    """Refuses a text that no parser and no file format can take."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ParserError(
            f"character {error.start} of the text is the lone surrogate U+{ord(text[error.start]):04X}, "
            "a text must be valid Unicode; drop it or decode the file with errors='replace'"
        ) from None
