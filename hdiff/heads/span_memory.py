"""SpanMemory: keys and values of a layer at the tokens of spans that are drawn already.

Dimensions: B batch, L tokens, S spans, N spans still open, M tokens of the longest span, H heads, E width of
a head, Q open spans of the row that has most.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from hdiff.packed_spans import PackedSpans


@final
class SpanMemory:
    """Keys and values inside spans that grow token by token. They are exact: attention is causal.

    Args:
        spans: The spans to be drawn.
    """

    def __init__(self, spans: PackedSpans) -> None:
        self.shape = (spans.num_spans, int(max(spans.lengths)))
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def places(self, offset: int, token_index: Tensor) -> Tensor:
        """Positions of the next tokens, which queries and keys are turned to: long (1,) or (N,)."""
        return token_index.new_full((1,), offset)

    def keep(self, open_spans: Tensor) -> None:
        """Forgets all but the open spans, by their numbers among those kept so far, long (N,)."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[open_spans], self.values[open_spans]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, offset: int, token_index: Tensor) -> Tensor:
        """Attention of the next token of every open span to itself and those before it.

        Args:
            query: float (N, H, E).
            key: float (N, H, E).
            value: float (N, H, E).
            offset: Which token of the spans it is, from 0.
            token_index: Where it lies in the flattened batch, long (N,).

        Returns:
            float (N, H, E).
        """
        if self.keys is None or self.values is None:
            self.keys = key.new_zeros(*self.shape, *key.shape[1:])
            self.values = torch.zeros_like(self.keys)
        self.keys[:, offset], self.values[:, offset] = key, value
        past = slice(offset + 1)
        mixed = F.scaled_dot_product_attention(
            query[:, :, None], self.keys[:, past].transpose(1, 2), self.values[:, past].transpose(1, 2)
        )
        return mixed.squeeze(2)


@final
class RowMemory:
    """As `SpanMemory`, where tokens also see all visible places of their row.

    Args:
        spans: The spans to be drawn, no two of which share a place.
        row_key: Keys of the rows, float (B, L, H, E).
        row_value: Values of the rows, float (B, L, H, E).
        is_visible: Places of the rows that may be seen, bool (B, L).
    """

    def __init__(self, spans: PackedSpans, row_key: Tensor, row_value: Tensor, is_visible: Tensor) -> None:
        self.is_visible = is_visible
        self.number = spans.scatter(spans.token_index.new_zeros(is_visible.shape), spans.span_index + 1)
        # The rows' own first, then what is drawn of the spans.
        self.keys = torch.cat([row_key, torch.zeros_like(row_key)], 1)  # (B, 2 L, H, E)
        self.values = torch.cat([row_value, torch.zeros_like(row_value)], 1)

    def places(self, offset: int, token_index: Tensor) -> Tensor:
        """See `SpanMemory.places`."""
        return token_index % self.is_visible.shape[1]

    def keep(self, open_spans: Tensor) -> None:
        """See `SpanMemory.keep`; here places tell spans apart."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, offset: int, token_index: Tensor) -> Tensor:
        """See `SpanMemory.attend`."""
        num_rows, length = self.is_visible.shape
        rows, place = torch.div(token_index, length, rounding_mode="floor"), token_index % length
        self.keys[rows, length + place], self.values[rows, length + place] = key, value
        every = torch.arange(length, device=place.device)
        around = self.is_visible[rows] | (every == place[:, None])
        inside = (self.number[rows] == self.number[rows, place][:, None]) & (every <= place[:, None])
        slot = torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)
        width = int(slot.max()) + 1
        allowed = torch.ones(num_rows, width, 2 * length, dtype=torch.bool, device=rows.device)
        allowed[rows, slot] = torch.cat([around, inside], 1)
        asked = query.new_zeros(num_rows, width, *query.shape[1:])  # (B, Q, H, E)
        asked[rows, slot] = query
        mixed = F.scaled_dot_product_attention(
            asked.transpose(1, 2),
            self.keys.transpose(1, 2),
            self.values.transpose(1, 2),
            attn_mask=allowed[:, None],
        )
        return mixed.transpose(1, 2)[rows, slot]
