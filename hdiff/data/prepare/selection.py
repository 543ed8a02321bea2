"""Selection: which documents are prepared, and which of them are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hdiff.data.sources.builtin import own_validation
from hdiff.data.sources.columns import TextColumn
from hdiff.data.sources.corpus import Note, read_documents
from hdiff.data.sources.folders import is_local, named, text_files
from hdiff.data.sources.prompts import BORDER, PromptFormat
from hdiff.data.sources.rejected import MAX_REJECTED, Row
from hdiff.errors import DataError

SPLITS: tuple[str, ...] = ("train", "validation")


@dataclass(frozen=True)
class Selection:
    """Which documents to prepare.

    Attributes:
        source: Source of the training documents, see `read_documents`.
        validation: Source of the validation documents; None splits them off, unless a built-in source
            has its own.
        validation_fraction: Share of the documents to split off, by a hash of their text.
        text_column: Column that holds the text, or where prompt and answer are.
        limit: Most documents to read from a source, None for all.
        max_rejected: Largest share of them that may be rejected.
    """

    source: str
    validation: str | None = None
    validation_fraction: float = 0.05
    text_column: TextColumn = "text"
    limit: int | None = None
    max_rejected: float = MAX_REJECTED

    def __post_init__(self) -> None:
        if not 0.0 < self.validation_fraction < 1.0:
            raise DataError(
                f"validation fraction is {self.validation_fraction}, expected a number between 0 and 1"
            )
        if not 0.0 <= self.max_rejected <= 1.0:
            raise DataError(
                f"the share of rejected documents is {self.max_rejected}, expected a number from 0 to 1"
            )
        if self.limit is not None and self.limit < 1:
            raise DataError(f"limit is {self.limit} documents, expected at least 1")

    @property
    def prompts(self) -> PromptFormat | None:
        """Where prompt and answer are; None for texts without prompts."""
        return self.text_column if isinstance(self.text_column, PromptFormat) else None

    @property
    def validation_source(self) -> str | None:
        """The explicit or built-in validation source, None if documents are split off."""
        return self.validation if self.validation is not None else own_validation(self.source)

    def rows(self, held_out: float | None, note: Note) -> Iterator[tuple[str, Row]]:
        """Rows of both splits as (split, row); equal texts of one source are in one split."""
        known: set[float] = set()
        if self.validation_source is not None:
            self._check_files_differ()
            for row in self._read(self.validation_source, note):
                if self.validation is not None and row.text:
                    known.add(hash01(row.text))
                yield "validation", row
        shared: set[float] = set()
        for row in self._read(self.source, note):
            place = hash01(row.text)
            if place in known:
                shared.add(place)
            yield ("train" if held_out is None or place >= held_out else "validation"), row
        if shared:
            note(f"{len(shared):,} of {len(known):,} validation documents are training documents, too")

    def _check_files_differ(self) -> None:
        assert self.validation_source is not None
        if self.validation == self.source:
            both = [Path(self.source)]
        elif self.validation is not None and is_local(self.source) and is_local(self.validation):
            files = {file.resolve() for file in text_files(self.source)}
            both = [file for file in text_files(self.validation) if file.resolve() in files]
        else:
            both = []
        if both:
            raise DataError(
                f"{named(both)} is both training and validation text; give other text with "
                "--validation, or leave it out to split documents off"
            )

    def _read(self, source: str, note: Note) -> Iterator[Row]:
        return islice(read_documents(source, text_column=self.text_column, note=note), self.limit)


def hash01(text: str) -> float:
    """A number in [0, 1) that depends on the text alone, or on its prompt: one split for the same."""
    text = text.partition(BORDER)[0]
    digest = hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
