"""BlockSampler: blocks left to right, each in random groups of its tokens, in T steps together.

Dimensions: B rows, L tokens, K blocks of a row.
"""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.block_masking import blocks_of, count_in_blocks, ranks_in_blocks
from hdiff.corruption.masked_units import MaskedUnits
from hdiff.corruption.token_masking import TokenMasking
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.layers.trunk_cache import TrunkCache
from hdiff.models.block_denoiser import BlockDenoiser, check_same_blocks
from hdiff.models.wrapped import unwrapped
from hdiff.reveal_order import check_num_steps
from hdiff.samplers.base import FillsMasks, OnStep, Sampler
from hdiff.samplers.choice import Choice, View, at
from hdiff.samplers.filling import Chooser, MaskedSampler
from hdiff.samplers.reading import Reader
from hdiff.samplers.samples import Samples, Score


@final
class BlockSampler(Sampler):
    """Fills the first block that has hidden tokens, in random groups, then the next: block diffusion.

    T counts the steps of the whole row, as for all samplers: T calls of the trunk in all. They are shared out
    by `steps_of_blocks`, at least one to each block that has something to fill, so fewer steps than such
    blocks are refused. Drawing and scoring are the loop of `MaskedSampler`; of a `BlockDenoiser` only the
    block at hand is read anew, against kept keys and values of finished ones.

    Args:
        num_steps: Steps T of a row, at least one per block; more steps than tokens are not used.
        sampling: Temperature and truncation of every draw.
    """

    def __init__(self, num_steps: int, *, sampling: Sampling = AS_IT_IS) -> None:
        super().__init__(sampling=sampling)
        self.num_steps = check_num_steps(num_steps)

    def sample(
        self,
        denoiser: FillsMasks,
        corruption: Corruption,
        tokens: Tensor,
        *,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Samples:
        filling, units = self._filling(denoiser := unwrapped(denoiser), corruption)
        return filling.sample(denoiser, units, tokens, generator=generator, on_step=on_step)

    def score(
        self,
        denoiser: FillsMasks,
        corruption: Corruption,
        batch: Batch,
        *,
        is_hidden: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Score:
        filling, units = self._filling(denoiser := unwrapped(denoiser), corruption)
        return filling.score(denoiser, units, batch, is_hidden=is_hidden, generator=generator)

    def _filling(self, denoiser: FillsMasks, corruption: Corruption) -> tuple[_LeftToRight, TokenMasking]:
        if corruption.block_size is None:
            raise DataError(
                f"BlockSampler fills blocks of tokens; {type(corruption).__name__} has a sampler of its own, "
                f"'{corruption.plain_sampler()['kind']}'"
            )
        check_same_blocks(denoiser, corruption.block_size)
        filling = _LeftToRight(self.num_steps, corruption.block_size, sampling=self.sampling)
        return filling, TokenMasking(mask_id=corruption.mask_id)


@final
class _LeftToRight(MaskedSampler):
    """The choices of `BlockSampler`: single tokens, no block before those on its left are done."""

    def __init__(self, num_steps: int, block_size: int, *, sampling: Sampling) -> None:
        super().__init__(sampling=sampling)
        self.num_steps, self.block_size = num_steps, block_size

    def _reader(
        self, denoiser: FillsMasks, token_mask: Tensor | None = None, document_ids: Tensor | None = None
    ) -> Reader:
        if hasattr(denoiser, "cached_hidden") and document_ids is None:
            return _BlockReader(cast(BlockDenoiser, denoiser), token_mask)
        return super()._reader(denoiser, token_mask, document_ids)

    def begin(
        self, corruption: MaskedUnits, tokens: Tensor, is_masked: Tensor, generator: torch.Generator | None
    ) -> Chooser:
        units = corruption.units(Batch.of(tokens))
        block = blocks_of(tokens.shape[1], self.block_size, device=tokens.device)
        num_hidden = count_in_blocks(is_masked, self.block_size)  # (B, K)
        num_steps = steps_of_blocks(num_hidden, self.num_steps)
        first_step = num_steps.cumsum(1) - num_steps
        rank = ranks_in_blocks(is_masked, self.block_size, generator=generator)
        # Groups of nearly equal size, as in `reveal_step`, with a number of groups per block.
        group = torch.div(
            rank * num_steps[:, block], num_hidden.clamp(min=1)[:, block], rounding_mode="floor"
        )
        steps = first_step[:, block] + group

        def choose(view: View) -> Choice:
            return Choice(units, steps == view.step)

        return choose


@final
class _BlockReader(Reader):
    """Reads the first block with hidden tokens, and those before it that have been filled since."""

    denoiser: BlockDenoiser

    def __init__(self, denoiser: BlockDenoiser, token_mask: Tensor | None) -> None:
        super().__init__(denoiser, token_mask)
        self.cache: TrunkCache | None = None
        self.finished: Tensor | None = None  # blocks whose keys and values are kept, long (B,)

    def read(
        self, tokens: Tensor, is_masked: Tensor, active: Tensor, step: int, places: Tensor | None = None
    ) -> Tensor:
        block = blocks_of(tokens.shape[1], self.denoiser.block_size, device=tokens.device)
        current = block.expand_as(tokens).masked_fill(~is_masked, int(block[-1]) + 1).amin(1)  # (B,)
        finished = current if self.finished is None else self.finished
        anew = (block >= finished[:, None]) & (block <= current[:, None]) & active[:, None]
        hidden, self.cache = self.denoiser.cached_hidden(tokens, self.token_mask, self.cache, anew)
        self.finished = current
        return at(hidden, places)


def steps_of_blocks(num_hidden: Tensor, num_steps: int) -> Tensor:
    """Shares the T steps of a row out among its blocks.

    Every block with hidden tokens gets a first step, then a second one if it has a second token, and so
    on, from left to right, until all T are given: min(T, hidden tokens) in all.

    Args:
        num_hidden: Tokens to fill in each block, long (B, K).
        num_steps: Steps T of a row.

    Returns:
        Steps T_b of each block, at most its tokens to fill, long (B, K).

    Raises:
        DataError: If T is below the number of blocks that have hidden tokens.
    """
    most = int((num_hidden > 0).sum(1).max())
    if num_steps < most:
        raise DataError(
            f"{num_steps} steps for {most} blocks to fill, one after another; train with a larger "
            f"corruption.block_size, or give at least {most} steps:",
            f"--steps {most}",
        )
    turns = torch.arange(int(num_hidden.max()), device=num_hidden.device)
    has_turn = num_hidden[:, None, :] > turns[:, None]  # (B, turns, K)
    place = has_turn.flatten(1).cumsum(1).view_as(has_turn)
    return (has_turn & (place <= num_steps)).sum(1)
