"""PackedBlocks: documents end to end, cut into rows of one length, ready to become batches.

Dimensions: B batch, L tokens of a row, N tokens of the whole split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.parsers.buckets import Buckets
from hdiff.structure import level_rank

if TYPE_CHECKING:
    from datasets import Dataset

    from hdiff.data.prepared import PreparedData
    from hdiff.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class PackedBlocks:
    """A split as one stream of tokens, cut into rows.

    Attributes:
        tokens: Token ids, int32 (N,).
        salience: Salience of each token, 0 for separators, float32 (N,).
        buckets: Into which it falls; None if no buckets were asked for.
        unit_starts: Level -> whether a unit begins at each token, bool (N,).
        labels: Level -> label of the unit of each token: 0 for none, then by falling frequency in the
            training split (over all levels), int16 (N,).
        sequence_length: Tokens per row; the last row is padded.
        vocab_size: Vocabulary V.
        eos_id: Separator between documents, also the padding.
    """

    tokens: NDArray[np.int32]
    salience: NDArray[np.float32]
    unit_starts: Mapping[str, NDArray[np.bool_]]
    labels: Mapping[str, NDArray[np.int16]]
    sequence_length: int
    vocab_size: int
    eos_id: int
    buckets: Buckets | None = None

    @classmethod
    def build(
        cls,
        prepared: PreparedData,
        split: str,
        *,
        sequence_length: int,
        separator: bool = True,
        levels: Sequence[str] = (),
        max_unit_tokens: int | None = None,
        lexical_salience: bool = False,
        salience_buckets: int | Sequence[float] | None = None,
    ) -> PackedBlocks:
        """Packs a split of a prepared data set.

        Args:
            prepared: The data set.
            split: `train` or `validation`.
            sequence_length: Tokens per row.
            separator: Whether an end-of-text token follows each document.
            levels: Levels whose units are needed.
            max_unit_tokens: Longest unit in tokens; longer spans give way to their parts.
            lexical_salience: Whether a token has the mean salience of its id over the training split
                instead of that of its word.
            salience_buckets: How many buckets salience falls into, about equally full in the training
                split, or their inner borders.

        Returns:
            The rows.

        Raises:
            DataError: If a level was not kept, the split has no text, the length is below 1, or salience
                has too few different values for so many buckets.
        """
        if sequence_length < 1:
            raise DataError(f"sequence length is {sequence_length} tokens, expected at least 1")
        levels = needed_levels(prepared, levels)
        rows = prepared.split(split)
        if not _lengths(rows, "input_ids").sum():
            raise DataError(f"the {split} split has no token; prepare more text")
        return cls.of_rows(
            rows,
            prepared.tokenizer,
            sequence_length=sequence_length,
            separator=separator,
            levels=levels,
            max_unit_tokens=max_unit_tokens,
            label_numbers=label_order(prepared) if levels else np.empty(0, dtype=np.int16),
            token_salience=prepared.token_salience if lexical_salience else None,
            buckets=_buckets(prepared, salience_buckets, lexical=lexical_salience),
        )

    @classmethod
    def of_rows(
        cls,
        rows: Dataset,
        tokenizer: Tokenizer,
        *,
        sequence_length: int,
        separator: bool,
        levels: Sequence[str],
        max_unit_tokens: int | None,
        label_numbers: NDArray[np.int16],
        token_salience: NDArray[np.float32] | None,
        buckets: Buckets | None,
    ) -> PackedBlocks:
        """Packs documents.

        Args:
            rows: Documents, with the columns of `hdiff.data.arrow.features`.
            tokenizer: Their tokenizer.
            sequence_length: Tokens per row.
            separator: Whether an end-of-text token follows each document.
            levels: Levels whose units are needed, `token` not among them.
            max_unit_tokens: Longest unit in tokens.
            label_numbers: Number of each label id of the rows.
            token_salience: Salience of each token id, float32 (V,); None takes that of the rows.
            buckets: Into which salience falls.

        Returns:
            The rows.
        """
        lengths = _lengths(rows, "input_ids")
        extra = int(separator)
        starts = np.concatenate([[0], (lengths + extra).cumsum()])  # (documents + 1,)
        total = int(starts[-1])
        is_text = np.ones(total, dtype=np.bool_)
        if separator:
            is_text[starts[1:] - 1] = False
        tokens = np.full(total, tokenizer.eos_id, dtype=np.int32)
        tokens[is_text] = _flat(rows, "input_ids")
        salience = np.zeros(total, dtype=np.float32)
        if token_salience is None:
            salience[is_text] = _flat(rows, "salience")
        else:
            salience[is_text] = token_salience[tokens[is_text]]
        units = {level: _units(rows, starts, level, max_unit_tokens, label_numbers) for level in levels}
        return cls(
            tokens,
            salience,
            {level: begins for level, (begins, _) in units.items()},
            {level: labels for level, (_, labels) in units.items()},
            sequence_length,
            tokenizer.vocab_size,
            tokenizer.eos_id,
            buckets,
        )

    def __len__(self) -> int:
        return -(-len(self.tokens) // self.sequence_length)

    @property
    def num_tokens(self) -> int:
        """Tokens of the split N, separators included."""
        return len(self.tokens)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Some rows as a batch.

        Args:
            indices: Row numbers.

        Returns:
            The batch, on the CPU.
        """
        rows = np.asarray(indices, dtype=np.int64)
        places = rows[:, None] * self.sequence_length + np.arange(self.sequence_length)  # (B, L)
        real = places < len(self.tokens)
        places = np.minimum(places, len(self.tokens) - 1)
        unit_ids = {}
        for level, flags in self.unit_starts.items():
            begins = flags[places] | ~real
            begins[:, 0] = False
            unit_ids[level] = torch.from_numpy(begins.cumsum(1))
        salience = np.where(real, self.salience[places], np.float32(0))
        return Batch(
            input_ids=torch.from_numpy(np.where(real, self.tokens[places], self.eos_id).astype(np.int64)),
            token_mask=torch.from_numpy(real),
            unit_ids=unit_ids,
            labels={
                level: torch.from_numpy(np.where(real, labels[places], 0).astype(np.int64))
                for level, labels in self.labels.items()
            },
            salience=torch.from_numpy(salience),
            salience_buckets=None
            if self.buckets is None
            else torch.from_numpy(self.buckets.indexes(salience)),
            sample_ids=torch.from_numpy(rows),
        )

    def unit_length_histogram(self, level: str) -> list[float]:
        """How often units of a level have 1, 2, 3 ... tokens, as shares that sum to 1.

        Args:
            level: `token` or a level given to `build`.

        Returns:
            Shares by length; separators are units of length 1.
        """
        if level == "token":
            return [1.0]
        starts = np.flatnonzero(self.unit_starts[level])
        lengths = np.diff(np.append(starts, len(self.tokens)))
        counts = np.bincount(lengths)[1:]
        return [float(share) for share in counts / counts.sum()]


