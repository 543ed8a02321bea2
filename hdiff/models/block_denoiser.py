"""BlockDenoiser: trunk + head that read a noised block and the clean blocks before it.

Dimensions: B batch, L tokens, S spans, D width.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from hdiff.corruption.block_masking import BlockCorrupted, blocks_of, check_block_size
from hdiff.errors import DataError
from hdiff.heads.base import Head
from hdiff.layers.trunk import Trunk
from hdiff.layers.trunk_cache import TrunkCache
from hdiff.models.headed import Headed
from hdiff.models.output import DenoiserOutput, padding_mask


@final
class BlockDenoiser(Headed):
    """p(x_S | noised block of S, clean blocks before it), all blocks of a row in one pass.

    The trunk reads the row twice, [x_t ; x_0], both copies at positions 0 .. L-1, under the mask
    `visible_twice`: a noised block attends to itself and to clean blocks before it. Source: BD3-LM,
    arXiv:2503.09573, section 3. Trunk and head are those of `Denoiser`, weight for weight.

    Args:
        trunk: Bidirectional trunk.
        head: Head; it owns the token table used for the input.
        block_size: Tokens of a block.
    """

    def __init__(self, trunk: Trunk, head: Head, *, block_size: int) -> None:
        super().__init__()
        assert not trunk.causal, "tokens of a block see each other"
        self.trunk = trunk
        self.head = head
        self.block_size = check_block_size(block_size)

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """Trunk output for a text that is filled left to right, in one pass over L positions.

        In the first block that has hidden tokens, and only there, it is what `noised_hidden` gives: all
        blocks before it are clean, so nothing has to be read twice.

        Args:
            x_t: Tokens, `mask_id` where hidden, long (B, L).
            token_mask: Real tokens, bool (B, L); None if all are.

        Returns:
            float (B, L, D); a position depends on no block after its own.
        """
        return self.trunk(  # type: ignore[no-any-return]
            self.head.embed(x_t), visible=self._visible(x_t, token_mask)
        )

    def cached_hidden(
        self, x_t: Tensor, token_mask: Tensor | None, cache: TrunkCache | None, active: Tensor
    ) -> tuple[Tensor, TrunkCache]:
        """As `hidden`, computed anew at some positions only.

        It is exact at positions whose block, and all before it, have the tokens they had when they were last
        computed, or are computed now. Keys and values of finished blocks are kept: BD3-LM, arXiv:2503.09573,
        section 3.1.

        Args:
            x_t: Tokens, `mask_id` where hidden, long (B, L).
            token_mask: Real tokens, bool (B, L); None if all are.
            cache: Cache of an earlier state of the same rows; None computes everything.
            active: Positions to compute anew, bool (B, L).

        Returns:
            Trunk output, float (B, L, D), and the cache for the next call.
        """
        embedded, visible = self.head.embed(x_t), self._visible(x_t, token_mask)
        if cache is None:
            cache = self.trunk.fill_cache(embedded, visible=visible)
            return cache.output, cache
        return self.trunk.update(embedded, cache, active, visible=visible), cache

    def _visible(self, x_t: Tensor, token_mask: Tensor | None) -> Tensor:
        visible = visible_once(x_t.shape[1], self.block_size, device=x_t.device)
        return without_padding(visible, token_mask)

    def noised_hidden(self, x_t: Tensor, context: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """Trunk output at the noised tokens of all blocks.

        Args:
            x_t: Noised tokens, `mask_id` where hidden, long (B, L).
            context: Clean tokens, read by later blocks only, long (B, L).
            token_mask: Real tokens, bool (B, L); None if all are.

        Returns:
            float (B, L, D).
        """
        length = x_t.shape[1]
        visible = visible_twice(length, self.block_size, device=x_t.device)
        if token_mask is not None:
            token_mask = torch.cat([token_mask, token_mask], 1)
        both = self.trunk(
            self.head.embed(torch.cat([x_t, context], 1)),  # (B, 2 L, D)
            visible=without_padding(visible, token_mask),
            positions=torch.arange(length, device=x_t.device).repeat(2),
        )
        return both[:, :length]  # type: ignore[no-any-return]

    def read(self, corrupted: BlockCorrupted) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the heads read of a state.

        Args:
            corrupted: The state.

        Returns:
            Trunk output of all positions, float (B, L, D), and of the packed ones, float (P, D); tokens that
            visible classes leave possible, bool (P, V), or None.
        """
        real = padding_mask(corrupted.token_mask, corrupted.is_padded)
        hidden = self.noised_hidden(corrupted.x_t, corrupted.context, real)
        return hidden, corrupted.spans.gather(hidden), None

    def forward(self, corrupted: BlockCorrupted) -> DenoiserOutput:
        """Log-probability of the clean tokens of each span to predict."""
        check_same_blocks(self, getattr(corrupted, "block_size", None))
        hidden = self.noised_hidden(
            corrupted.x_t, corrupted.context, padding_mask(corrupted.token_mask, corrupted.is_padded)
        )
        spans = corrupted.spans
        log_prob = self.head.log_prob(spans.gather(hidden), spans.gather(corrupted.x_0), spans)
        return DenoiserOutput(log_prob, hidden=hidden)


def check_same_blocks(model: object, block_size: int | None) -> None:
    """Raises DataError unless a model was built for blocks of this size."""
    own = getattr(model, "block_size", None)
    if own is None or own != block_size:
        raise DataError(
            f"{type(model).__name__} has block_size {own}, the corruption {block_size}; build the model for "
            f"its corruption (hdiff.factory.build_model)"
        )


def visible_once(length: int, block_size: int, *, device: torch.device | None = None) -> Tensor:
    """Keys a query may attend to when a row is read once: those of no later block, bool (L, L)."""
    block = blocks_of(length, block_size, device=device)
    return block[:, None] >= block[None, :]


def visible_twice(length: int, block_size: int, *, device: torch.device | None = None) -> Tensor:
    """Keys a query may attend to when noised and clean tokens are read together.

    A noised token sees the noised tokens of its own block and the clean ones of earlier blocks, a clean token
    the clean ones of its own and of earlier blocks. Source: arXiv:2503.09573, section 3.

    Args:
        length: Tokens L of a row.
        block_size: Tokens of a block.
        device: Where the mask should be.

    Returns:
        bool (2 L, 2 L), queries by keys; the noised copy comes first.
    """
    block = blocks_of(length, block_size, device=device)
    query, key = block[:, None], block[None, :]
    from_noised = torch.cat([query == key, query > key], 1)
    from_clean = torch.cat([torch.zeros_like(query == key), query >= key], 1)
    return torch.cat([from_noised, from_clean], 0)


def without_padding(visible: Tensor, token_mask: Tensor | None) -> Tensor:
    """Takes padding from what may be attended to; padding itself still sees its own position.

    Args:
        visible: bool (L, L).
        token_mask: Real tokens, bool (B, L); None if all are.

    Returns:
        bool (L, L), or (B, L, L) where there is padding.
    """
    if token_mask is None:
        return visible
    own = torch.eye(len(visible), dtype=torch.bool, device=visible.device)
    return (visible & token_mask[:, None, :]) | own
