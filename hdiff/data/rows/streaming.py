"""Streaming: rows cut out of text that is read, tokenized and parsed while training.

Rows are filled without gaps: what a group of documents leaves over begins the next row. The position is where
the first group begins whose tokens are not all used, and how many are: enough to encode that group again and
continue with the same rows. Dimensions: B batch, L tokens of a row, N tokens of a group.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, final

import torch

from hdiff.config import StreamConfig
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.rows.rejected_listing import RejectedListing
from hdiff.data.rows.stream_documents import DocumentStream, Group, Place
from hdiff.data.rows.stream_encoding import Encoded, Encoding
from hdiff.data.rows.stream_workers import encoded_groups
from hdiff.data.rows.training_rows import CorpusRows, RowTerms
from hdiff.data.sources.corpus import ROWS_TO_JUDGE
from hdiff.data.sources.rejected import EMPTY, check_share
from hdiff.data.sources.stream_source import Source
from hdiff.data.token_stream import TokenStream, needed_levels
from hdiff.errors import DataError

_MAX_REASONS = 10
"""Reasons of rejected rows that a checkpoint keeps and that are logged."""

_MAX_REASON = 120
_UNKNOWN = "of an earlier version"

logger = logging.getLogger(__name__)


def check_next(places: Sequence[int], rows: int, *, process: tuple[int, int]) -> None:
    """Refuses places that do not follow the rows that a process has read."""
    rank, world_size = process
    first = rows * world_size + rank
    expected = list(range(first, first + len(places) * world_size, world_size))
    if list(places) != expected:
        raise DataError(
            f"rows {list(places)[:3]} ... of the stream are asked for, the next ones are {expected[:3]} "
            f"...; a stream goes forward only: resume from a checkpoint"
        )


@final
class StreamedRows(CorpusRows):
    """Rows of a stream, in order; the sample id of a row is its place.

    Args:
        documents: The documents of this process.
        encoding: How they become tokens.
        like: Rows of the prepared data set, for their buckets and sizes.
        has_salience: Whether the rows have a salience.
        listing: Where rows without text are listed.
    """

    def __init__(
        self,
        documents: DocumentStream,
        encoding: Encoding,
        *,
        like: PackedBlocks,
        has_salience: bool,
        listing: RejectedListing | None = None,
    ) -> None:
        self.documents = documents
        self.encoding = encoding
        self.like = like
        self.has_salience = has_salience
        self.listing = RejectedListing(None) if listing is None else listing
        self._rows = 0
        self._used = 0  # tokens of the first group below
        self._groups: deque[tuple[Group, Encoded]] = deque()
        self._place = Place()
        self._documents, self._rejected = 0, Counter[str]()  # of the groups before; by reason
        self._told: set[str] = set()
        self._epoch_of_text = 0
        self._expected: str | None = None  # digest of the group a resumed run begins with
        self._encoded: Iterator[tuple[Group, Encoded]] | None = None

    @classmethod
    def open(cls, stream: StreamConfig, terms: RowTerms, *, seed: int) -> StreamedRows:
        """Opens a stream of a recipe; nothing is read yet but what tells the files."""
        data, prepared = terms.data, terms.prepared
        needed = tuple(needed_levels(prepared, terms.levels))
        scored = terms.uses_salience and not data.lexical_salience
        encoding = Encoding(
            data=str(prepared.path),
            parser=stream.parser,
            is_parsed=bool(needed) or scored or terms.targets is not None,
            levels=needed,
            separator=data.separator,
            max_unit_tokens=data.max_unit_tokens,
            units=data.units,
            units_seed=data.units_seed,
            lexical_salience=data.lexical_salience,
            targets=terms.targets,
        )
        documents = DocumentStream(
            Source.of(stream),
            seed=seed,
            held_out=prepared.manifest.get("held_out", prepared.manifest["validation_fraction"]) or 0.0,
            rank=terms.process[0],
            world_size=terms.process[1],
        )
        has_salience = encoding.is_parsed or data.lexical_salience
        listing = RejectedListing(terms.rejected)
        return cls(documents, encoding, like=terms.blocks, has_salience=has_salience, listing=listing)

    def batch(self, places: Sequence[int]) -> Batch:
        check_next(places, self._rows, process=self.process)
        return self.numbered(places)

    @property
    def epoch_rows(self) -> None:
        return None

    def numbered(self, numbers: Sequence[int]) -> Batch:
        blocks = self._take(len(numbers) * self.like.sequence_length)
        self._rows += len(numbers)
        batch = replace(blocks.batch(range(len(numbers))), sample_ids=torch.tensor(numbers))
        return batch if self.has_salience else replace(batch, salience=None, salience_buckets=None)

    @property
    def process(self) -> tuple[int, int]:
        """Number of this process, and how many there are."""
        return self.documents.rank, self.documents.world_size

    @property
    def num_tokens(self) -> None:
        return None

    def facts(self) -> dict[str, Any]:
        return {"stream": {**self.documents.source.facts(), "shuffle_buffer": self._config.shuffle_buffer}}

    def member_facts(self) -> dict[str, Any]:
        return self.facts()

    def check(self, rows: int, share: Fraction = Fraction(1)) -> None:
        assert rows * share > 0  # a stream never ends

    def notes(self) -> list[str]:
        number = self._rejected.total()
        if not number:
            return []
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in self._rejected.most_common(3))
        total = number + self._documents
        return [f"{number:,} of {total:,} documents of '{self._config.source}' were left out: {reasons}"]

    def state(self) -> dict[str, Any] | None:
        return {
            "rows": self._rows,
            "place": (self._groups[0][0].place if self._groups else self._place).to_dict(),
            "tokens_used": self._used,
            "sha256": self._digest(),
            "documents": self._documents,
            "rejected": sum(self._rejected.values()),
            "reasons": dict(self._rejected.most_common(_MAX_REASONS)),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.close()
        self._groups.clear()
        self._rows, self._used = state["rows"], state["tokens_used"]
        self._documents = state["documents"]
        reasons = Counter[str](state.get("reasons", {}))  # older checkpoints know the number alone
        self._rejected = reasons + Counter({_UNKNOWN: state["rejected"] - reasons.total()})
        self._place = Place(**state["place"])
        self._epoch_of_text = self._place.epoch
        self._expected = state["sha256"]

    def close(self) -> None:
        if self._encoded is not None:
            self._encoded.close()  # type: ignore[attr-defined]
            self._encoded = None

    @property
    def _config(self) -> Any:
        return self.documents.source.config

    def _take(self, num_tokens: int) -> PackedBlocks:
        """The next tokens of the stream."""
        while self._num_tokens() < num_tokens:
            self._groups.append(self._next_group())
            if self._expected is not None and self._digest() != self._expected:
                raise DataError(
                    f"data.stream.source '{self._config.source}' gives other tokens where the checkpoint was "
                    f"saved than it did then; give the same text again, or make a new run:",
                    "output=DIR",
                )
            self._expected = None
        taken = slice(self._used, self._used + num_tokens)
        stream = TokenStream.joined([encoded.stream for _, encoded in self._groups], taken)
        self._used += num_tokens
        # A group that is used up stays if it is the last: it tells the position.
        while len(self._groups) > 1 and self._used >= len(self._groups[0][1].stream):
            _, encoded = self._groups.popleft()
            self._used -= len(encoded.stream)
            self._documents += encoded.num_documents
            self._rejected.update(row.reason[:_MAX_REASON] for row in encoded.rejected)
            if (total := self._documents + self._rejected.total()) >= ROWS_TO_JUDGE:
                check_share(self._rejected, total, f"data.stream.source '{self._config.source}'")
        return self.like.of_stream(stream)

    def _digest(self) -> str | None:
        """Digest of the group the next row begins in."""
        if not self._groups:
            return self._expected
        return hashlib.sha256(self._groups[0][1].stream.tokens.tobytes()).hexdigest()

    def _num_tokens(self) -> int:
        return sum(len(encoded.stream) for _, encoded in self._groups) - self._used

    def _next_group(self) -> tuple[Group, Encoded]:
        if self._encoded is None:
            groups = self.documents.groups(self._place)
            stream = self._config
            self._encoded = encoded_groups(
                groups, self.encoding, workers=stream.workers, timeout=stream.timeout
            )
        group, encoded = next(self._encoded)
        if len(encoded.stream):
            self._epoch_of_text = group.place.epoch
        elif group.place.epoch > self._epoch_of_text + 1:
            reason = encoded.rejected[-1].reason if encoded.rejected else "all are held out"
            raise DataError(
                f"a whole epoch of data.stream.source '{self._config.source}' has no document with a token "
                f"({reason}); give other text, or another data.stream.parser"
            )
        for row in encoded.rejected:
            self.listing.add(row)
            if row.reason not in self._told and row.reason != EMPTY and len(self._told) < _MAX_REASONS:
                self._told.add(row.reason)
                where = row.place or f"epoch {group.place.epoch}, chunk {group.place.chunk}"
                logger.warning("%s is left out of training, and all rows like it: %s", where, row.reason)
        return group, encoded
