"""UnitMasking: whole units are masked, all at the same speed.

Dimensions: B batch, L tokens, S spans, N units of a row.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, final

import torch
from torch import Tensor

from hdiff.corruption.arguments import Count, check_count
from hdiff.corruption.base import Corruption
from hdiff.corruption.corrupted import Corrupted
from hdiff.corruption.hiding_times import HidingTimes
from hdiff.corruption.row_noise import rand
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.packed_spans import PackedSpans
from hdiff.schedules import Schedule


class UnitMasking(Corruption):
    """Masks whole units; subclasses answer one question: what are the units?

    All units of a row are exchangeable: each draws its masking time from the same schedule. The
    bound is `E_t sum_{S masked} (p_mask'(t) / p_mask(t)) (-log p(x_S | x_t))`.
    Source: arXiv:2406.07524, eq. 10, with spans in place of tokens (docs/concepts.md).

    With `count="exact"` the number of masked units is n = ceil(p_mask(t) N) and the weight is
    1 / (n q(n)), q(n) being the probability of n under t ~ U(0, 1]; for the linear schedule that
    is N / n. It is the same bound with far less noise (docs/concepts.md, "exact counts").

    Args:
        mask_id: Id that stands for a hidden token; the vocabulary size by convention, or None to
            have it set by the model that is trained.
        schedule: Schedule of masking times.
        count: `exact` or `bernoulli` (each unit on its own).
    """

    def __init__(
        self, *, mask_id: int | None = None, schedule: Schedule | None = None, count: Count = "exact"
    ) -> None:
        super().__init__(mask_id=mask_id, schedule=schedule)
        self.count = check_count(count, schedule)

    keeps_documents_apart = True
    draws_order = True

    def masked_units(self) -> UnitMasking:
        return self

    def plain_sampler(self, num_steps: int | None = None) -> dict[str, Any]:
        return {"kind": "ancestral"}

    def fewest_steps(self, length: int) -> int:
        return 1

    @abstractmethod
    def units(self, batch: Batch, *, generator: torch.Generator | None = None) -> Tensor:
        """Units, long (B, L): 0, 0, 1, 2, 2 ...; none holds both real tokens and padding."""

    def flagged_units(
        self, batch: Batch, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The units of every row, and of which kind they are.

        Args:
            batch: The clean batch.
            generator: Source of randomness for random segmentations.

        Returns:
            Units as `units` gives them; and for each row the number of its level in `flag_levels`, from 1,
            or 0 for random units, long (B, 1); None if the state does not tell them.
        """
        return self.units(batch, generator=generator), None

    @final
    def masking_times(self, batch: Batch, *, generator: torch.Generator | None = None) -> Tensor:
        """Times in [0, 1], float (B, L), at which tokens become masked: one per unit, 1 at padding."""
        units = self.units(batch, generator=generator)
        u = _rand_like(units, generator)
        times = self.schedule.time(u).gather(1, units)
        return torch.where(batch.token_mask, times, torch.ones_like(times))

    def hiding_times(self, batch: Batch, *, generator: torch.Generator | None = None) -> HidingTimes:
        return HidingTimes(self.masking_times(batch, generator=generator))

    @final
    def corrupt(self, batch: Batch, t: Tensor, *, generator: torch.Generator | None = None) -> Corrupted:
        mask_id = self.check(batch, t)
        units, kind = self.flagged_units(batch, generator=generator)
        if self.count == "exact":
            rank, num_units = random_ranks(units, batch.token_mask, generator=generator)
            num_masked, row_weight = exact_count(self.schedule, t, num_units)
            is_masked = (rank < num_masked[:, None]) & batch.token_mask
        else:
            u = _rand_like(units, generator)
            rank = u.argsort(1).argsort(1).gather(1, units)
            is_masked = (u.gather(1, units) < self.schedule.p_mask(t)[:, None]) & batch.token_mask
            row_weight = self.schedule.reverse_hazard(t)
        spans = PackedSpans.from_units(units, is_masked)
        return Corrupted(
            x_t=batch.input_ids.masked_fill(is_masked, mask_id),
            x_0=batch.input_ids,
            token_mask=batch.token_mask,
            is_masked=is_masked,
            spans=spans,
            weight=row_weight[spans.row],
            conditional_on_structure=self.conditional_on_structure,
            document_ids=batch.document_ids,
            flags=None if kind is None else kind * is_masked,
            order=units.shape[1] - 1 - rank,  # what is masked first is revealed last
        )


def _rand_like(units: Tensor, generator: torch.Generator | None) -> Tensor:
    return rand(units.shape, generator=generator, device=units.device)


def random_ranks(
    units: Tensor, token_mask: Tensor, *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A uniformly random order of the units of each row.

    Args:
        units: Unit ids, long (B, L).
        token_mask: True at real tokens, bool (B, L).
        generator: Source of randomness.

    Returns:
        rank: Place of each token's unit in the order, 0..N-1, long (B, L); >= N at padding.
        num_units: Units of real tokens in each row, long (B,).
    """
    num_units = torch.where(token_mask, units, -1).max(1).values + 1  # (B,)
    keys = rand(units.shape, generator=generator, device=units.device, dtype=torch.float64)
    slots = torch.arange(units.shape[1], device=units.device)
    keys = keys.masked_fill(slots[None, :] >= num_units[:, None], 2.0)  # padding units come last
    rank = keys.argsort(1).argsort(1)  # (B, L): rank of unit slot
    return rank.gather(1, units), num_units


def exact_count(schedule: Schedule, t: Tensor, num_units: Tensor) -> tuple[Tensor, Tensor]:
    """Number of units to mask at time t, and the weight that makes the count unbiased.

    With n = ceil(p_mask(t) N) and t ~ U(0, 1], n has probability
    q(n) = time(n / N) - time((n - 1) / N); the bound is sum_{n=1..N} E[mean over the n masked units
    of -log p], so a span weighs 1 / (n q(n)).

    Args:
        schedule: Schedule of masking times.
        t: Times in (0, 1], float (B,).
        num_units: Units per row N, long (B,).

    Returns:
        num_masked: n in 1..N, long (B,).
        weight: 1 / (n q(n)), float (B,).

    Raises:
        DataError: If the schedule ends before every unit is masked.
    """
    total = num_units.to(torch.float64)
    p = schedule.p_mask(t.to(torch.float64))
    n = torch.ceil(p * total - 1e-9).clamp(min=1.0).minimum(total)
    q = schedule.time(n / total) - schedule.time((n - 1) / total)
    end = schedule.end
    if end < 1 and bool(((total - 1) / total >= end).any()):
        raise DataError(
            f"the schedule ends at p_mask(1) = {end:g}, so the last of {int(total.max())} units of a row are "
            f"never masked; set its eps below {1 / float(total.max()):.1g}, or use the linear schedule"
        )
    return n.long(), (1 / (n * q)).to(torch.get_default_dtype())
