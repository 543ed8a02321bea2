"""Documents of a stream: read and shuffled in chunks, given in groups that know their place.

A place is small, JSON-able and enough to resume at it: a chunk is read again from where it begins, and
its order is a function of the seed, the epoch and its number. A rolling buffer would have to be saved, texts
and all.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from hdiff.data.prepare.selection import hash01
from hdiff.data.sources.corpus import MAX_DOCUMENT_CHARACTERS, cut
from hdiff.data.sources.rejected import Rejected
from hdiff.data.sources.stream_source import Source
from hdiff.errors import DataError
from hdiff.seeds import derive_seed

if TYPE_CHECKING:
    from datasets import IterableDataset

GROUP_CHARACTERS = 20_000
"""A group is closed once it holds this many: half a second of parsing."""

UNSHUFFLED_ROWS = 256
"""Rows of a chunk that is not shuffled."""


@dataclass(frozen=True)
class Place:
    """Where a group begins.

    Attributes:
        epoch: How often the stream has ended before.
        chunk: Number of the chunk in its epoch.
        source: Position of the source where the chunk begins, as `IterableDataset.state_dict` gives it; None
            at the beginning of an epoch.
        row: Row of the shuffled chunk.
    """

    epoch: int = 0
    chunk: int = 0
    source: dict[str, Any] | None = None
    row: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy; `Place(**copy)` restores it."""
        return asdict(self)


@dataclass(frozen=True)
class Group:
    """Documents that are tokenized together, where they begin, and rows that hold none with the reason."""

    place: Place
    texts: tuple[str | Rejected, ...]

    def __str__(self) -> str:
        place, first = self.place, self.texts[0]
        first = first if isinstance(first, str) else first.text
        where = f"epoch {place.epoch}, chunk {place.chunk}, row {place.row}"
        return f"the {len(self.texts)} documents from {where} on (the first begins {first[:60]!r})"


class DocumentStream:
    """The documents of one process, endlessly.

    Args:
        source: Where the rows come from.
        seed: Seed of the run.
        held_out: Share of the documents, by a hash of their text, that the data set of the recipe keeps for
            validation; they are left out.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self, source: Source, *, seed: int, held_out: float = 0.0, rank: int = 0, world_size: int = 1
    ) -> None:
        self.source = source
        self.seed = seed
        self.held_out = held_out
        self.rank, self.world_size = rank, world_size
        self.is_shuffled = source.config.shuffle_buffer > 0
        self.chunk_rows = source.config.shuffle_buffer or UNSHUFFLED_ROWS

    def groups(self, place: Place) -> Iterator[Group]:
        """Groups of documents from some place on, without end."""
        while True:
            rows = self._open(place)
            documents = iter(rows)
            is_empty = place.chunk == 0
            while True:
                with self.source.errors():
                    chunk = [self.source.document(row) for row in islice(documents, self.chunk_rows)]
                    after = rows.state_dict()
                if not chunk:
                    break
                for group in self._grouped(chunk, place):
                    is_empty = False
                    yield group
                place = Place(place.epoch, place.chunk + 1, after)
            if is_empty:
                raise DataError(
                    f"data.stream.source '{self.source.config.source}' has no document for process "
                    f"{self.rank} of {self.world_size}; give more text, or start fewer processes"
                )
            place = Place(place.epoch + 1)

    def _open(self, place: Place) -> IterableDataset:
        """The rows of an epoch, from the chunk of a place on."""
        rows = self.source.rows(rank=self.rank, world_size=self.world_size)
        if self.is_shuffled:  # the order of files: the number of an epoch is what `datasets` shuffles them by
            rows.set_epoch(1 + derive_seed(self.seed, "files", place.epoch) % 2**31)
        if place.source is not None:
            rows.load_state_dict(place.source)
        return rows

    def _grouped(self, chunk: Sequence[str | Rejected], begin: Place) -> Iterator[Group]:
        order = list(range(len(chunk)))
        if self.is_shuffled:
            generator = random.Random(derive_seed(self.seed, "chunk", begin.epoch, begin.chunk, self.rank))
            keys = [generator.random() for _ in chunk]  # the same in all versions of Python
            order.sort(key=keys.__getitem__)
        texts: list[str | Rejected] = []
        characters, first = 0, begin.row
        for row in range(begin.row, len(chunk)):
            documents = self._documents(chunk[order[row]])
            texts += documents
            characters += sum(len(text) for text in documents if isinstance(text, str))
            if characters >= GROUP_CHARACTERS or row == len(chunk) - 1:
                if texts:
                    yield Group(replace(begin, row=first), tuple(texts))
                texts, characters, first = [], 0, row + 1

    def _documents(self, text: str | Rejected) -> list[str] | list[Rejected]:
        """Documents of a row for training: long ones cut, held-out ones left out, as `hdiff prepare` does."""
        if isinstance(text, Rejected):
            return [text]
        parts = list(cut(text, MAX_DOCUMENT_CHARACTERS)) if text else [text]
        return [part for part in parts if not self.held_out or hash01(part) >= self.held_out]