def needed_levels(prepared: PreparedData, levels: Sequence[str]) -> list[str]:
    """Levels that need data, checked.

    Args:
        prepared: A data set.
        levels: Levels whose units are wanted; `token` needs no data.

    Returns:
        The others.

    Raises:
        DataError: If the data set does not keep one of them.
    """
    needed = [level for level in levels if level != "token"]
    kept = list(prepared.manifest["levels"])
    for level in needed:
        if level not in kept:
            raise DataError(
                f"corruption needs level '{level}', the data set keeps {kept}; "
                f"re-run hdiff prepare with --levels {level}"
            )
    return needed


def _buckets(
    prepared: PreparedData, wanted: int | Sequence[float] | None, *, lexical: bool
) -> Buckets | None:
    """The buckets of a data set, the same for all its splits."""
    if wanted is None:
        return None
    if not isinstance(wanted, int):
        return Buckets(tuple(wanted))
    histogram = prepared.manifest["salience_histogram"]
    if lexical:
        counts = np.bincount(
            _flat(prepared.split("train"), "input_ids"), minlength=prepared.tokenizer.vocab_size
        )
        table = prepared.token_salience
        histogram = np.histogram(table, bins=len(histogram), range=(0.0, 1.0), weights=counts)[0].tolist()
    buckets = Buckets.of_histogram(histogram, wanted)
    if len(buckets) < wanted:
        raise DataError(
            f"salience '{prepared.manifest['salience']}' fills {len(buckets)} buckets, {wanted} are asked "
            "for: too many tokens have the same score; ask for fewer, or give their borders"
        )
    return buckets


def _column(rows: Dataset, name: str) -> Any:
    """One column as a single Arrow list array."""
    return rows.data.column(name).combine_chunks()


def _flat(rows: Dataset, name: str) -> NDArray[Any]:
    return np.asarray(_column(rows, name).flatten())


def _lengths(rows: Dataset, name: str) -> NDArray[np.int64]:
    return np.asarray(_column(rows, name).value_lengths(), dtype=np.int64)


def label_order(prepared: PreparedData) -> NDArray[np.int16]:
    """New number of each stored label: 1 the most frequent of the training split."""
    stored = _flat(prepared.split("train"), "span_label")
    counts = np.bincount(stored, minlength=int(stored.max(initial=0)) + 1)
    order = np.empty(len(counts), dtype=np.int16)
    order[np.argsort(-counts, kind="stable")] = np.arange(1, len(counts) + 1)
    return order


def _units(
    rows: Dataset,
    document_starts: NDArray[np.int64],
    level: str,
    max_unit_tokens: int | None,
    label_order: NDArray[np.int16],
) -> tuple[NDArray[np.bool_], NDArray[np.int16]]:
    """`hdiff.structure.segment` for all documents at once: where units begin, and their labels.

    Spans come in nesting order, so a candidate is maximal exactly if it begins at or after the end
    of every candidate before it.
    """
    document = np.repeat(np.arange(len(rows)), _lengths(rows, "span_start"))
    first = _flat(rows, "span_start") + document_starts[document]
    end = _flat(rows, "span_end") + document_starts[document]
    rank = _flat(rows, "span_level")
    candidate = rank >= level_rank(level)
    if max_unit_tokens is not None:
        candidate &= end - first <= max_unit_tokens
    first, end = first[candidate], end[candidate]
    covered = np.concatenate([[0], np.maximum.accumulate(end)[:-1]]) if len(end) else end
    taken = first >= covered
    total = int(document_starts[-1])
    change = np.zeros(total + 2, dtype=np.int64)
    np.add.at(change, first[taken] + 1, 1)
    np.add.at(change, end[taken], -1)
    label = label_order[np.minimum(_flat(rows, "span_label")[candidate][taken], len(label_order) - 1)]
    labels = np.zeros(total, dtype=np.int16)
    lengths = end[taken] - first[taken]
    inside = np.arange(int(lengths.sum())) - np.repeat(lengths.cumsum() - lengths, lengths)
    labels[np.repeat(first[taken], lengths) + inside] = np.repeat(label, lengths)
    return change.cumsum()[:total] <= 0, labels
