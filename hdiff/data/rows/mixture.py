"""Mixture: rows of several corpora, prepared or streamed, in proportion to their weights."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch

from hdiff.config import CorpusConfig
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.rows.mixture_order import MixtureOrder
from hdiff.data.rows.streaming import StreamedRows, check_next
from hdiff.data.rows.training_rows import CorpusRows, PreparedRows, RowTerms, TrainingRows
from hdiff.data.token_stream import TokenStream, label_numbers, needed_levels
from hdiff.data.token_targets import TokenTargets
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

    rows: CorpusRows
    weight: float
    first_sample: int
    sample_step: int

    def batch(self, numbers: Sequence[int]) -> Batch:
        """Its rows behind so many others, with sample ids that no other corpus has."""
        batch = self.rows.numbered(numbers)
        assert batch.sample_ids is not None
        return replace(batch, sample_ids=self.first_sample + self.sample_step * batch.sample_ids)


@final
class MixedRows(TrainingRows):
    """Rows of several corpora: prepared ones in shuffled epochs of their own, streams as they come.

    Args:
        members: Rows and weight of each corpus.
        seed: Seed of the run.
        process: Number of this process, and how many there are.
    """

    def __init__(
        self, members: Sequence[tuple[CorpusRows, float]], *, seed: int, process: tuple[int, int] = (0, 1)
    ) -> None:
        self.mixing = MixtureOrder([weight for _, weight in members], seed)
        self.process = process
        self.corpora: list[Corpus] = []
        # Rows of prepared data have the first sample ids; those of streams, which do not end, take turns.
        next_sample, first_of_streams = 0, sum(rows.epoch_rows or 0 for rows, _ in members)
        for index, (rows, weight) in enumerate(members):
            if rows.epoch_rows is None:
                self.corpora.append(Corpus(rows, weight, first_of_streams + index, len(members)))
            else:
                self.corpora.append(Corpus(rows, weight, next_sample, 1))
                next_sample += rows.epoch_rows
        self._has_streams = any(rows.epoch_rows is None for rows, _ in members)
        self._rows = 0  # of this process, counted where there are streams

    @classmethod
    def open(cls, terms: RowTerms, *, seed: int) -> MixedRows:
        """Opens the corpora of a recipe."""
        members = [
            (_open_member(member, terms, seed=derive_seed(seed, "corpus", index)), member.weight)
            for index, member in enumerate(terms.data.mixture)
        ]
        return cls(members, seed=seed, process=terms.process)

    def batch(self, places: Sequence[int]) -> Batch:
        if self._has_streams:
            check_next(places, self._rows, process=self.process)
        places_of = [self.mixing.at(place) for place in places]
        parts, positions = [], []
        for corpus in sorted({corpus for corpus, _ in places_of}):
            of_corpus = [position for position, (owner, _) in enumerate(places_of) if owner == corpus]
            parts.append(self.corpora[corpus].batch([places_of[position][1] for position in of_corpus]))
            positions += of_corpus
        self._rows += len(places)
        return _in_order(parts, positions)

    @property
    def num_tokens(self) -> int | None:
        sizes = [corpus.rows.num_tokens for corpus in self.corpora]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def num_samples(self) -> int | None:
        return None if self._has_streams else sum(corpus.rows.epoch_rows or 0 for corpus in self.corpora)

    def samples(self, ids: range) -> Batch:
        parts = []
        for corpus in self.corpora:
            size, first = corpus.rows.epoch_rows or 0, corpus.first_sample
            own = range(max(0, ids.start - first), min(size, ids.stop - first))
            if len(own):
                batch = corpus.rows.samples(own)
                assert batch.sample_ids is not None
                parts.append(replace(batch, sample_ids=first + batch.sample_ids))
        return _in_order(parts, range(len(ids)))

    def facts(self) -> dict[str, Any]:
        return {
            "mixture": [{**corpus.rows.member_facts(), "weight": corpus.weight} for corpus in self.corpora]
        }

    def check(self, rows: int) -> None:
        for corpus, share in zip(self.corpora, self.mixing.shares, strict=True):
            corpus.rows.check(rows, share)

    def notes(self) -> list[str]:
        return [note for corpus in self.corpora for note in corpus.rows.notes()]

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


def _open_member(member: CorpusConfig, terms: RowTerms, *, seed: int) -> CorpusRows:
    if member.stream is not None:
        return StreamedRows.open(member.stream, terms, seed=seed)
    assert member.path is not None
    prepared, blocks = terms.prepared, terms.blocks
    if Path(member.path).resolve() != prepared.path.resolve():
        prepared = PreparedData.load(member.path)
        same_salience = terms.uses_salience and not terms.data.lexical_salience
        _check_alike(prepared, terms.prepared, same_salience=same_salience)
        blocks = _packed(prepared, terms)
    return PreparedRows(prepared, blocks, seed=seed)


def _check_alike(other: PreparedData, prepared: PreparedData, *, same_salience: bool) -> None:
    quoted = shlex.quote(str(prepared.path))
    if other.prompts is not None:
        raise DataError(
            f"{other.path} has prompts, which a mixture would take for text; prepare it without --prompts, "
            f"or train on it alone"
        )
    if other.tokenizer.sha256 != prepared.tokenizer.sha256:
        raise DataError(
            f"{other.path} has another tokenizer than {prepared.path} ({other.tokenizer.sha256[:12]} instead "
            f"of {prepared.tokenizer.sha256[:12]}); prepare it anew:",
            f"hdiff prepare SOURCE --out DATA --tokenizer {quoted}",
        )
    methods = [data.manifest["salience"] for data in (other, prepared)]
    if same_salience and methods[0] != methods[1]:
        raise DataError(
            f"{other.path} has the salience '{methods[0]}', {prepared.path} '{methods[1]}'; prepare it "
            f"anew, or leave salience to the words:",
            f"hdiff prepare SOURCE --out DATA --salience {methods[1]} --tokenizer {quoted}",
            "data.lexical_salience=true",
        )


def _packed(other: PreparedData, terms: RowTerms) -> PackedBlocks:
    """The training split of a corpus in the terms of `data.path`."""
    data, prepared = terms.data, terms.prepared
    try:
        needed = needed_levels(other, terms.levels)
    except DataError as error:
        raise DataError(f"{other.path}: {error.args[0]}", *error.remedies) from None
    if not other.manifest["counts"]["train"]["tokens"]:
        raise DataError(f"the train split of {other.path} has no token; prepare more text")
    targets = None if terms.targets is None else TokenTargets(prepared, terms.targets)
    if targets is not None:
        targets.check(other)
    stream = TokenStream.of_rows(
        other.split("train"),
        other.tokenizer,
        separator=data.separator,
        levels=needed,
        max_unit_tokens=data.max_unit_tokens,
        units=data.units,
        units_seed=data.units_seed,
        label_numbers=label_numbers(other.manifest["labels"], prepared),
        token_salience=prepared.token_salience if data.lexical_salience else None,
        targets=targets,
        labels=other.manifest["labels"],
    )
    return terms.blocks.of_stream(stream)


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
        targets={name: joined([part.targets[name] for part in parts]) for name in parts[0].targets},
    )
