"""Cascade: streams of types and tokens, each masked before the stream above it.

Dimensions: B batch, L tokens, R type streams, N units of all streams of a row.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from hdiff.corruption.arguments import Count, check_count
from hdiff.corruption.base import Corruption
from hdiff.corruption.corrupted import Corrupted, TypeTerm
from hdiff.corruption.hiding_times import HidingTimes
from hdiff.corruption.row_noise import rand
from hdiff.corruption.unit_masking import exact_count
from hdiff.data.batch import Batch
from hdiff.packed_spans import PackedSpans
from hdiff.schedules import Schedule


@dataclass(frozen=True)
class Stream:
    """One sequence of values, one value per token position.

    Attributes:
        units: Unit of every position, long (B, L): 0, 0, 1 ...; a unit is masked as a whole.
        k: Masking speed of every position's unit, > 0, float64 (B, L), equal within a unit.
        types: Type at every position, long (B, L); None for the stream of the tokens.
        needs_border: Whether a unit exists only once the value of the stream above at the position after
            it is visible too (units that the stream above segments).
    """

    units: Tensor
    k: Tensor
    types: Tensor | None = None
    needs_border: bool = False


class Cascade(Corruption):
    """Every unit draws `T = T_parent * U^(1/k)`; subclasses answer what the streams are.

    A unit's parent time is the smallest time of the stream above at its positions, so a unit is masked
    before what it depends on, and revealed after it. Given everything visible at time t, a masked unit
    whose parent is visible has reverse hazard k / t whatever T_parent was; so the process is Markov and
    the bound on -log p(x_0, types) is `E_t sum_{ready units} (k / t) (-log p(unit | state))`.
    Source: docs/concepts.md, "tree cascade".

    With `count="exact"` we use the chain of states without its times: from n masked units the next one to
    be revealed is unit u with probability k_u / K, K the sum over the ready units. The weight of u is
    k_u / (K q(n)), q(n) the probability of n under t ~ U(0, 1]; no 1 / t is left.

    Args:
        mask_id: See `Corruption`.
        schedule: See `Corruption`.
        count: `exact`, or `bernoulli` (each unit by its own time).
    """

    is_cascade = True
    predicted = "hidden tokens whose types are visible, given all that is visible"

    def __init__(
        self, *, mask_id: int | None = None, schedule: Schedule | None = None, count: Count = "exact"
    ) -> None:
        super().__init__(mask_id=mask_id, schedule=schedule)
        self.count = check_count(count, schedule)

    @abstractmethod
    def streams(self, batch: Batch) -> Sequence[Stream]:
        """The streams in the order of generation, types numbered as in `type_sizes`; one has the tokens."""

    def plain_sampler(self, num_steps: int | None = None) -> dict[str, Any]:
        has_steps = num_steps is None or num_steps > len(self.type_sizes)  # every stream needs one
        return {"kind": "coarse_to_fine" if has_steps else "chain"}

    def fewest_steps(self, length: int) -> int:
        return len(self.type_sizes) + 1  # one for every stream

    @property
    def conditional_on_structure(self) -> bool:
        """False: types are generated, and paid for."""
        return False

    @final
    def log_times(
        self, batch: Batch, streams: Sequence[Stream], *, generator: torch.Generator | None = None
    ) -> list[Tensor]:
        """Draws log T of every unit: for each stream per position, <= 0, float64 (B, L)."""
        times: list[Tensor] = []
        shape, device = batch.input_ids.shape, batch.input_ids.device
        for stream in streams:
            u = rand(shape, generator=generator, device=device, dtype=torch.float64)
            speed = torch.ones_like(u).scatter(1, stream.units, stream.k)
            parent = torch.zeros_like(u)
            if times:
                above = times[-1]
                if stream.needs_border:
                    above = _with_next(above, batch.token_mask).amin(-1)
                parent = parent.scatter_reduce(1, stream.units, above, "amin")
            times.append((parent + u.log() / speed).gather(1, stream.units))
        return times

    def hiding_times(self, batch: Batch, *, generator: torch.Generator | None = None) -> HidingTimes:
        batch.check(structure=self.problems)
        streams = self.streams(batch)
        log_times = self.log_times(batch, streams, generator=generator)
        drawn = [self.schedule.time(log_t.exp()) for log_t in log_times]
        tokens = drawn.pop([stream.types is None for stream in streams].index(True))
        return HidingTimes(tokens, tuple(drawn))

    @final
    def corrupt(self, batch: Batch, t: Tensor, *, generator: torch.Generator | None = None) -> Corrupted:
        mask_id = self.check(batch, t)
        streams = self.streams(batch)
        times = self.log_times(batch, streams, generator=generator)
        units = [stream.units for stream in streams]
        hidden, scale = hide(times, units, batch.token_mask, t, schedule=self.schedule, count=self.count)
        ready = self._ready(batch, streams, hidden)
        weights = [is_ready * stream.k for is_ready, stream in zip(ready, streams, strict=True)]
        if self.count == "exact":
            firsts = [is_first(stream.units) for stream in streams]
            total = torch.stack([(w * f).sum(1) for w, f in zip(weights, firsts, strict=True)]).sum(0)
            scale = scale / total
        terms: list[TypeTerm] = []
        nothing = torch.zeros_like(batch.token_mask)
        tokens, *packed = PackedSpans.of_streams([(units[0], nothing), *zip(units, ready, strict=True)])
        token_weight = scale.new_zeros(0)
        types_t = []
        is_masked = hidden[0]
        for stream, is_hidden, spans, weight in zip(streams, hidden, packed, weights, strict=True):
            first = spans.token_index[spans.first]
            span_weight = (weight * scale[:, None]).flatten()[first].to(torch.get_default_dtype())
            if stream.types is None:
                tokens, token_weight, is_masked = spans, span_weight, is_hidden
            else:
                number = len(terms)
                terms.append(TypeTerm(number, spans, stream.types, span_weight))
                shown = stream.types.masked_fill(is_hidden | ~batch.token_mask, self.type_sizes[number])
                types_t.append(shown)
        return Corrupted(
            x_t=batch.input_ids.masked_fill(is_masked, mask_id),
            x_0=batch.input_ids,
            token_mask=batch.token_mask,
            is_masked=is_masked,
            spans=tokens,
            weight=token_weight,
            conditional_on_structure=self.conditional_on_structure,
            types_t=torch.stack(types_t, -1) if types_t else None,
            type_terms=tuple(terms),
        )

    def _ready(self, batch: Batch, streams: Sequence[Stream], hidden: Sequence[Tensor]) -> list[Tensor]:
        """Hidden units of which everything they depend on is visible, bool (B, L) per stream."""
        ready = []
        for number, (stream, is_hidden) in enumerate(zip(streams, hidden, strict=True)):
            if number == 0:
                ready.append(is_hidden)
                continue
            above = hidden[number - 1].double()
            if stream.needs_border:
                above = _with_next(above, batch.token_mask).amax(-1)
            blocked = torch.zeros_like(above).scatter_reduce(1, stream.units, above, "amax")
            ready.append(is_hidden & (blocked.gather(1, stream.units) == 0))
        return ready


def hide(
    log_times: Sequence[Tensor],
    units: Sequence[Tensor],
    token_mask: Tensor,
    t: Tensor,
    *,
    schedule: Schedule,
    count: Count,
) -> tuple[list[Tensor], Tensor]:
    """What is hidden at time t, by the times of all units of a row together.

    Args:
        log_times: log T of every position's unit, float64 (B, L) per stream.
        units: Units, long (B, L) per stream.
        token_mask: Real tokens, bool (B, L).
        t: Times in (0, 1], float (B,).
        schedule: Schedule of masking times.
        count: `exact` hides the n units of smallest times, `bernoulli` those with T <= p_mask(t).

    Returns:
        hidden: bool (B, L) per stream.
        scale: Factor of the row's weights, float64 (B,): of k_u / K for exact counts, otherwise of k_u.
    """
    if count == "bernoulli":
        border = schedule.p_mask(t.double()).log()[:, None]
        return [(log_t <= border) & token_mask for log_t in log_times], schedule.reverse_hazard(t.double())
    # One slot per unit: the position of its first token; all other positions never count.
    slots = [
        log_t.masked_fill(~(is_first(ids) & token_mask), torch.inf)
        for ids, log_t in zip(units, log_times, strict=True)
    ]
    every = torch.cat(slots, 1)  # (B, streams * L)
    num_masked, weight = exact_count(schedule, t, every.isfinite().sum(1))
    last = every.sort(1).values.gather(1, (num_masked - 1)[:, None])  # the largest time that is masked
    return [(log_t <= last) & token_mask for log_t in log_times], weight.double() * num_masked


def is_first(units: Tensor) -> Tensor:
    """Whether a position is the first of its unit, bool (B, L)."""
    first = torch.ones_like(units, dtype=torch.bool)
    first[:, 1:] = units[:, 1:] != units[:, :-1]
    return first


def _with_next(values: Tensor, token_mask: Tensor) -> Tensor:
    """A position's value and that of the next real token, 0 where there is none, (B, L, 2)."""
    following = torch.zeros_like(values)
    following[:, :-1] = values[:, 1:].masked_fill(~token_mask[:, 1:], 0.0)
    return torch.stack([values, following], -1)
