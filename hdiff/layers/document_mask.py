"""DocumentMask: tokens of a row see their own document and nothing else.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True, eq=False)
class DocumentMask:
    """Which tokens see each other, in the form that each backend of `attention` takes.

    Each form is made once and serves all layers. Positions of tokens need not begin anew with a document:
    rotary embeddings tell differences of positions only.

    Attributes:
        ids: Document of each token, contiguous in a row, -1 at padding (which sees itself), long (B, L).
    """

    ids: Tensor

    @cached_property
    def visible(self) -> Tensor:
        """Queries by keys, bool (B, L, L)."""
        return self.ids[:, :, None] == self.ids[:, None, :]

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each document, row after row; a document ends with its row."""
        begins = torch.ones_like(self.ids, dtype=torch.bool)
        begins[:, 1:] = self.ids[:, 1:] != self.ids[:, :-1]
        starts = begins.flatten().cpu().nonzero().squeeze(1)  # a GPU is asked once, not for the number first
        end = starts.new_tensor([self.ids.numel()])
        return torch.cat([starts, end]).diff().tolist()

    @cached_property
    def flex_mask(self) -> BlockMask:
        """As `flex_attention` takes it."""
        from torch.nn.attention.flex_attention import create_block_mask

        ids = self.ids

        def is_same(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return ids[row, query] == ids[row, key]

        rows, length = ids.shape
        return create_block_mask(is_same, rows, None, length, length, device=str(ids.device))
