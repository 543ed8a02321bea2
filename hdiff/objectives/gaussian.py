"""gaussian_nelbo: the continuous-time bound for Gaussian noise on embeddings.

Dimensions: B batch, P packed tokens, E embedding width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hdiff.corruption.gaussian import GaussianCorrupted
from hdiff.models.gaussian_denoiser import GaussianOutput


def gaussian_nelbo(output: GaussianOutput, corrupted: GaussianCorrupted) -> Tensor:
    """One unbiased estimate of an upper bound on -log p(x_0) per row, for t ~ U(0, 1].

    A token counts, with SNR = exp(log_snr) and its clean and predicted embeddings e and x_hat,

        1/2 (-d SNR / dt) ||e - x_hat||^2  -  log p(x_0 | z_0)  +  KL(q(z_1 | x_0) || N(0, I)).

    Averaged over t and noise it is at least -log p(x_0) for any prediction, and for the exact posterior mean
    of a law p it is -log p(x_0) itself, for every x_0, up to the prior and reconstruction terms
    (docs/concepts.md). Source: VDM, arXiv:2107.00630, continuous-time loss; for text Plaid, arXiv:2305.18619.

    Args:
        output: Predictions and embeddings of the packed tokens.
        corrupted: The corrupted batch.

    Returns:
        Nats of each row, float64 (B,).
    """
    spans = corrupted.spans
    clean = output.x_0_embedding.to(torch.float64)
    x_hat = output.x_hat.to(torch.float64)
    snr_fall = -spans.gather(corrupted.log_snr_rate) * spans.gather(corrupted.log_snr).exp()
    diffusion = 0.5 * snr_fall * (clean - x_hat).square().sum(-1)
    targets = spans.gather(corrupted.x_0)[:, None]
    reconstruction = -output.log_probs_at_zero.gather(1, targets).squeeze(1).to(torch.float64)
    nats = diffusion + reconstruction + prior_term(clean, corrupted.log_snr_ends[1])
    rows = torch.zeros(corrupted.x_0.shape[0], dtype=torch.float64, device=nats.device)
    return rows.index_add(0, spans.row[spans.span_index], nats)


def prior_term(embedding: Tensor, log_snr_min: float) -> Tensor:
    """KL(N(alpha e, sigma^2 I) || N(0, I)): what the last state still tells of a token.

    In general `1/2 [alpha^2 ||e||^2 + E (sigma^2 - 1 - log sigma^2)]`; with sigma^2 - 1 = -alpha^2 and
    -log sigma^2 = softplus(log_snr) nothing cancels.

    Args:
        embedding: Clean embeddings, float64 (..., E).
        log_snr_min: Log signal-to-noise ratio at t = 1.

    Returns:
        Nats per token, float64 (...).
    """
    width = embedding.shape[-1]
    alpha_squared = 1 / (1 + math.exp(-log_snr_min))
    softplus = float(F.softplus(torch.tensor(log_snr_min, dtype=torch.float64)))
    return 0.5 * (alpha_squared * (embedding.square().sum(-1) - width) + width * softplus)
