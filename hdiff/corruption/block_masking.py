"""BlockMasking: a row is cut into blocks, generated left to right; tokens are masked inside each.

Dimensions: B batch, L tokens, K blocks of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from hdiff.corruption.arguments import Count, check_count
from hdiff.corruption.base import DEFAULT_STEPS, Corruption
from hdiff.corruption.corrupted import Corrupted
from hdiff.corruption.row_noise import rand
from hdiff.corruption.unit_masking import exact_count
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.packed_spans import PackedSpans
from hdiff.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class BlockCorrupted(Corrupted):
    """A batch in which every block is at a time of its own.

    `x_t` holds all blocks noised. What is masked in block b is predicted from the noised tokens of b and the
    clean tokens of the blocks before b, and from nothing else: a denoiser must hide the rest.

    Attributes:
        context: Clean tokens that later blocks read, long (B, L).
        block_size: Token i is in block i // block_size.
    """

    context: Tensor
    block_size: int


@final
class BlockMasking(Corruption):
    """Block diffusion: blocks left to right, tokens of a block in any order, by masking.

    With blocks x^1 .. x^K of a row, -log p(x_0) = sum_b -log p(x^b | x^<b), and each term has the bound of
    flat masking on the tokens of the block, so that the sum over all masked tokens of a row,
    weighed by p_mask'(t_b) / p_mask(t_b) at the time t_b of their block, bounds -log p(x_0).
    Source: BD3-LM, arXiv:2503.09573, section 3; we count tokens of a block exactly, as `UnitMasking` does
    those of a row. One block per row is flat masking; blocks of one token are an autoregressive model, whose
    exact likelihood the bound is. Units are tokens; spans inside of blocks are not offered.

    The time t of a row is shared out: with a random permutation pi of its K blocks, block b has time
    (pi_b + t) / K. Uniform t give each block a uniform time; the times of `sample_times` fall one
    into each of B K equal intervals, so (row, block) pairs are stratified together.

    Args:
        block_size: Tokens of a block; the last block of a row may be shorter.
        mask_id: Id that stands for a hidden token; the vocabulary size by convention, or None to
            have it set by the model that is trained.
        schedule: Schedule of masking times inside of a block.
        count: `exact` or `bernoulli` (each token on its own).
    """

    network = "block_denoiser"
    can_be_planned = False
    sees_whole_rows = False
    block_size: int

    def __init__(
        self,
        *,
        block_size: int = 16,
        mask_id: int | None = None,
        schedule: Schedule | None = None,
        count: Count = "exact",
    ) -> None:
        super().__init__(mask_id=mask_id, schedule=schedule)
        self.block_size = check_block_size(block_size)
        self.count = check_count(count, schedule)

    def corrupt(self, batch: Batch, t: Tensor, *, generator: torch.Generator | None = None) -> BlockCorrupted:
        mask_id = self.check(batch, t)
        num_rows, length = batch.input_ids.shape
        block = blocks_of(length, self.block_size, device=t.device)  # (L,)
        if self.count == "exact":
            rank = ranks_in_blocks(batch.token_mask, self.block_size, generator=generator)
            times = self._times(t, length, generator)  # (B, K)
            num_tokens = count_in_blocks(batch.token_mask, self.block_size)
            # A block of padding alone has nothing to mask; 1 keeps its unused weight finite.
            num_masked, weight = exact_count(self.schedule, times, num_tokens.clamp(min=1))
            is_masked = (rank < num_masked[:, block]) & batch.token_mask
        else:
            u = rand((num_rows, length), generator=generator, device=t.device)
            times = self._times(t, length, generator)
            is_masked = (u < self.schedule.p_mask(times)[:, block]) & batch.token_mask
            weight = self.schedule.reverse_hazard(times).to(torch.get_default_dtype())
        spans = PackedSpans.from_units(batch.units("token"), is_masked)
        return BlockCorrupted(
            x_t=batch.input_ids.masked_fill(is_masked, mask_id),
            x_0=batch.input_ids,
            token_mask=batch.token_mask,
            is_masked=is_masked,
            spans=spans,
            weight=weight[spans.row, block[spans.token_index % length]],
            conditional_on_structure=False,
            context=batch.input_ids,
            block_size=self.block_size,
        )

    @property
    def conditional_on_structure(self) -> bool:
        return False

    def network_options(self, vocab_size: int) -> dict[str, Any]:
        return {"block_size": self.block_size}

    def for_toy_language(self, vocab_size: int, length: int) -> BlockMasking:
        if self.block_size < length:
            return self
        return self.changed(block_size=2)  # a single block would be flat masking

    def plain_sampler(self, num_steps: int | None = None) -> dict[str, Any]:
        return {"kind": "blocks"}

    def fewest_steps(self, length: int) -> int:
        return number_of_blocks(length, self.block_size)

    @property
    def about_states(self) -> str:
        return (
            f"This corruption has blocks of {self.block_size} tokens, each at a time of its own: t "
            f"moves all of them on by the same amount, so some are hidden early and not all at t = 1."
        )

    def default_steps(self, length: int) -> int:
        return max(DEFAULT_STEPS, self.fewest_steps(length))

    def unconditional(self) -> BlockMasking:
        return self

    def _times(self, t: Tensor, length: int, generator: torch.Generator | None) -> Tensor:
        """Times of the blocks, in (0, 1], float64 (B, K), drawn last: one block has what flat masking has."""
        num_blocks = number_of_blocks(length, self.block_size)
        keys = rand((len(t), num_blocks), generator=generator, device=t.device, dtype=torch.float64)
        return (keys.argsort(1) + t.double()[:, None]) / num_blocks


def check_block_size(block_size: int) -> int:
    """Returns `block_size`, or raises DataError if it is below 1."""
    if block_size < 1:
        raise DataError(
            f"block_size is {block_size}; a block has at least 1 token (1 is left to right, "
            f"data.sequence_length is flat masking)"
        )
    return block_size


def number_of_blocks(length: int, block_size: int) -> int:
    """Blocks K of a row of `length` tokens, the last of which may be shorter."""
    return -(-length // block_size)


def blocks_of(length: int, block_size: int, *, device: torch.device | None = None) -> Tensor:
    """Block of every position of a row, long (L,): 0, 0, 1, 1, 2 ..."""
    return torch.arange(length, device=device).div(block_size, rounding_mode="floor")


def count_in_blocks(chosen: Tensor, block_size: int) -> Tensor:
    """Number of chosen tokens in each block: bool (B, L) -> long (B, K)."""
    num_rows, length = chosen.shape
    counts = chosen.new_zeros(num_rows, number_of_blocks(length, block_size), dtype=torch.long)
    block = blocks_of(length, block_size, device=chosen.device)
    return counts.index_add(1, block, chosen.long())


def ranks_in_blocks(chosen: Tensor, block_size: int, *, generator: torch.Generator | None = None) -> Tensor:
    """A uniformly random order of the chosen tokens of each block.

    Args:
        chosen: Tokens to order, bool (B, L).
        block_size: Tokens of a block.
        generator: Source of randomness.

    Returns:
        Place of each chosen token in the order of its block, from 0; tokens that were not chosen come after
        those of their block; long (B, L).
    """
    block = blocks_of(chosen.shape[1], block_size, device=chosen.device)
    keys = rand(chosen.shape, generator=generator, device=chosen.device, dtype=torch.float64)
    keys = keys.masked_fill(~chosen, 2.0) + 3.0 * block  # block after block
    return keys.argsort(1).argsort(1) - block * block_size
