"""AncestralSampler: units in random order, the same number of units in each of T steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, final, get_args

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.masked_units import MaskedUnits
from hdiff.corruption.span_masking import SpanMasking
from hdiff.corruption.token_masking import TokenMasking
from hdiff.corruption.unit_masking import random_ranks
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.reveal_order import check_num_steps, reveal_step
from hdiff.samplers.base import HasHead
from hdiff.samplers.choice import Choice, View
from hdiff.samplers.filling import Chooser, MaskedSampler
from hdiff.samplers.selection import cut, spaced

Order = Literal["random", "spaced", "left_to_right", "longest_first"]
ORDERS: tuple[Order, ...] = get_args(Order)

LONGEST_FIRST = (
    "Coarse to fine: long units are filled first, shorter ones in the gaps between them. Where units begin "
    "and end was drawn before any word was written, so a unit as long as a phrase need not be one."
)
"""What pages say of that order."""


@final
class AncestralSampler(MaskedSampler):
    """Reverse of masking with exact counts; its likelihood bound is `t_step_corrupted` at the same T.

    Step k fills group k of a random order; the units of a group are drawn independently of each
    other given what is visible, the tokens of a unit jointly by the head. As it is (`Sampling()`) it draws
    from exactly the distribution that the T-step bound scores.

    Args:
        num_steps: Steps T; more steps than units are not used.
        order: `random`; `spaced`: what is filled in one step lies as far apart as it can; `left_to_right`;
            `longest_first`: coarse to fine, units of one length from left to right.
        lengths: Random spans of these lengths (tokens -> weight) in place of the corruption's units; a joint
            head fills long spans in few steps.
        sampling: Temperature and truncation of every draw.
        refresh: Every how many steps the trunk reads all tokens; see `MaskedSampler`.
    """

    def __init__(
        self,
        num_steps: int,
        *,
        order: Order = "random",
        lengths: Mapping[int, float] | None = None,
        sampling: Sampling = AS_IT_IS,
        refresh: int = 1,
    ) -> None:
        super().__init__(sampling=sampling, refresh=refresh)
        self.num_steps = check_num_steps(num_steps)
        if order not in ORDERS:
            raise DataError(f"order is '{order}'; use one of: {', '.join(ORDERS)}")
        self.order = order
        if order == "longest_first":
            self.process = LONGEST_FIRST
        self.spans = None if lengths is None else SpanMasking(segmentation="random", lengths=lengths)

    def is_exact(self, denoiser: HasHead, corruption: Corruption) -> bool:
        has_tokens = self.spans is None and isinstance(corruption.masked_units(), TokenMasking)
        return self.has_bound and self.order == "left_to_right" and has_tokens

    def t_step_units(self, corruption: Corruption) -> MaskedUnits | None:
        units = corruption.masked_units()
        is_plain = self.has_bound and self.refresh == 1 and self.order == "random"
        return self.units_of(units) if is_plain and units is not None else None

    def units_of(self, corruption: MaskedUnits) -> MaskedUnits:
        """The corruption whose units are filled: the given one, or random spans of `lengths`."""
        if self.spans is None:
            return corruption
        return SpanMasking(segmentation="random", lengths=self.spans.lengths, mask_id=corruption.mask_id)

    def begin(
        self, corruption: MaskedUnits, tokens: Tensor, is_masked: Tensor, generator: torch.Generator | None
    ) -> Chooser:
        units = cut(self.units_of(corruption).units(Batch.of(tokens), generator=generator), is_masked)
        rank, num_units = random_ranks(units, torch.ones_like(is_masked), generator=generator)
        if self.order == "spaced":
            start = torch.rand(len(units), 1, generator=generator, device=units.device)
            slots = torch.arange(units.shape[1], device=units.device)
            # Slots beyond the last unit come last.
            keys = spaced(slots, start) + 2.0 * (slots >= num_units[:, None])
            rank = keys.argsort(1).argsort(1).gather(1, units)
        if self.order == "left_to_right":
            rank = units
        if self.order == "longest_first":
            places = torch.arange(units.shape[1], device=units.device)
            lengths = torch.zeros_like(units).scatter_add(1, units, torch.ones_like(units))
            keys = places - len(places) * lengths  # slots beyond the last unit have no length and come last
            rank = keys.argsort(1).argsort(1).gather(1, units)
        if not bool(is_masked.all()):
            rank, num_units = _among_masked(rank, units, is_masked)
        steps = reveal_step(rank, num_units, self.num_steps)

        def choose(view: View) -> Choice:
            return Choice(units, steps == view.step, rank)

        return choose


def _among_masked(rank: Tensor, units: Tensor, is_masked: Tensor) -> tuple[Tensor, Tensor]:
    """Ranks counted among hidden units only, and how many there are in each row."""
    length = units.shape[1]
    # A slot per rank: 1 where the unit of that rank is hidden.
    hidden = torch.zeros_like(rank).scatter(1, rank, is_masked.long())
    before = hidden.cumsum(1) - hidden
    num_units = hidden.sum(1)
    counted = before.gather(1, rank)
    return torch.where(is_masked, counted, length), num_units
