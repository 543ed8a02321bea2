"""Gaussian: token embeddings are drowned in Gaussian noise instead of masked.

Dimensions: B batch, L tokens, E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.corrupted import Corrupted
from hdiff.corruption.row_noise import randn
from hdiff.corruption.speeds import Speeds
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.packed_spans import PackedSpans
from hdiff.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class GaussianCorrupted(Corrupted):
    """A batch and the noise that its embeddings are to be mixed with, each token at a level of its own.

    The noisy state is `noisy_embedding(e(x_0), noise, log_snr)`; the embedding e belongs to the denoiser, so
    `x_t` holds the clean tokens and must not be read in place of the noisy state. `is_masked` is
    `token_mask`: all tokens are predicted, each as a span of its own. `weight` is 1; how a prediction counts
    is in `hdiff/objectives/gaussian.py`.

    Attributes:
        noise: Standard normal noise of time t, float (B, L, E).
        log_snr: Log signal-to-noise ratio of each token at time t, float64 (B, L); the denoiser may read it.
        log_snr_rate: d log_snr / dt, <= 0, float64 (B, L).
        noise_at_zero: Independent standard normal noise for the state at t = 0, float (B, L, E).
        log_snr_ends: Log signal-to-noise ratio at t = 0 and at t = 1, the same for all tokens.
    """

    noise: Tensor
    log_snr: Tensor
    log_snr_rate: Tensor
    noise_at_zero: Tensor
    log_snr_ends: tuple[float, float]

    @property
    def signal(self) -> float:
        return float(self.log_snr.sigmoid().mean())

    def at_given(self, name: str) -> float:
        return self.log_snr_ends[0] if name == "log_snr" else 0.0


@final
class Gaussian(Corruption):
    """Mixes embeddings with noise, `z_t = alpha e(x_0) + sigma noise`, alpha^2 + sigma^2 = 1.

    The log signal-to-noise ratio `log(alpha^2 / sigma^2)` of token i falls from `log_snr_max` at t = 0 to
    `log_snr_min` at t = 1, in proportion to `p_mask(t)^k_i`: tokens of greater k drown later and surface
    earlier. The bound is `gaussian_nelbo`. Source: VDM, arXiv:2107.00630, with the embeddings of Plaid,
    arXiv:2305.18619; in place of their learned schedule a schedule warps time (the mean of the bound depends
    on its ends only), and each token has its own.

    Speeds that differ within a text are a function of x_0 and are told to the denoiser (as log_snr), so the
    bound is then one on -log p(x_0 | structure).

    Args:
        mask_id: Vocabulary size; no state holds a mask. None to have it set by the model.
        schedule: Warp of time, from p_mask(0) = 0 to p_mask(1) = 1.
        log_snr_max: Log signal-to-noise ratio at t = 0, at most 30.
        log_snr_min: Log signal-to-noise ratio at t = 1, below `log_snr_max`.
        embedding_width: Width E of the denoiser's embeddings.
        k: Speed of all tokens, or one number per salience bucket, least salient first.
        level: Level whose longer units have another speed; None for none.
        k_inside: Factor of the speed of tokens inside units of `level` that have several tokens.
    """

    network = "gaussian_denoiser"
    takes_joint_heads = False
    can_be_planned = False
    predicted = "every token, given noisy embeddings"

    def __init__(
        self,
        *,
        mask_id: int | None = None,
        schedule: Schedule | None = None,
        log_snr_max: float = 9.0,
        log_snr_min: float = -9.0,
        embedding_width: int = 16,
        k: float | Sequence[float] = 1.0,
        level: str | None = None,
        k_inside: float | None = None,
    ) -> None:
        super().__init__(mask_id=mask_id, schedule=schedule)
        # Above 30 the noise is smaller than the rounding of the float32 embedding that it is added to.
        if not -float("inf") < log_snr_min < log_snr_max <= 30:
            raise DataError(
                f"log_snr falls from {log_snr_max} to {log_snr_min}; give log_snr_min < log_snr_max <= 30 "
                f"(9 and -9 suit most texts)"
            )
        if embedding_width < 1:
            raise DataError(f"embedding_width is {embedding_width}; give at least 1 (16 suits most texts)")
        end = self.schedule.end
        if abs(end - 1) > 1e-12:
            raise DataError(
                f"the schedule ends at p_mask(1) = {end:g}, so the last state is not at log_snr_min; use a "
                f"schedule that ends at 1 (linear, or eps: 0)"
            )
        self.speeds = Speeds.of(k, level=level, k_inside=k_inside)
        self.log_snr_max, self.log_snr_min = float(log_snr_max), float(log_snr_min)
        self.clean_level = self.log_snr_max
        self.embedding_width = embedding_width

    @property
    def conditional_on_structure(self) -> bool:
        return self.speeds.differ

    def required_levels(self) -> tuple[str, ...]:
        return self.speeds.required_levels

    def network_options(self, vocab_size: int) -> dict[str, Any]:
        return {"embedding_width": self.embedding_width}

    def plain_sampler(self, num_steps: int | None = None) -> dict[str, Any]:
        return {"kind": "gaussian"}

    @property
    def about_states(self) -> str:
        return (
            "Gaussian noise is added to the vectors of the tokens: none is hidden or replaced, and there are "
            "no units. What fades is the share of the signal that is left, alpha² in the mean over tokens."
        )

    def most_steps(self, length: int) -> None:
        return None

    def unconditional(self) -> Gaussian:
        return self.changed(speeds=Speeds.of(1.0))

    def log_snr(self, t: Tensor, speed: Tensor) -> tuple[Tensor, Tensor]:
        """Log signal-to-noise ratio at time t, and its time derivative.

        Args:
            t: Times in (0, 1], any float, broadcast against `speed`.
            speed: k > 0, float64.

        Returns:
            log_snr: `log_snr_max + (log_snr_min - log_snr_max) p_mask(t)^k`, float64.
            rate: Its derivative, <= 0, float64.
        """
        t = t.to(torch.float64)
        base = self.schedule.p_mask(t)
        fall = self.log_snr_min - self.log_snr_max
        rate = fall * speed * base ** (speed - 1) * self.schedule.derivative(t)
        return self.log_snr_max + fall * base**speed, rate

    def corrupt(
        self, batch: Batch, t: Tensor, *, generator: torch.Generator | None = None
    ) -> GaussianCorrupted:
        self.check(batch, t)
        tokens = batch.input_ids
        log_snr, rate = self.log_snr(t[:, None], self.speeds.per_token(batch))
        shape = (*tokens.shape, self.embedding_width)
        spans = PackedSpans.from_units(batch.units("token"), batch.token_mask)
        return GaussianCorrupted(
            x_t=tokens,
            x_0=tokens,
            token_mask=batch.token_mask,
            is_masked=batch.token_mask,
            spans=spans,
            weight=torch.ones(spans.num_spans, device=tokens.device),
            conditional_on_structure=self.conditional_on_structure,
            noise=randn(shape, generator=generator, device=tokens.device),
            log_snr=log_snr,
            log_snr_rate=rate,
            noise_at_zero=randn(shape, generator=generator, device=tokens.device),
            log_snr_ends=(self.log_snr_max, self.log_snr_min),
        )


def noisy_embedding(embedding: Tensor, noise: Tensor, log_snr: Tensor) -> Tensor:
    """`z = alpha e + sigma noise` with alpha^2 = sigmoid(log_snr) and sigma^2 = 1 - alpha^2.

    Args:
        embedding: Clean embeddings e, float (..., E).
        noise: Standard normal noise, float (..., E).
        log_snr: Log signal-to-noise ratio of each token, float (...).

    Returns:
        Noisy embeddings in the type of `embedding`, float (..., E).
    """
    level = log_snr.to(torch.float64)[..., None]
    alpha, sigma = level.sigmoid().sqrt(), (-level).sigmoid().sqrt()
    return alpha.to(embedding.dtype) * embedding + sigma.to(embedding.dtype) * noise.to(embedding.dtype)
