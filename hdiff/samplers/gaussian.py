"""sample_gaussian: from Gaussian noise to text, all tokens refined in every step. Torch only.

Dimensions: B samples, L tokens, E embedding width, V vocabulary.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from hdiff.corruption.gaussian import Gaussian
from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS
from hdiff.models.gaussian_denoiser import expected_embedding, token_log_likelihood
from hdiff.reveal_order import check_num_steps


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


@torch.no_grad()
def sample_gaussian(
    denoiser: PredictsTokens,
    corruption: Gaussian,
    *,
    num_samples: int,
    length: int,
    num_steps: int,
    generator: torch.Generator | None = None,
    temperature: float = 1.0,
) -> tuple[Tensor, int]:
    """Draws rows by T ancestral steps over equal intervals of time, from z_1 ~ N(0, I).

    The last state z_0 is read out by p(x_0 | z_0), as in the bound. With the exact posterior mean the law of
    the samples approaches that of the text as T grows. Source: VDM, arXiv:2107.00630.

    Args:
        denoiser: Model; samples lie on the device of its table.
        corruption: The corruption, with one speed for all tokens.
        num_samples: Rows B.
        length: Tokens per row L.
        num_steps: Steps T.
        generator: Source of randomness, on the device of the model.
        temperature: Divides the predicted log-probabilities of every step; other values than 1 have no bound.

    Returns:
        tokens: Samples, long (B, L).
        nfe: Calls of the denoiser.

    Raises:
        DataError: If a number is not positive, speeds differ by structure, or the widths differ.
    """
    if num_samples < 1 or length < 1:
        raise DataError(f"{num_samples} samples of {length} tokens; both must be at least 1")
    if not temperature > 0:
        raise DataError(f"temperature is {temperature}; it must be > 0 (1 samples the model as it is)")
    if corruption.conditional_on_structure:
        raise DataError(
            "speeds by salience or unit do not exist before the text; use corruption.unconditional()"
        )
    table = denoiser.table()
    if table.shape[1] != corruption.embedding_width:
        raise DataError(
            f"the corruption has embedding_width {corruption.embedding_width}, the model {table.shape[1]}; "
            f"sample with the corruption that the model was trained with"
        )
    shape = (num_samples, length, table.shape[1])
    z = torch.randn(shape, generator=generator, device=table.device, dtype=table.dtype)
    times = torch.arange(check_num_steps(num_steps), 0, -1, dtype=torch.float64) / num_steps
    levels, _ = corruption.log_snr(times, torch.tensor(corruption.speeds.k[0], dtype=torch.float64))
    path = [*levels.tolist(), corruption.log_snr_max]  # of times 1, 1 - 1/T .. 0
    for log_snr_t, log_snr_s in pairwise(path):
        log_snr = torch.full(shape[:2], log_snr_t, dtype=torch.float64, device=table.device)
        log_probs = (denoiser.log_probs(z, log_snr) / temperature).log_softmax(-1)
        mean, deviation = reverse_step(z, expected_embedding(log_probs, table), log_snr_t, log_snr_s)
        noise = torch.randn(shape, generator=generator, device=table.device, dtype=table.dtype)
        z = mean + deviation * noise
    at_zero = torch.full(shape[:2], corruption.log_snr_max, dtype=torch.float64, device=table.device)
    tokens = AS_IT_IS.draw(token_log_likelihood(z, at_zero, table), generator=generator)
    return tokens, num_steps
