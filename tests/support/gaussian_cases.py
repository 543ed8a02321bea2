"""Gaussian noise on the audit's language: exact denoisers and small networks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy_language import ToyLanguage

from hdiff.corruption import sample_times
from hdiff.corruption.gaussian import Gaussian, GaussianCorrupted, noisy_embedding
from hdiff.data.batch import Batch
from hdiff.heads import ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.gaussian_denoiser import (
    GaussianDenoiser,
    GaussianOutput,
    expected_embedding,
    log_probs_at_zero,
    token_log_likelihood,
)

WIDTH = 4


def gaussian(**options: object) -> Gaussian:
    return Gaussian(**{"mask_id": 3, "embedding_width": WIDTH, **options})  # type: ignore[arg-type]


def random_table(vocab_size: int = 3, width: int = WIDTH, seed: int = 0) -> Tensor:
    rows = torch.randn(vocab_size, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(rows, dim=-1) * math.sqrt(width)


class ExactDenoiser(nn.Module):
    """The posterior over all strings given z: weights p(x) prod_i N(z_i; alpha_i e(x_i), sigma_i^2 I)."""

    def __init__(self, language: ToyLanguage, table: Tensor) -> None:
        super().__init__()
        self.language, self.fixed = language, table

    def table(self) -> Tensor:
        return self.fixed

    def log_probs(self, z_t: Tensor, log_snr: Tensor, token_mask: Tensor | None = None) -> Tensor:
        likelihood = token_log_likelihood(z_t, log_snr, self.fixed)  # (B, L, V)
        at = torch.arange(self.language.length)
        of_string = likelihood[:, at, self.language.strings].sum(-1)  # (B, N)
        posterior = (self.language.probability.log() + of_string).softmax(-1)
        is_token = F.one_hot(self.language.strings, self.language.vocab_size).double()  # (N, L, V)
        return torch.einsum("bn,nlv->blv", posterior, is_token).log()

    def forward(self, corrupted: GaussianCorrupted) -> GaussianOutput:
        clean = self.fixed[corrupted.x_0]
        z_t = noisy_embedding(clean, corrupted.noise, corrupted.log_snr)
        log_probs = self.log_probs(z_t, corrupted.log_snr).flatten(0, 1)
        zero = corrupted.noise_at_zero.flatten(0, 1)
        return GaussianOutput(
            log_probs=log_probs,
            log_probs_at_zero=log_probs_at_zero(
                clean.flatten(0, 1), zero, corrupted.log_snr_ends[0], self.fixed
            ),
            x_hat=expected_embedding(log_probs, self.fixed),
            x_0_embedding=clean.flatten(0, 1),
        )


def corrupted_batch(corruption: Gaussian, batch: Batch, generator: torch.Generator) -> GaussianCorrupted:
    return corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)


def small_denoiser(vocab_size: int = 3, seed: int = 0) -> GaussianDenoiser:
    torch.manual_seed(seed)
    return GaussianDenoiser(
        Trunk(16, depth=1, num_heads=2), ProductHead(vocab_size, 16), embedding_width=WIDTH
    )
