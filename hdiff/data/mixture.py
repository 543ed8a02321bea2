"""Mixture: rows of several corpora, prepared or streamed, in proportion to their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch

from hdiff.config import DataConfig
from hdiff.data.batch import Batch
from hdiff.data.mixture_order import MixtureOrder
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.streaming import StreamedRows, check_next
from hdiff.data.token_stream import TokenStream, label_numbers, needed_levels
from hdiff.data.training_rows import PreparedRows, TrainingRows
from hdiff.errors import DataError
from hdiff.seeds import derive_seed


@dataclass(frozen=True)
class Corpus:
    """One corpus of a mixture.

    Attributes:
        rows: Its rows, with the label numbers and buckets of `data.path`.
        weight: Its weight.
        first_sample: Sample id of its first row.
        sample_step: From the sample id of one of its rows to that of the next.
    """

    rows: PreparedRows | StreamedRows
    weight: float
    first_sample: int
    sample_step: int

    def batch(self, numbers: Sequence[int]) -> Batch:
        """Some of its rows.

        Args:
            numbers: How many of its rows lie before each, increasing.

        Returns:
            The rows; a stream gives its next ones, whatever the numbers, which then are their names.
        """
        if isinstance(self.rows, StreamedRows):
            batch, names = self.rows.next_rows(len(numbers)), torch.tensor(numbers)
        else:
            batch = self.rows.batch(numbers)
            assert batch.sample_ids is not None
            names = batch.sample_ids
        return replace(batch, sample_ids=self.first_sample + self.sample_step * names)


@final
class MixedRows(TrainingRows):
    """Rows of several corpora: prepared ones in shuffled epochs of their own, streams as they come.

    Args:
        members: Rows and weight of each corpus.
        seed: Seed of the run.
        process: Number of this process, and how many there are.
    """

    def __init__(
        self,
        members: Sequence[tuple[PreparedRows | StreamedRows, float]],
        *,
        seed: int,
        process: tuple[int, int] = (0, 1),
    ) -> None:
        self.mixing = MixtureOrder([weight for _, weight in members], seed)
        self.process = process
        sizes = [len(rows.blocks) if isinstance(rows, PreparedRows) else 0 for rows, _ in members]
        self._has_streams = any(isinstance(rows, StreamedRows) for rows, _ in members)
        # Rows of prepared data have the first sample ids; those of streams, which do not end, take turns.
        first_samples = [
            sum(sizes[:index]) if isinstance(rows, PreparedRows) else sum(sizes) + index
            for index, (rows, _) in enumerate(members)
        ]
        self.corpora = [
            Corpus(rows, weight, first, 1 if isinstance(rows, PreparedRows) else len(members))
            for (rows, weight), first in zip(members, first_samples, strict=True)
        ]
        self._rows = 0  # of this process, counted where there are streams

    @classmethod
    def open(
        cls,
        data: DataConfig,
        prepared: PreparedData,
        blocks: PackedBlocks,
        *,
        levels: Sequence[str],
        uses_salience: bool,
        seed: int,
        process: tuple[int, int] = (0, 1),
    ) -> MixedRows:
        """Opens the corpora of a recipe.

        Args:
            data: The recipe's section.
            prepared: The data set of `data.path`.
            blocks: Its training split.
            levels: Levels whose units are needed.
            uses_salience: Whether training reads the salience of words.
            seed: Seed of the run.
            process: Number of this process, and how many there are.

        Returns:
            The rows.

        Raises:
            DataError: If a corpus is missing, has another tokenizer, no text, or lacks a level.
        """
        members: list[tuple[PreparedRows | StreamedRows, float]] = []
        for index, member in enumerate(data.mixture):
            own_seed = derive_seed(seed, "corpus", index)
            if member.stream is not None:
                stream = StreamedRows.open(
                    member.stream,
                    data,
                    prepared,
                    blocks,
                    levels=levels,
                    uses_salience=uses_salience,
                    seed=own_seed,
                    process=process,
                )
                members.append((stream, member.weight))
                continue
            assert member.path is not None
            other, packed = prepared, blocks
            if Path(member.path).resolve() != prepared.path.resolve():
                other = PreparedData.load(member.path)
                _check_alike(other, prepared, same_salience=uses_salience and not data.lexical_salience)
                packed = _packed(other, data, prepared, blocks, levels)
            members.append((PreparedRows(other, packed, seed=own_seed), member.weight))
        return cls(members, seed=seed, process=process)

    def batch(self, places: Sequence[int]) -> Batch:
        if self._has_streams:
            check_next(places, self._rows, process=self.process)
        found = [self.mixing.at(place) for place in places]
        parts, positions = [], []
        for corpus in sorted({corpus for corpus, _ in found}):
            of_corpus = [position for position, (owner, _) in enumerate(found) if owner == corpus]
            parts.append(self.corpora[corpus].batch([found[position][1] for position in of_corpus]))
            positions += of_corpus
        self._rows += len(places)
        return _in_order(parts, positions)

    @property
    def num_tokens(self) -> int | None:
        sizes = [corpus.rows.num_tokens for corpus in self.corpora]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def facts(self) -> dict[str, Any]:
        return {"mixture": [_facts(corpus) for corpus in self.corpora]}

    def check(self, rows: int) -> None:
        for corpus, share in zip(self.corpora, self.mixing.shares, strict=True):
            own = corpus.rows
            if isinstance(own, PreparedRows) and len(own.blocks) < rows * share:
                raise DataError(
                    f"the training split of {own.prepared.path} has {len(own.blocks)} rows of "
                    f"{own.blocks.sequence_length} tokens, its part of a batch is {float(rows * share):.1f}; "
                    f"prepare more text, or lower its weight, train.batch_size or data.sequence_length"
                )

    def state(self) -> dict[str, Any] | None:
        if not self._has_streams:
            return None
        return {"rows": self._rows, "corpora": [corpus.rows.state() for corpus in self.corpora]}

    def restore(self, state: dict[str, Any]) -> None:
        if not self._has_streams:
            super().restore(state)
        self._rows = state["rows"]
        for corpus, own in zip(self.corpora, state["corpora"], strict=True):
            if own is not None:
                corpus.rows.restore(own)

    def close(self) -> None:
        for corpus in self.corpora:
            corpus.rows.close()


def _facts(corpus: Corpus) -> dict[str, Any]:
    if isinstance(corpus.rows, StreamedRows):
        return {"weight": corpus.weight, **corpus.rows.facts()}
    prepared, blocks = corpus.rows.prepared, corpus.rows.blocks
    return {
        "path": str(prepared.path),
        "weight": corpus.weight,
        "rows": len(blocks),
        "tokens": blocks.num_tokens,
        "parser": prepared.manifest["parser"]["name"],
        "sha256": prepared.fingerprint,
    }


def _check_alike(other: PreparedData, prepared: PreparedData, *, same_salience: bool) -> None:
    if other.tokenizer.sha256 != prepared.tokenizer.sha256:
        raise DataError(
            f"{other.path} has another tokenizer than {prepared.path} ({other.tokenizer.sha256[:12]} instead "
            f"of {prepared.tokenizer.sha256[:12]}); prepare it with --tokenizer {prepared.path}"
        )
    methods = [data.manifest["salience"] for data in (other, prepared)]
    if same_salience and methods[0] != methods[1]:
        raise DataError(
            f"{other.path} has the salience '{methods[0]}', {prepared.path} '{methods[1]}'; prepare it with "
            f"--salience {methods[1]}, or set data.lexical_salience"
        )


def _packed(
    other: PreparedData, data: DataConfig, prepared: PreparedData, blocks: PackedBlocks, levels: Sequence[str]
) -> PackedBlocks:
    """The training split of a corpus in the terms of `data.path`."""
    try:
        needed = needed_levels(other, levels)
    except DataError as error:
        raise DataError(f"{other.path}: {error}") from None
    if not other.manifest["counts"]["train"]["tokens"]:
        raise DataError(f"the train split of {other.path} has no token; prepare more text")
    stream = TokenStream.of_rows(
        other.split("train"),
        other.tokenizer,
        separator=data.separator,
        levels=needed,
        max_unit_tokens=data.max_unit_tokens,
        label_numbers=label_numbers(other.manifest["labels"], prepared),
        token_salience=prepared.token_salience if data.lexical_salience else None,
    )
    return blocks.of_stream(stream)


def _in_order(parts: Sequence[Batch], positions: Sequence[int]) -> Batch:
    """Batches as one, with the row at each position where it belongs."""
    order = torch.empty(len(positions), dtype=torch.long)
    order[torch.tensor(positions)] = torch.arange(len(positions))

    def joined(tensors: Sequence[Any]) -> Any:
        if any(tensor is None for tensor in tensors):  # salience, where streams are not parsed
            return None
        return torch.cat(list(tensors))[order]

    return Batch(
        input_ids=joined([part.input_ids for part in parts]),
        token_mask=joined([part.token_mask for part in parts]),
        unit_ids={level: joined([part.unit_ids[level] for part in parts]) for level in parts[0].unit_ids},
        labels={level: joined([part.labels[level] for part in parts]) for level in parts[0].labels},
        salience=joined([part.salience for part in parts]),
        salience_buckets=joined([part.salience_buckets for part in parts]),
        sample_ids=joined([part.sample_ids for part in parts]),
        document_ids=joined([part.document_ids for part in parts]),
    )
