"""GaussianSampler: from Gaussian noise to text, all tokens refined in every step.

Dimensions: B samples, L tokens, E embedding width, V vocabulary.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol, final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.gaussian import Gaussian
from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.models.gaussian_denoiser import expected_embedding, token_log_likelihood
from hdiff.models.wrapped import unwrapped
from hdiff.reveal_order import check_num_steps
from hdiff.samplers.base import OnStep, UnscoredSampler, check_free_rows, check_temperature_only
from hdiff.samplers.samples import Samples, each_token_alone


class PredictsTokens(Protocol):
    """What the sampler asks of a denoiser; `GaussianDenoiser` is one."""

    def table(self) -> Tensor:
        """Embeddings that are noised, float (V, E)."""

    def log_probs(self, z_t: Tensor, log_snr: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """log p(x_0_i = v | z_t), float (B, L, V), from float (B, L, E) and the levels, float64 (B, L)."""


def reverse_step(z_t: Tensor, x_hat: Tensor, log_snr_t: float, log_snr_s: float) -> tuple[Tensor, float]:
    """Mean and standard deviation of q(z_s | z_t, x_0) with the prediction for e(x_0), s < t.

    With c = 1 - SNR_t / SNR_s the mean is `alpha_s [(1 - c) z_t / alpha_t + c x_hat]` and the variance
    `c sigma_s^2`. Source: VDM, arXiv:2107.00630, ancestral sampling.

    Args:
        z_t: Noisy embeddings at time t, float (..., E).
        x_hat: Predicted clean embeddings, float (..., E).
        log_snr_t: Log signal-to-noise ratio at time t.
        log_snr_s: The same at time s, >= log_snr_t.

    Returns:
        mean: float (..., E).
        deviation: The same for all coordinates, >= 0.
    """
    levels = torch.tensor([log_snr_t, log_snr_s], dtype=torch.float64)
    alpha_t, alpha_s = levels.sigmoid().sqrt().tolist()
    c = float(-torch.expm1(levels[0] - levels[1]))
    variance = c * float(torch.sigmoid(-levels[1]))
    return alpha_s * ((1 - c) / alpha_t * z_t + c * x_hat), variance**0.5


@final
class GaussianSampler(UnscoredSampler):
    """T ancestral steps over equal intervals of time, from z_1 ~ N(0, I); each step refines all tokens.

    The last state z_0 is read out by p(x_0 | z_0), as in the bound. With the exact posterior mean the law of
    the samples approaches that of the text as T grows. Source: VDM, arXiv:2107.00630.

    Args:
        num_steps: Steps T.
        sampling: A temperature, which divides the predicted log-probabilities of every step.
    """

    bans = False
    why_no_score = "GaussianSampler has no likelihood bound; the bound of its model is `evaluate_bound`"

    def __init__(self, num_steps: int, *, sampling: Sampling = AS_IT_IS) -> None:
        super().__init__(sampling=sampling)
        self.num_steps = check_num_steps(num_steps)

    def check_sampling(self, sampling: Sampling) -> Sampling:
        return check_temperature_only(sampling, "noisy embeddings")

    @torch.no_grad()
    def sample(
        self,
        denoiser: PredictsTokens,
        corruption: Corruption,
        tokens: Tensor,
        *,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Samples:
        """Draws samples; `on_step` gets the likeliest tokens of the step."""
        denoiser = unwrapped(denoiser)
        table = denoiser.table()
        noise = _check(corruption, table)
        check_free_rows(tokens, len(table), noise)
        shape = (*tokens.shape, table.shape[1])
        z = torch.randn(shape, generator=generator, device=table.device, dtype=table.dtype)
        times = torch.arange(self.num_steps, 0, -1, dtype=torch.float64) / self.num_steps
        levels, _ = noise.log_snr(times, torch.tensor(noise.speeds.k[0], dtype=torch.float64))
        path = [*levels.tolist(), noise.log_snr_max]  # of times 1, 1 - 1/T .. 0
        for step, (log_snr_t, log_snr_s) in enumerate(pairwise(path)):
            log_snr = torch.full(shape[:2], log_snr_t, dtype=torch.float64, device=table.device)
            log_probs = (denoiser.log_probs(z, log_snr) / self.sampling.temperature).log_softmax(-1)
            mean, deviation = reverse_step(z, expected_embedding(log_probs, table), log_snr_t, log_snr_s)
            z = mean + deviation * torch.randn(
                shape, generator=generator, device=table.device, dtype=table.dtype
            )
            if on_step is not None:
                on_step(step, log_probs.argmax(-1))
        at_zero = torch.full(shape[:2], noise.log_snr_max, dtype=torch.float64, device=table.device)
        drawn = AS_IT_IS.draw(token_log_likelihood(z, at_zero, table), generator=generator)
        return each_token_alone(drawn, torch.full_like(drawn, self.num_steps - 1), self.num_steps)


def _check(corruption: Corruption, table: Tensor) -> Gaussian:
    if not isinstance(corruption, Gaussian):
        raise DataError(
            f"GaussianSampler draws from noise; {type(corruption).__name__} has a sampler of its own, "
            f"'{corruption.plain_sampler()['kind']}'"
        )
    if corruption.conditional_on_structure:
        raise DataError(
            "speeds by salience or unit do not exist before the text; use corruption.unconditional()"
        )
    if table.shape[1] != corruption.embedding_width:
        raise DataError(
            f"the corruption has embedding_width {corruption.embedding_width}, the model {table.shape[1]}; "
            f"sample with the corruption that the model was trained with"
        )
    return corruption
