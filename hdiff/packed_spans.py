"""PackedSpans: the spans to predict, all rows of a batch in one flat run of tokens.

Dimensions: B batch, L tokens, S spans, P tokens in all spans together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedSpans:
    """Variable-length spans packed one after another, in row-major order.

    Attributes:
        token_index: Where each packed token lies in the flattened (B * L) batch, long (P,).
        span_index: The span of each packed token, long (P,), non-decreasing from 0.
        offset: Position of each packed token inside its span, from 0, long (P,).
        row: Batch row of each span, long (S,).
        length: Tokens in each span, long (S,), all >= 1.
        row_hidden: Trunk output of the whole rows, zeros where a row may not be seen, float (B, L, D); None
            until `read`. Only heads that see the row look at it.
        known_lengths: `length` on the CPU, so that nobody waits for a device; None: nobody asked yet.
    """

    token_index: Tensor
    span_index: Tensor
    offset: Tensor
    row: Tensor
    length: Tensor
    row_hidden: Tensor | None = None
    known_lengths: Tensor | None = None

    @classmethod
    def from_units(cls, unit_ids: Tensor, selected: Tensor) -> PackedSpans:
        """Packs the units, long (B, L), contiguous in a row, whose tokens are selected, bool (B, L)."""
        return cls.of_streams([(unit_ids, selected)])[0]

    @classmethod
    def of_streams(cls, streams: Sequence[tuple[Tensor, Tensor]]) -> list[PackedSpans]:
        """Packs several streams, as `from_units` takes them; a GPU is asked once for the sizes of all."""
        marked = [_marked(units, selected) for units, selected in streams]
        sizes = torch.stack([mark.length for mark in marked]).cpu()  # (streams, B * L)
        return [
            cls._packed(selected, mark, size[size > 0])
            for (_, selected), mark, size in zip(streams, marked, sizes, strict=True)
        ]

    @classmethod
    def _packed(cls, selected: Tensor, mark: _Marked, lengths: Tensor) -> PackedSpans:
        """Packs what is marked; the lengths of its spans, long (S,), are on the CPU."""
        num_spans, num_tokens = len(lengths), int(lengths.sum())
        token_index = true_places(selected, num_tokens)
        span_index = mark.number[token_index]
        length = mark.length[:num_spans]
        begins = length.cumsum(0) - length  # (S,), in packed tokens
        return cls(
            token_index=token_index,
            span_index=span_index,
            offset=torch.arange(num_tokens, device=selected.device) - begins[span_index],
            row=torch.div(token_index[begins], selected.shape[1], rounding_mode="floor"),
            length=length,
            known_lengths=lengths,
        )

    @cached_property
    def lengths(self) -> list[int]:
        """`length` as numbers; a GPU is asked only for spans that no units were packed to."""
        known = self.length if self.known_lengths is None else self.known_lengths
        lengths: list[int] = known.tolist()
        return lengths

    @property
    def first(self) -> Tensor:
        """Where each span begins among the packed tokens, long (S,)."""
        return self.length.cumsum(0) - self.length

    @classmethod
    def single_tokens(cls, count: int, *, device: torch.device | None = None) -> PackedSpans:
        """Spans of one token each, all in row 0."""
        places = torch.arange(count, device=device)
        zeros = torch.zeros_like(places)
        return cls(places, places, zeros, zeros, torch.ones_like(places))

    @classmethod
    def every_token(cls, hidden: Tensor) -> tuple[Tensor, PackedSpans]:
        """All tokens of a batch as spans of their own, and the trunk's output, (B, L, D) -> (B * L, D)."""
        units = torch.arange(hidden.shape[1], device=hidden.device).expand(hidden.shape[:2])
        return cls.from_units(units, torch.ones_like(units, dtype=torch.bool)).read(hidden)

    def apart(self) -> PackedSpans:
        """The same tokens, each as a span of its own."""
        return PackedSpans(
            token_index=self.token_index,
            span_index=torch.arange(len(self.token_index), device=self.token_index.device),
            offset=torch.zeros_like(self.offset),
            row=self.row[self.span_index],
            length=torch.ones_like(self.offset),
            row_hidden=self.row_hidden,
        )

    def prefixes(self, length: int) -> tuple[PackedSpans, Tensor]:
        """The first `length` tokens of spans that have so many, and which packed tokens they keep (P,)."""
        live = self.length >= length  # (S,)
        kept = live[self.span_index] & (self.offset < length)
        renumbered = live.cumsum(0) - 1
        packed = PackedSpans(
            token_index=self.token_index[kept],
            span_index=renumbered[self.span_index[kept]],
            offset=self.offset[kept],
            row=self.row[live],
            length=torch.full_like(self.length[live], length),
            row_hidden=self.row_hidden,
        )
        return packed, kept

    @property
    def num_spans(self) -> int:
        """Number of spans S."""
        return self.length.shape[0]

    def read(self, hidden: Tensor) -> tuple[Tensor, PackedSpans]:
        """What a head needs of the trunk's output.

        Args:
            hidden: Trunk output, float (B, L, D).

        Returns:
            It at the spans' tokens, float (P, D), and the spans with the rows that they are of.
        """
        return self.gather(hidden), replace(self, row_hidden=hidden)

    def gather(self, values: Tensor) -> Tensor:
        """Packs per-token values, (B, L) or (B, L, D), into (P,) or (P, D)."""
        return values.flatten(0, 1)[self.token_index]

    def scatter(self, values: Tensor, packed: Tensor) -> Tensor:
        """Puts packed values in their places, the reverse of `gather`.

        Args:
            values: Values of all tokens, (B, L); not changed.
            packed: New values of the packed tokens, (P,).

        Returns:
            (B, L).
        """
        return values.flatten().index_copy(0, self.token_index, packed).view_as(values)

    def sum_tokens(self, values: Tensor) -> Tensor:
        """Sums per-token values within each span: (P,) -> (S,)."""
        return torch.zeros(self.num_spans, dtype=values.dtype, device=values.device).index_add(
            0, self.span_index, values
        )


class _Marked(NamedTuple):
    """Spans of a batch before their sizes are known on the host.

    Attributes:
        number: Span of each selected token, long (B * L,); of other tokens any number.
        length: Tokens of each span, then zeros, long (B * L,).
    """

    number: Tensor
    length: Tensor


def _marked(unit_ids: Tensor, selected: Tensor) -> _Marked:
    """Numbers the spans, with operators whose results have the shape of the batch."""
    num_rows, length = unit_ids.shape
    rows = torch.arange(num_rows, device=unit_ids.device)[:, None] * (length + 1)
    chosen = selected.flatten()
    key = (rows + unit_ids).flatten().masked_fill(~chosen, -1)
    highest = torch.cat([key.new_full((1,), -1), key]).cummax(0).values  # of the tokens up to each
    number = ((highest[1:] != highest[:-1]).cumsum(0) - 1).clamp(min=0)
    return _Marked(number, torch.zeros_like(key).index_add(0, number, chosen.long()))


def true_places(chosen: Tensor, count: int) -> Tensor:
    """Where a mask is true in flattened form, long (count,), whose known count nobody waits for."""
    flat = chosen.flatten()
    if flat.device.type == "mps":  # without this operator
        return flat.nonzero().squeeze(1)
    return flat.nonzero_static(size=count).squeeze(1)
