"""States: held-out rows, corrupted as in training at stated times, and what the model sees of them.

Dimensions: B batch, L tokens, P packed tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from hdiff.corruption import Corrupted, Corruption, corrupt_free
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks

TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Midpoints of five equal parts of (0, 1]: their mean is one over t ~ U(0, 1]."""

TOKENS_PER_BATCH = 2048


@dataclass(frozen=True)
class State:
    """Some rows at one time.

    Attributes:
        place: Places of the rows among all rows analysed, long (B,).
        time: t.
        batch: The clean rows.
        corrupted: The rows at time t.
    """

    place: Tensor
    time: float
    batch: Batch
    corrupted: Corrupted

    def reading(self, hidden: Tensor) -> State:
        """The same with spans that know the trunk's output of their rows, float (B, L, D)."""
        _, spans = self.corrupted.spans.read(hidden)
        return replace(self, corrupted=replace(self.corrupted, spans=spans))

    @property
    def row(self) -> Tensor:
        """Place of the row of each packed token, long (P,)."""
        spans = self.corrupted.spans
        return self.place[spans.row[spans.span_index]]

    @property
    def column(self) -> Tensor:
        """Position in its row of each packed token, long (P,)."""
        return self.corrupted.spans.token_index % self.batch.input_ids.shape[1]

    @property
    def targets(self) -> Tensor:
        """True tokens of the spans to predict, long (P,)."""
        return self.corrupted.spans.gather(self.corrupted.x_0)


def states(
    corruption: Corruption,
    blocks: PackedBlocks,
    rows: Sequence[int],
    *,
    generator: torch.Generator,
    device: torch.device,
) -> Iterator[State]:
    """Corrupts all rows to every time of `TIMES`."""
    at_once = max(1, TOKENS_PER_BATCH // blocks.sequence_length)
    for time in TIMES:
        for first in range(0, len(rows), at_once):
            chosen = rows[first : first + at_once]
            batch = blocks.batch(chosen).to(device)
            t = torch.full((len(chosen),), time, device=device)
            corrupted = corrupt_free(
                batch, partial(_corrupted, corruption, t, generator), corruption.type_sizes
            )
            place = torch.arange(first, first + len(chosen), device=device)
            yield State(place, time, batch, corrupted)


def _corrupted(corruption: Corruption, t: Tensor, generator: torch.Generator, batch: Batch) -> Corrupted:
    return corruption.corrupt(batch, t, generator=generator)
