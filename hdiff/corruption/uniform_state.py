"""UniformState: tokens are replaced by random tokens instead of masks.

Dimensions: B batch, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.corrupted import Corrupted
from hdiff.corruption.hiding_times import HidingTimes
from hdiff.corruption.row_noise import rand, randint
from hdiff.corruption.speeds import Speeds
from hdiff.data.batch import Batch
from hdiff.packed_spans import PackedSpans
from hdiff.schedules import PolynomialSchedule, Schedule


@dataclass(frozen=True, kw_only=True)
class UniformCorrupted(Corrupted):
    """A batch whose tokens were drawn anew, each with a probability of its own.

    `is_masked` is `token_mask`: nothing in x_t tells which tokens were replaced, so all are predicted, each
    as a span of its own. `weight` is 1; how a prediction counts is in `hdiff/objectives/uniform_state.py`.

    Attributes:
        p: Probability that a token was drawn anew, in [0, 1], float64 (B, L); the denoiser may read it.
        dp: dp / dt, float64 (B, L).
        p_at_one: p at t = 1, float64 (B, L); below 1 the last state still shows some of x_0.
        vocab_size: Number of tokens V that replacements are drawn from.
    """

    p: Tensor
    dp: Tensor
    p_at_one: Tensor
    vocab_size: int


@final
class UniformState(Corruption):
    """Each token is replaced, uniformly from the vocabulary, with probability `p_i(t) = p_mask(t)^k_i`.

    A new token may be the old one, so x_t never shows which tokens are still clean, and a sampler can correct
    what it has already written. Tokens of greater k are replaced later and settle earlier. The bound is
    `uniform_state_nelbo`. Source: D3PM with uniform transitions, arXiv:2107.03006; in continuous time UDLM,
    arXiv:2412.10193, and Duo, arXiv:2506.10892; we store p = 1 - alpha and give each token its own.

    Speeds that differ within a text are a function of x_0 and are told to the denoiser (as p), so the bound
    is then one on -log p(x_0 | structure).

    Args:
        mask_id: Vocabulary size V; x_t holds tokens 0..V-1 and no mask. None to have it set by the model.
        schedule: Schedule of the probability that a token with k = 1 has been replaced; None: `polynomial`
            with k = 2.5, whose bound is that of the linear one, with less noise.
        k: Speed of all tokens, or one number per salience bucket, least salient first.
        level: Level whose longer units have another speed; None for none.
        k_inside: Factor of the speed of tokens inside units of `level` that have several tokens.
    """

    network = "uniform_denoiser"
    takes_joint_heads = False
    can_be_planned = False
    predicted = "every token, given a text in which some were replaced"

    def __init__(
        self,
        *,
        mask_id: int | None = None,
        schedule: Schedule | None = None,
        k: float | Sequence[float] = 1.0,
        level: str | None = None,
        k_inside: float | None = None,
    ) -> None:
        super().__init__(mask_id=mask_id, schedule=schedule or PolynomialSchedule(k=2.5))
        self.speeds = Speeds.of(k, level=level, k_inside=k_inside)

    @property
    def conditional_on_structure(self) -> bool:
        return self.speeds.differ

    def required_levels(self) -> tuple[str, ...]:
        return self.speeds.required_levels

    def unconditional(self) -> UniformState:
        return self.changed(speeds=Speeds.of(1.0))

    def network_options(self, vocab_size: int) -> dict[str, Any]:
        return {}

    def plain_sampler(self, num_steps: int | None = None) -> dict[str, Any]:
        return {"kind": "replacement"}

    def most_steps(self, length: int) -> None:
        return None

    def hiding_times(self, batch: Batch, *, generator: torch.Generator | None = None) -> HidingTimes:
        speed = self.speeds.per_token(batch)
        u = rand(speed.shape, generator=generator, device=speed.device, dtype=torch.float64)
        return HidingTimes(self.schedule.time(u ** (1 / speed)), is_replaced=True)

    def replacement(self, t: Tensor, speed: Tensor) -> tuple[Tensor, Tensor]:
        """Probability of having been replaced by time t, and its time derivative.

        Args:
            t: Times in [0, 1], any float, broadcast against `speed`.
            speed: k > 0, float64.

        Returns:
            p: `p_mask(t)^k` in [0, 1], float64.
            dp: `k p_mask(t)^(k - 1) p_mask'(t)`, float64; infinite at t = 0 if k < 1.
        """
        t = t.to(torch.float64)
        base = self.schedule.p_mask(t)
        return base**speed, speed * base ** (speed - 1) * self.schedule.derivative(t)

    def corrupt(
        self, batch: Batch, t: Tensor, *, generator: torch.Generator | None = None
    ) -> UniformCorrupted:
        vocab_size = self.check(batch, t)
        tokens = batch.input_ids
        speed = self.speeds.per_token(batch)
        p, dp = self.replacement(t[:, None], speed)
        p_at_one, _ = self.replacement(torch.ones_like(t)[:, None], speed)
        u = rand(tokens.shape, generator=generator, device=tokens.device, dtype=torch.float64)
        new = randint(vocab_size, tokens.shape, generator=generator, device=tokens.device)
        spans = PackedSpans.from_units(batch.units("token"), batch.token_mask)
        return UniformCorrupted(
            x_t=torch.where((u < p) & batch.token_mask, new, tokens),
            x_0=tokens,
            token_mask=batch.token_mask,
            is_masked=batch.token_mask,
            spans=spans,
            weight=torch.ones(spans.num_spans, device=tokens.device),
            conditional_on_structure=self.conditional_on_structure,
            p=p,
            dp=dp,
            p_at_one=p_at_one,
            vocab_size=vocab_size,
        )
