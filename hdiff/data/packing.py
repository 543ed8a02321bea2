"""PackedBlocks: documents end to end, cut into rows of one length, ready to become batches.

Dimensions: B batch, L tokens of a row, N tokens of the whole split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from hdiff.data.batch import Batch
from hdiff.data.prompt_rows import PromptRows
from hdiff.data.token_stream import TokenStream, label_order, needed_levels
from hdiff.data.token_targets import TargetSpec, TokenTargets
from hdiff.data.unit_choice import OUTERMOST
from hdiff.errors import DataError
from hdiff.parsers.buckets import Buckets
from hdiff.value_types import AnswerEnd

if TYPE_CHECKING:
    from hdiff.data.prepared import PreparedData


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
        document_starts: Whether a document begins at each token, bool (N,); None: batches do not tell.
        targets: Name -> what supervision predicts of each token, int16 (N,).
        prompts: Which tokens are given, and where answers end; None for texts without prompts.
    """

    tokens: NDArray[np.int32]
    salience: NDArray[np.float32]
    unit_starts: Mapping[str, NDArray[np.bool_]]
    labels: Mapping[str, NDArray[np.int16]]
    sequence_length: int
    vocab_size: int
    eos_id: int
    buckets: Buckets | None = None
    document_starts: NDArray[np.bool_] | None = None
    targets: Mapping[str, NDArray[np.int16]] = field(default_factory=dict)
    prompts: PromptRows | None = None

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
        units: str | Sequence[str] = OUTERMOST,
        units_seed: int = 0,
        lexical_salience: bool = False,
        salience_buckets: int | Sequence[float] | None = None,
        cross_documents: bool = True,
        train_tokens: int | None = None,
        subset_seed: int | None = None,
        targets: TargetSpec | None = None,
        answer_end: AnswerEnd = "padding",
        drop_long: bool = False,
        block_size: int | None = None,
    ) -> PackedBlocks:
        """Packs a split of a prepared data set.

        Args:
            prepared: The data set.
            split: `train` or `validation`.
            sequence_length: Tokens per row.
            separator: Whether an end-of-text token follows each document.
            levels: Levels whose units are needed.
            max_unit_tokens: Longest unit in tokens; longer spans give way to their parts.
            units: Which spans become units (`hdiff.data.unit_choice`).
            units_seed: Seed of random choices.
            lexical_salience: Whether a token has the mean salience of its id over the training split
                instead of that of its word.
            salience_buckets: How many buckets salience falls into, about equally full in the training
                split, or their inner borders.
            cross_documents: False lets batches tell which document each token is of.
            train_tokens: Packs so many tokens and no others; None packs all.
            subset_seed: Draws the documents that they are of; None takes the first ones.
            targets: What supervision predicts of each token; None for nothing.
            answer_end: How answers to prompts end.
            drop_long: Whether documents with prompts that are longer than a row are left out.
            block_size: Tokens of a block, with which answers to prompts begin; None: without blocks.

        Returns:
            The rows.

        Raises:
            DataError: If a level or what a target needs was not kept, the split has no text or fewer tokens
                than asked for, a document with a prompt is longer than a row, the length is below 1, or
                salience has too few different values for so many
                buckets.
        """
        if sequence_length < 1:
            raise DataError(f"sequence length is {sequence_length} tokens, expected at least 1")
        levels = needed_levels(prepared, levels)
        rows, has_prompts = prepared.split(split), prepared.prompts is not None
        if not rows.lengths("input_ids").sum():
            raise DataError(f"the {split} split has no token; prepare more text")
        stream = TokenStream.of_rows(
            rows,
            prepared.tokenizer,
            separator=separator or has_prompts,
            levels=levels,
            max_unit_tokens=max_unit_tokens,
            units=units,
            units_seed=units_seed,
            label_numbers=label_order(prepared) if levels else np.empty(0, dtype=np.int16),
            token_salience=prepared.token_salience if lexical_salience else None,
            targets=None if targets is None else TokenTargets(prepared, targets),
            labels=prepared.manifest["labels"],
        )
        if train_tokens is not None and has_prompts:
            raise DataError(
                f"data.train_tokens is {train_tokens:,}, and {prepared.path} has prompts, whose answers are "
                f"not cut; limit its documents when they are prepared:",
                "hdiff prepare SOURCE --out DATA --prompts columns --limit 1000",
            )
        if train_tokens is not None:
            if train_tokens > len(stream):
                raise DataError(
                    f"data.train_tokens is {train_tokens:,}, the {split} split of {prepared.path} has "
                    f"{len(stream):,} tokens; give at most so many:",
                    f"data.train_tokens={len(stream)}",
                )
            stream = stream.subset(train_tokens, seed=subset_seed)
        prompts = None
        if has_prompts:
            prompts = PromptRows.of_stream(
                stream,
                eos_id=prepared.tokenizer.eos_id,
                sequence_length=sequence_length,
                answer_end=answer_end,
                drop_long=drop_long,
                block_size=block_size,
            )
            stream = prompts.stream
        return cls(
            stream.tokens,
            stream.salience,
            stream.unit_starts,
            stream.labels,
            sequence_length,
            prepared.tokenizer.vocab_size,
            prepared.tokenizer.eos_id,
            _buckets(prepared, salience_buckets, lexical=lexical_salience),
            None if cross_documents else stream.document_starts,
            stream.targets,
            prompts,
        )

    def of_stream(self, stream: TokenStream) -> PackedBlocks:
        """Other tokens, cut into rows and buckets as these are."""
        return replace(
            self,
            tokens=stream.tokens,
            salience=stream.salience,
            unit_starts=stream.unit_starts,
            labels=stream.labels,
            document_starts=None if self.document_starts is None else stream.document_starts,
            targets=stream.targets,
        )

    def __len__(self) -> int:
        return -(-len(self.tokens) // self.sequence_length)

    @property
    def num_tokens(self) -> int:
        """Tokens of the split N, separators included, padding behind answers not."""
        return len(self.tokens) if self.prompts is None else int(self.prompts.is_real.sum())

    def full(self, row: int) -> bool:
        """Whether a row has no padding."""
        end = (row + 1) * self.sequence_length
        is_real = None if self.prompts is None else self.prompts.is_real
        return end <= len(self.tokens) and (
            is_real is None or bool(is_real[end - self.sequence_length : end].all())
        )

    def batch(self, indices: Sequence[int]) -> Batch:
        """Some rows as a batch."""
        rows = np.asarray(indices, dtype=np.int64)
        places = rows[:, None] * self.sequence_length + np.arange(self.sequence_length)  # (B, L)
        real = places < len(self.tokens)
        places = np.minimum(places, len(self.tokens) - 1)
        given = answer_lengths = None
        if self.prompts is not None:
            real = real & self.prompts.is_real[places]
            given = torch.from_numpy(self.prompts.is_given[places] & real)
            answer_lengths = torch.from_numpy(self.prompts.answer_lengths[rows])
        unit_ids = {}
        for level, flags in self.unit_starts.items():
            begins = flags[places] | ~real
            begins[:, 0] = False
            unit_ids[level] = torch.from_numpy(begins.cumsum(1))
        document_ids = None
        if self.document_starts is not None:
            begins = self.document_starts[places]
            begins[:, 0] = False
            document_ids = torch.from_numpy(np.where(real, begins.cumsum(1), -1))
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
            document_ids=document_ids,
            targets={
                name: torch.from_numpy(np.where(real, values[places], 0).astype(np.int64))
                for name, values in self.targets.items()
            },
            given=given,
            answer_lengths=answer_lengths,
        )

    def unit_length_histogram(self, level: str) -> list[float]:
        """How often units of a level have 1, 2, 3 ... tokens, as shares; separators have one."""
        if level == "token":
            return [1.0]
        starts = np.flatnonzero(self.unit_starts[level])
        lengths = np.diff(np.append(starts, len(self.tokens)))
        if self.prompts is not None:  # of answers alone
            lengths = lengths[~self.prompts.is_given[starts] & (self.tokens[starts] != self.eos_id)]
        counts = np.bincount(lengths)[1:]
        return [float(share) for share in counts / counts.sum()]


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
            prepared.split("train").values("input_ids"), minlength=prepared.tokenizer.vocab_size
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
