"""RevealMemory: keys and values of visible tokens, which no later token changes.

Dimensions: B batch, L tokens, M positions computed, D width.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from hdiff.layers.reveal_mask import seen_in_order
from hdiff.layers.trunk_cache import TrunkCache, positions_of
from hdiff.models.denoiser import Denoiser


@final
class RevealMemory:
    """Reads the states of rows that are filled one unit after another, each visible token once.

    The trunk reads in order (`seen_in_order`), so what is kept is exact: the output is that of
    `Denoiser.hidden` up to rounding. Hidden tokens are read where they are asked for and nowhere else.
    Source of the idea: Eso-LM, arXiv:2506.01928, and ReFusion, arXiv:2512.13586; here hidden tokens see all
    visible ones and no other hidden one, and any head may stand on the trunk.

    Args:
        denoiser: The network, whose trunk reads in order.
        token_mask: Real tokens, bool (B, L); None if all are.
        document_ids: Document of each token, long (B, L); None if rows are read whole.
    """

    def __init__(
        self, denoiser: Denoiser, token_mask: Tensor | None = None, document_ids: Tensor | None = None
    ) -> None:
        assert denoiser.reads_in_order, "keys of a bidirectional trunk change with every token"
        self.denoiser, self.token_mask, self.document_ids = denoiser, token_mask, document_ids
        self.cache: TrunkCache | None = None
        self.is_kept: Tensor | None = None

    def read(self, x_t: Tensor, order: Tensor, asked: Tensor) -> Tensor:
        """Trunk output at hidden tokens, and at visible ones of the rows that have some.

        Args:
            x_t: Tokens, `mask_id` where hidden, long (B, L); what was visible before still is.
            order: When each visible token was revealed, later than those of the call before, long (B, L).
            asked: Hidden tokens to compute, bool (B, L).

        Returns:
            float (B, L, D), of use at the asked and the visible tokens of rows with an asked one.
        """
        denoiser = self.denoiser
        is_visible = x_t != denoiser.mask_id
        if self.cache is None or self.is_kept is None:
            trunk = denoiser.trunk
            self.cache = TrunkCache.empty(
                trunk.norm.weight,
                *x_t.shape,
                num_layers=len(trunk.layers),
                head_width=trunk.head_width,
            )
            self.is_kept = torch.zeros_like(is_visible)
        is_new = is_visible & ~self.is_kept & asked.any(1, keepdim=True)
        self.is_kept |= is_new
        positions = positions_of(asked | is_new)  # (B, M)
        seen = seen_in_order(
            is_visible,
            order,
            token_mask=self.token_mask,
            document_ids=self.document_ids,
            queries=positions,
        )
        if denoiser.asked_flags is None:
            chosen = denoiser.embed(x_t.gather(1, positions))
        else:  # flags belong to positions
            rows = torch.arange(len(positions), device=positions.device)[:, None]
            chosen = denoiser.embed(x_t)[rows, positions]
        return denoiser.trunk.update_at(chosen, self.cache, positions, visible=seen)
