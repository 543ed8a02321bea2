"""Mixture: rows of several prepared data sets, in proportion to their weights.

Which corpus a row comes from is a function of the seed and the row's place. The places are cut into windows.
How many rows of a window a corpus gives follows from its exact quota up to both ends of the window (an
integer division: errors are carried on and never add up); their order inside the window is drawn from the
seed. So a stretch is off by no more than what its two cut windows hold, whatever its length, and the rows of
each of several processes are mixed, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, final

import torch

from hdiff.config import DataConfig
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.token_stream import TokenStream, label_numbers, needed_levels
from hdiff.data.training_rows import TrainingRows
from hdiff.data_order import DataOrder
from hdiff.errors import DataError
from hdiff.seeds import derive_seed

WINDOW = 16
"""Rows whose order is drawn together."""


class MixtureOrder:
    """Which corpus each place of an endless sequence takes its row from.

    Args:
        weights: One positive weight per corpus.
        seed: Seed of the run.
    """

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        self.seed = seed
        exact = [Fraction(weight) for weight in weights]
        self.shares = [weight / sum(exact) for weight in exact]
        # Each corpus takes its part of what those before it leave; the last one takes all of it.
        self._parts = [weight / sum(exact[index:]) for index, weight in enumerate(exact)]
        self._phases = [
            derive_seed(seed, "mixture phase", index) % part.denominator
            for index, part in enumerate(self._parts)
        ]
        self._window = -1
        self._places: list[tuple[int, int]] = []

    def counts(self, places: int) -> list[int]:
        """How many of the rows before the end of some whole windows each corpus gives.

        Args:
            places: How many rows those are, a multiple of `WINDOW`.

        Returns:
            Rows of each corpus; their sum is `places`.
        """
        counts = []
        for part, phase in zip(self._parts, self._phases, strict=True):
            counts.append((places * part.numerator + phase) // part.denominator)
            places -= counts[-1]
        return counts

    def at(self, place: int) -> tuple[int, int]:
        """What lies at a place.

        Args:
            place: The place, from 0.

        Returns:
            Number of the corpus, and how many of its rows lie at places before.
        """
        window, position = divmod(place, WINDOW)
        if window != self._window:
            self._places = self._drawn(window)
            self._window = window
        return self._places[position]

    def _drawn(self, window: int) -> list[tuple[int, int]]:
        before, after = self.counts(window * WINDOW), self.counts((window + 1) * WINDOW)
        corpora = [
            corpus
            for corpus, (first, last) in enumerate(zip(before, after, strict=True))
            for _ in range(last - first)
        ]
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "mixture", window))
        places = []
        for index in torch.randperm(WINDOW, generator=generator).tolist():
            corpus = corpora[index]
            places.append((corpus, before[corpus]))
            before[corpus] += 1
        return places


@dataclass(frozen=True)
class Corpus:
    """One corpus of a mixture.

    Attributes:
        prepared: The data set.
        blocks: Its training split, with the label numbers and buckets of `data.path`.
        weight: Its weight.
    """

    prepared: PreparedData
    blocks: PackedBlocks
    weight: float


@final
class MixedRows(TrainingRows):
    """Rows of several corpora, each in shuffled epochs of its own.

    Args:
        corpora: The corpora.
        seed: Seed of the run.
    """

    def __init__(self, corpora: Sequence[Corpus], *, seed: int) -> None:
        self.corpora = corpora
        self.mixing = MixtureOrder([corpus.weight for corpus in corpora], seed)
        self.orders = [
            DataOrder(len(corpus.blocks), derive_seed(seed, "corpus", index))
            for index, corpus in enumerate(corpora)
        ]
        sizes = [len(corpus.blocks) for corpus in corpora]
        self.offsets = [sum(sizes[:index]) for index in range(len(sizes))]

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
    ) -> MixedRows:
        """Opens the corpora of a recipe.

        Args:
            data: The recipe's section.
            prepared: The data set of `data.path`.
            blocks: Its training split.
            levels: Levels whose units are needed.
            uses_salience: Whether training reads the salience of words.
            seed: Seed of the run.

        Returns:
            The rows.

        Raises:
            DataError: If a corpus is missing, has another tokenizer, no text, or lacks a level.
        """
        corpora = []
        for member in data.mixture:
            if Path(member.path).resolve() == prepared.path.resolve():
                corpora.append(Corpus(prepared, blocks, member.weight))
                continue
            other = PreparedData.load(member.path)
            _check_alike(other, prepared, same_salience=uses_salience and not data.lexical_salience)
            corpora.append(Corpus(other, _packed(other, data, prepared, blocks, levels), member.weight))
        return cls(corpora, seed=seed)

    def batch(self, places: Sequence[int]) -> Batch:
        found = [self.mixing.at(place) for place in places]
        rows = [(corpus, self.orders[corpus].rows([place])[0]) for corpus, place in found]
        parts, positions = [], []
        for corpus in sorted({corpus for corpus, _ in rows}):
            of_corpus = [position for position, (owner, _) in enumerate(rows) if owner == corpus]
            part = self.corpora[corpus].blocks.batch([rows[position][1] for position in of_corpus])
            assert part.sample_ids is not None
            parts.append(replace(part, sample_ids=part.sample_ids + self.offsets[corpus]))
            positions += of_corpus
        return _in_order(parts, positions)

    @property
    def num_tokens(self) -> int:
        return sum(corpus.blocks.num_tokens for corpus in self.corpora)

    def facts(self) -> dict[str, Any]:
        return {
            "mixture": [
                {
                    "path": str(corpus.prepared.path),
                    "weight": corpus.weight,
                    "rows": len(corpus.blocks),
                    "tokens": corpus.blocks.num_tokens,
                    "parser": corpus.prepared.manifest["parser"]["name"],
                    "sha256": corpus.prepared.fingerprint,
                }
                for corpus in self.corpora
            ]
        }

    def check(self, rows: int) -> None:
        for corpus, share in zip(self.corpora, self.mixing.shares, strict=True):
            if len(corpus.blocks) < rows * share:
                raise DataError(
                    f"the training split of {corpus.prepared.path} has {len(corpus.blocks)} rows of "
                    f"{corpus.blocks.sequence_length} tokens, its part of a batch is "
                    f"{float(rows * share):.1f}; prepare more text, or lower its weight, train.batch_size or "
                    f"data.sequence_length"
                )


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
        return None if tensors[0] is None else torch.cat(list(tensors))[order]

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
