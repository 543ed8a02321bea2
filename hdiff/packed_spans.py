"""PackedSpans: the spans to predict, all rows of a batch in one flat run of tokens.

Dimensions: B batch, L tokens, S spans, P tokens in all spans together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

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
    """

    token_index: Tensor
    span_index: Tensor
    offset: Tensor
    row: Tensor
    length: Tensor
    row_hidden: Tensor | None = None

    @classmethod
    def from_units(cls, unit_ids: Tensor, selected: Tensor) -> PackedSpans:
        """Packs the units, long (B, L), contiguous in a row, whose tokens are selected, bool (B, L)."""
        length = unit_ids.shape[1]
        token_index = selected.flatten().nonzero().squeeze(1)  # (P,)
        rows = torch.div(token_index, length, rounding_mode="floor")
        key = rows * (length + 1) + unit_ids.flatten()[token_index]
        is_first = torch.ones_like(key, dtype=torch.bool)
        is_first[1:] = key[1:] != key[:-1]
        span_index = is_first.cumsum(0) - 1
        starts = is_first.nonzero().squeeze(1)  # (S,)
        ends = torch.cat([starts[1:], starts.new_tensor([len(token_index)])])
        offset = torch.arange(len(token_index), device=unit_ids.device) - starts[span_index]
        return cls(
            token_index=token_index,
            span_index=span_index,
            offset=offset,
            row=rows[starts],
            length=ends[: len(starts)] - starts,
        )

    @cached_property
    def lengths(self) -> list[int]:
        """`length` as numbers; on a GPU the first to ask waits for the device, once for all layers."""
        lengths: list[int] = self.length.tolist()
        return lengths

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
