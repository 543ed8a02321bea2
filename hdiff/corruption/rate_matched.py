"""RateMatched: salience and level set only the masking speed; the state holds tokens alone.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

import torch
from torch import Tensor

from hdiff.corruption.arguments import Count, check_count
from hdiff.corruption.base import Corruption
from hdiff.corruption.corrupted import Corrupted
from hdiff.corruption.hidden_speeds import hide_at_speeds
from hdiff.corruption.hiding_times import HidingTimes
from hdiff.corruption.row_noise import rand
from hdiff.corruption.speeds import Speeds
from hdiff.corruption.token_masking import TokenMasking
from hdiff.corruption.visible_streams import VisibleStream, single_stream
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.schedules import Schedule

Order = Literal["keyword_first", "keyword_last", "uniform"]


@final
class RateMatched(Corruption):
    """Token i is masked at `T_i = U^(1 / k_i)`: a token of greater k is masked later and generated earlier.

    The speeds are a function of x_0 and not shown, so the model predicts them too, and the bound has a rate
    term; without it the number would be no bound (docs/concepts.md, "hidden speeds"). With
    `data.lexical_salience` a speed is a function of the token id (as GenMD4, arXiv:2406.04329, learns them),
    otherwise of the token in its context.

    Args:
        order: `keyword_first` generates salient tokens early, `keyword_last` late, `uniform` any.
        ratio: Speed of the fastest bucket over that of the slowest, >= 1; buckets between are spaced evenly
            in log k.
        num_buckets: Salience buckets of the data set (`data.salience_buckets`).
        k: Speeds of the buckets, least salient first, instead of `order` and `ratio`.
        level: Level whose longer units have another speed; None for none.
        k_inside: Factor of the speed of tokens inside units of `level` that have several tokens.
        mask_id: See `Corruption`.
        schedule: See `Corruption`.
        count: `exact` (the chain of states without its times) or `bernoulli` (each token by its own time).
    """

    def __init__(
        self,
        *,
        order: Order = "keyword_first",
        ratio: float = 4.0,
        num_buckets: int = 4,
        k: Sequence[float] | None = None,
        level: str | None = None,
        k_inside: float | None = None,
        mask_id: int | None = None,
        schedule: Schedule | None = None,
        count: Count = "exact",
    ) -> None:
        super().__init__(mask_id=mask_id, schedule=schedule)
        if order not in ("keyword_first", "keyword_last", "uniform"):
            raise DataError(f"order is '{order}'; use 'keyword_first', 'keyword_last' or 'uniform'")
        if not 1 <= ratio < float("inf"):
            raise DataError(f"ratio is {ratio}; it is a number >= 1, direction is what 'order' says")
        if num_buckets < 1:
            raise DataError(f"num_buckets is {num_buckets}; give data.salience_buckets, at least 1")
        self.count = check_count(count, schedule)
        if k is None:
            steps = [bucket / max(1, num_buckets - 1) - 0.5 for bucket in range(num_buckets)]
            sign = {"keyword_first": 1.0, "keyword_last": -1.0, "uniform": 0.0}[order]
            k = [ratio ** (sign * step) for step in steps]
        self.speeds = Speeds.of(k, level=level, k_inside=k_inside)

    @property
    def conditional_on_structure(self) -> bool:
        return False

    @property
    def predicts_speed(self) -> bool:
        return True

    def token_speeds(self, batch: Batch) -> Tensor:
        return self.speeds.per_token(batch)

    def masked_units(self) -> TokenMasking:
        return TokenMasking(mask_id=self.mask_id)  # its denoiser fills tokens in any order

    def visible_streams(self, is_masked: Tensor, types_t: Tensor) -> list[VisibleStream]:
        return [single_stream(is_masked, 1.0, None)]  # the model predicts the speeds

    def required_levels(self) -> tuple[str, ...]:
        return self.speeds.required_levels

    def unconditional(self) -> RateMatched:
        return self

    def log_times(self, batch: Batch, *, generator: torch.Generator | None = None) -> Tensor:
        """Draws log T of every token, <= 0, float64 (B, L)."""
        shape, device = batch.input_ids.shape, batch.input_ids.device
        u = rand(shape, generator=generator, device=device, dtype=torch.float64)
        return u.log() / self.speeds.per_token(batch)

    def hiding_times(self, batch: Batch, *, generator: torch.Generator | None = None) -> HidingTimes:
        return HidingTimes(self.schedule.time(self.log_times(batch, generator=generator).exp()))

    def corrupt(self, batch: Batch, t: Tensor, *, generator: torch.Generator | None = None) -> Corrupted:
        mask_id = self.check(batch, t)
        speed = self.speeds.per_token(batch)
        log_t = self.log_times(batch, generator=generator)
        return hide_at_speeds(
            batch, t, log_t=log_t, speed=speed, mask_id=mask_id, schedule=self.schedule, count=self.count
        )
