"""Documents: a source split into training and validation, written as shards."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import nextafter
from pathlib import Path
from typing import Any, TextIO

from hdiff.data.prepare.selection import SPLITS, Selection, hash01
from hdiff.data.sources.corpus import Note, has_a_word
from hdiff.data.sources.rejected import EMPTY, Rejected, Row, check_share
from hdiff.errors import DataError

SHARD_CHARACTERS = 200_000
"""A shard is closed once it holds this many; a few seconds of parsing on one core."""

_FEW = 64
"""Texts that a split may get by their number where the share of hashes gives it none."""

FIRST_SHARD_CHARACTERS = 100_000
SHARDS_TO_GROW = 32
"""The first shards are smaller, and a shard grows with the text before it, up to this part of it. Workers
take long shards first, so that short ones fill the end, where some workers have nothing left to do."""


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
        held_out: Documents whose `hash01` is below were split off for validation; None if they have a source.
        notes: What is to be said of the sources.
    """

    digests: dict[str, str]
    num_documents: dict[str, int]
    num_characters: int
    shards: tuple[Shard, ...] = field(default=())
    held_out: float | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, selection: Selection, folder: Path | None) -> Documents:
        """Reads a selection and writes it as shards; without a folder it only counts and hashes."""
        held_out = None if selection.validation_source is not None else selection.validation_fraction
        notes: list[str] = []
        writers = _split(selection, held_out, folder, notes.append)
        full = [writer for writer in writers.values() if writer.hashes]
        if held_out is not None and len(full) == 1 and len(full[0].hashes) > 1:
            held_out = _of_few(held_out, full[0])
            notes.clear()
            writers = _split(selection, held_out, folder, notes.append)
        _check_not_empty(selection, writers)
        documents = cls(
            digests={split: writer.digest.hexdigest() for split, writer in writers.items()},
            num_documents={split: writer.num_documents for split, writer in writers.items()},
            num_characters=sum(writer.num_characters for writer in writers.values()),
            shards=tuple(shard for writer in writers.values() for shard in writer.shards),
            held_out=held_out,
            notes=tuple(notes),
        )
        rejected = sum((writer.rejected for writer in writers.values()), Counter())
        total = sum(documents.num_documents.values())
        check_share(rejected, total, selection.source, most=selection.max_rejected)
        return documents

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
        """Restores what `to_dict` gave; the shards are in `folder`."""
        try:
            shards = tuple(Shard(**{**shard, "path": folder / shard["path"]}) for shard in data["shards"])
            documents = cls(data["digests"], data["num_documents"], data["num_characters"], shards)
        except (KeyError, TypeError) as error:
            raise DataError(f"the list of shards of {folder} is damaged ({error}); prepare again") from error
        for shard in shards:
            if shard.path.parent != folder:
                raise DataError(f"the list of shards of {folder} names {shard.path}; prepare again")
        return documents


def read_shard(path: Path) -> Iterator[str | Rejected]:
    """Documents of a shard: its texts, and rows that could not be read."""
    try:
        with path.open(encoding="ascii") as file:
            for line in file:
                row = json.loads(line)
                yield row if isinstance(row, str) else Rejected(row["text"], row["rejected"])
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise DataError(f"the shard {path} is damaged ({error}); prepare again") from error


def read_places(shard: Path) -> list[str]:
    """Where the documents of a shard are from, in its order."""
    return [json.loads(line) for line in _places_path(shard).read_text(encoding="ascii").splitlines()]


def _places_path(shard: Path) -> Path:
    """Beside the shard, not in it: the same texts are parsed once, wherever they are from."""
    return shard.with_suffix(".places")


def _split(
    selection: Selection, held_out: float | None, folder: Path | None, note: Note
) -> dict[str, _SplitWriter]:
    """Reads a selection into the writers of its splits."""
    writers = {split: _SplitWriter(split, folder) for split in SPLITS}
    for split, row in selection.rows(held_out, note):
        writers[split].add(row)
    for writer in writers.values():
        writer.close()
    return writers


def _of_few(fraction: float, writer: _SplitWriter) -> float:
    """The share that gives a small corpus, which has come into one split, as many texts of each as asked."""
    number, hashes = writer.num_documents - writer.rejected.total(), writer.hashes
    most = min(len(hashes) - 1, _FEW)
    if fraction < 0.5:
        return nextafter(hashes[min(max(1, round(fraction * number)), most) - 1], 1.0)
    return hashes[-min(max(1, round((1 - fraction) * number)), most)]


def _check_not_empty(selection: Selection, writers: dict[str, _SplitWriter]) -> None:
    empty = [split for split, writer in writers.items() if writer.num_documents == 0]
    if empty:
        total = sum(writer.num_documents for writer in writers.values())
        why = "equal texts stay together" if total > 1 else "in a .txt file blank lines end documents"
        raise DataError(
            f"split '{empty[0]}' gets none of the {total} documents of {selection.source} "
            f"(validation fraction {selection.validation_fraction}), as {why}; give held-out text:",
            "--validation SOURCE",
        )


class _SplitWriter:
    """Hashes the documents of one split and writes them into shards of bounded size."""

    def __init__(self, split: str, folder: Path | None) -> None:
        self.digest = hashlib.sha256()
        self.num_documents = 0
        self.num_characters = 0
        self.rejected: Counter[str] = Counter()
        self.hashes: list[float] = []
        """The lowest and highest hashes of texts with a word, each once, in order."""
        self.shards: list[Shard] = []
        self._split = split
        self._folder = folder
        self._file: TextIO | None = None
        self._places: TextIO | None = None
        self._open_shard()

    def add(self, row: Row) -> None:
        """Appends a document."""
        text = row.text
        if self._characters >= self._limit():
            self.close()
            self._open_shard()
        line = json.dumps(text if row.reason is None else {"text": text, "rejected": row.reason}) + "\n"
        if row.reason is not None:
            self.rejected[row.reason] += 1
        elif not text:
            self.rejected[EMPTY] += 1
        elif has_a_word(text):
            self._keep(hash01(text))
        self.digest.update(line.encode())
        self._shard_digest.update(line.encode())
        self._documents += 1
        self._characters += len(text)
        self.num_documents += 1
        self.num_characters += len(text)
        if self._folder is not None:
            if self._file is None:
                self._file = self._path().open("w", encoding="ascii")
                self._places = _places_path(self._path()).open("w", encoding="ascii")
            assert self._places is not None
            self._file.write(line)
            self._places.write(json.dumps(row.place) + "\n")

    def _keep(self, number: float) -> None:
        place = bisect_left(self.hashes, number)
        if self.hashes[place : place + 1] != [number]:
            self.hashes.insert(place, number)
        if len(self.hashes) > 2 * _FEW:
            del self.hashes[_FEW]

    def close(self) -> None:
        """Finishes the shard that is being written."""
        if self._file is not None:
            assert self._places is not None
            self._file.close()
            self._places.close()
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
