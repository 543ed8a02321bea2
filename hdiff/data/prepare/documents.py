"""Documents: a source split into training and validation, written as shards. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from hdiff.data.sources.builtin import own_validation
from hdiff.data.sources.corpus import read_documents
from hdiff.errors import DataError

SPLITS: tuple[str, ...] = ("train", "validation")

SHARD_CHARACTERS = 200_000
"""A shard is closed once it holds this many; a few seconds of parsing on one core."""

FIRST_SHARD_CHARACTERS = 100_000
SHARDS_TO_GROW = 32
"""The first shards are smaller, and a shard grows with the text before it, up to this part of it. Workers
take long shards first, so that short ones fill the end, where some workers have nothing left to do."""


@dataclass(frozen=True)
class Selection:
    """Which documents to prepare.

    Attributes:
        source: Source of the training documents, see `read_documents`.
        validation: Source of the validation documents; None splits them off, unless a built-in source
            has its own.
        validation_fraction: Share of the documents to split off, by a hash of their text.
        text_column: Column that holds the text.
        limit: Most documents to read from a source, None for all.
    """

    source: str
    validation: str | None = None
    validation_fraction: float = 0.05
    text_column: str = "text"
    limit: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.validation_fraction < 1.0:
            raise DataError(
                f"validation fraction is {self.validation_fraction}, expected a number between 0 and 1"
            )
        if self.limit is not None and self.limit < 1:
            raise DataError(f"limit is {self.limit} documents, expected at least 1")

    @property
    def validation_source(self) -> str | None:
        """The explicit or built-in validation source, None if documents are split off."""
        return self.validation if self.validation is not None else own_validation(self.source)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yields (split, text)."""
        for text in self._read(self.source):
            is_held_out = self.validation_source is None and hash01(text) < self.validation_fraction
            yield ("validation" if is_held_out else "train"), text
        if self.validation_source is not None:
            for text in self._read(self.validation_source):
                yield "validation", text

    def _read(self, source: str) -> Iterator[str]:
        return islice(read_documents(source, text_column=self.text_column), self.limit)


@dataclass(frozen=True)
class Shard:
    """A file with some of the documents of a split, one JSON string per line.

    Attributes:
        split: `train` or `validation`.
        path: The file.
        sha256: Its digest.
        num_documents: Documents in it.
        num_characters: Characters in it.
    """

    split: str
    path: Path
    sha256: str
    num_documents: int
    num_characters: int


@dataclass(frozen=True)
class Documents:
    """What a selection holds.

    Attributes:
        digests: sha256 of the documents of each split.
        num_documents: Number of documents of each split.
        num_characters: Characters in all of them.
        shards: The shards in order; empty if they were not written.
    """

    digests: dict[str, str]
    num_documents: dict[str, int]
    num_characters: int
    shards: tuple[Shard, ...] = field(default=())

    @classmethod
    def read(cls, selection: Selection, folder: Path | None) -> Documents:
        """Reads a selection and writes it as shards.

        Args:
            selection: Which documents.
            folder: An existing folder for the shards; None only counts and hashes.

        Returns:
            The documents.

        Raises:
            DataError: If a source cannot be read or a split gets no document.
        """
        writers = {split: _SplitWriter(split, folder) for split in SPLITS}
        for split, text in selection:
            writers[split].add(text)
        for writer in writers.values():
            writer.close()
        _check_not_empty(selection, writers)
        return cls(
            digests={split: writer.digest.hexdigest() for split, writer in writers.items()},
            num_documents={split: writer.num_documents for split, writer in writers.items()},
            num_characters=sum(writer.num_characters for writer in writers.values()),
            shards=tuple(shard for writer in writers.values() for shard in writer.shards),
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy; `from_dict` restores it."""
        return {
            "digests": self.digests,
            "num_documents": self.num_documents,
            "num_characters": self.num_characters,
            "shards": [{**asdict(shard), "path": shard.path.name} for shard in self.shards],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], folder: Path) -> Documents:
        """Restores what `to_dict` gave.

        Args:
            data: What it gave.
            folder: Folder of the shards.

        Returns:
            The documents.

        Raises:
            DataError: If the data is damaged or names a shard outside of the folder.
        """
        try:
            shards = tuple(Shard(**{**shard, "path": folder / shard["path"]}) for shard in data["shards"])
            documents = cls(data["digests"], data["num_documents"], data["num_characters"], shards)
        except (KeyError, TypeError) as error:
            raise DataError(f"the list of shards of {folder} is damaged ({error}); prepare again") from error
        for shard in shards:
            if shard.path.parent != folder:
                raise DataError(f"the list of shards of {folder} names {shard.path}; prepare again")
        return documents


def read_texts(path: Path) -> Iterator[str]:
    """Documents of a shard.

    Args:
        path: The shard.

    Yields:
        Its texts.

    Raises:
        DataError: If it is damaged.
    """
    try:
        with path.open(encoding="ascii") as file:
            for line in file:
                yield json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the shard {path} is damaged ({error}); prepare again") from error


def hash01(text: str) -> float:
    """A number in [0, 1) that depends on the text alone, so equal texts stay in one split."""
    digest = hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _check_not_empty(selection: Selection, writers: dict[str, _SplitWriter]) -> None:
    empty = [split for split, writer in writers.items() if writer.num_documents == 0]
    if empty:
        total = sum(writer.num_documents for writer in writers.values())
        raise DataError(
            f"split '{empty[0]}' gets none of the {total} documents of {selection.source} "
            f"(validation fraction {selection.validation_fraction}); "
            "give a validation source with --validation, or another --validation-fraction"
        )


class _SplitWriter:
    """Hashes the documents of one split and writes them into shards of bounded size."""

    def __init__(self, split: str, folder: Path | None) -> None:
        self.digest = hashlib.sha256()
        self.num_documents = 0
        self.num_characters = 0
        self.shards: list[Shard] = []
        self._split = split
        self._folder = folder
        self._file: TextIO | None = None
        self._open_shard()

    def add(self, text: str) -> None:
        """Appends a document."""
        if self._characters >= self._limit():
            self.close()
            self._open_shard()
        line = json.dumps(text) + "\n"
        self.digest.update(line.encode())
        self._shard_digest.update(line.encode())
        self._documents += 1
        self._characters += len(text)
        self.num_documents += 1
        self.num_characters += len(text)
        if self._folder is not None:
            if self._file is None:
                self._file = self._path().open("w", encoding="ascii")
            self._file.write(line)

    def close(self) -> None:
        """Finishes the shard that is being written."""
        if self._file is not None:
            self._file.close()
            digest = self._shard_digest.hexdigest()
            self.shards.append(Shard(self._split, self._path(), digest, self._documents, self._characters))
            self._file = None

    def _limit(self) -> int:
        grown = (self.num_characters - self._characters) // SHARDS_TO_GROW
        return min(SHARD_CHARACTERS, max(FIRST_SHARD_CHARACTERS, grown))

    def _open_shard(self) -> None:
        self._shard_digest = hashlib.sha256()
        self._documents = 0
        self._characters = 0

    def _path(self) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._split}-{len(self.shards):05d}.jsonl"
