"""GaussianDenoiser: trunk + head, from noisy embeddings to the clean tokens.

Dimensions: B batch, L tokens, P packed tokens, E embedding width, D width, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdiff.corruption.gaussian import GaussianCorrupted, noisy_embedding
from hdiff.errors import DataError, RecipeError
from hdiff.heads.base import Head
from hdiff.layers.trunk import Trunk
from hdiff.models.headed import Headed
from hdiff.models.output import padding_mask

# Radians per nat of log-SNR: from one slow wave over the whole range to waves about three nats long.
_FREQUENCY_RANGE = (0.05, 2.0)


@dataclass(frozen=True)
class GaussianOutput:
    """What the objective needs; row j belongs to `corrupted.spans.token_index[j]`.

    Attributes:
        log_probs: log p(x_0 = v | z_t) of every real token in nats, float (P, V).
        log_probs_at_zero: log p(x_0 = v | z_0), normalised; the last step of the generative model, (P, V).
        x_hat: Predicted embedding, the mean of the table under `log_probs`, float (P, E).
        x_0_embedding: True embedding, float (P, E).
        hidden: Trunk output, float (B, L, D), for supervision.
    """

    log_probs: Tensor
    log_probs_at_zero: Tensor
    x_hat: Tensor
    x_0_embedding: Tensor
    hidden: Tensor | None = None


@final
class GaussianDenoiser(Headed):
    """p(x_0_i | z_t): a bidirectional trunk over noisy embeddings, and what each z_i tells of its own token.

    The log-probabilities are the head's scores plus the known log-likelihood
    log N(z_i; alpha e_v, sigma^2 I). The head thus learns what the other tokens tell, and at low noise tokens
    are recovered exactly however poor the network is. Source: Plaid, arXiv:2305.18619 ("output prior");
    without its self-conditioning.

    Rows of the embedding table have norm sqrt(E) whenever it is used. Otherwise a growing table would lower
    the noise without end, and log-SNR would mean nothing.

    Args:
        trunk: Bidirectional trunk.
        head: Head; only its `logits` are used, so `ProductHead` is the one without idle weights.
        embedding_width: Width E of the embeddings that are noised; equal to that of the corruption.
    """

    frequencies: Tensor

    def __init__(self, trunk: Trunk, head: Head, *, embedding_width: int = 16) -> None:
        super().__init__()
        if embedding_width < 1:
            raise RecipeError(f"embedding_width is {embedding_width}; give that of the corruption, >= 1")
        self.trunk = trunk
        self.head = head
        self.embedding_width = embedding_width
        self.noised = nn.Embedding(head.vocab_size, embedding_width)
        self.project = nn.Linear(embedding_width, head.width, bias=False)
        nn.init.normal_(self.project.weight, std=embedding_width**-0.5)  # as the trunk's weights
        self.level = nn.Sequential(
            nn.Linear(head.width, head.width), nn.SiLU(), nn.Linear(head.width, head.width)
        )
        low, high = (math.log(end) for end in _FREQUENCY_RANGE)
        frequencies = torch.linspace(low, high, head.width // 2).exp()
        self.register_buffer("frequencies", frequencies, persistent=False)

    def table(self) -> Tensor:
        """Embeddings that are noised, rows of norm sqrt(E): float (V, E)."""
        return F.normalize(self.noised.weight, dim=-1) * math.sqrt(self.embedding_width)

    def hidden(self, z_t: Tensor, log_snr: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """Trunk output.

        Args:
            z_t: Noisy embeddings, float (B, L, E); their mean square is 1 at every noise level.
            log_snr: Log signal-to-noise ratio of each token, float (B, L).
            token_mask: Real tokens, bool (B, L); None if all are.

        Returns:
            float (B, L, D).
        """
        phase = log_snr.to(self.frequencies.dtype)[..., None] * self.frequencies  # (B, L, D / 2)
        level = self.level(torch.cat([phase.sin(), phase.cos()], -1))
        return self.trunk(self.project(z_t) + level, token_mask)  # type: ignore[no-any-return]

    def log_probs(self, z_t: Tensor, log_snr: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """log p(x_0_i = v | z_t).

        Args:
            z_t: Noisy embeddings, float (B, L, E).
            log_snr: Log signal-to-noise ratio of each token, float (B, L).
            token_mask: Real tokens, bool (B, L); None if all are.

        Returns:
            Normalised, float (B, L, V).
        """
        scores = self.head.logits(self.hidden(z_t, log_snr, token_mask))
        return (scores.float() + token_log_likelihood(z_t, log_snr, self.table())).log_softmax(-1)

    def forward(self, corrupted: GaussianCorrupted) -> GaussianOutput:
        """Log-probabilities and embeddings of the packed tokens: every real token is predicted."""
        if corrupted.noise.shape[-1] != self.embedding_width:
            raise DataError(
                f"the corruption has embedding_width {corrupted.noise.shape[-1]}, the model "
                f"{self.embedding_width}; build the model for this corruption"
            )
        spans, table = corrupted.spans, self.table()
        # Padding may hold any id; the trunk does not look there.
        clean = F.embedding(corrupted.x_0.masked_fill(~corrupted.token_mask, 0), table)  # (B, L, E)
        z_t = noisy_embedding(clean, corrupted.noise, corrupted.log_snr)
        hidden = self.hidden(z_t, corrupted.log_snr, padding_mask(corrupted.token_mask, corrupted.is_padded))
        scores = self.head.logits(spans.gather(hidden)).float()
        packed, level = spans.gather(z_t), spans.gather(corrupted.log_snr)
        log_probs = (scores + token_log_likelihood(packed, level, table)).log_softmax(-1)
        x_0_embedding = spans.gather(clean)
        return GaussianOutput(
            log_probs=log_probs,
            log_probs_at_zero=log_probs_at_zero(
                x_0_embedding, spans.gather(corrupted.noise_at_zero), corrupted.log_snr_ends[0], table
            ),
            x_hat=expected_embedding(log_probs, table),
            x_0_embedding=x_0_embedding,
            hidden=hidden,
        )


def token_log_likelihood(z: Tensor, log_snr: Tensor, table: Tensor) -> Tensor:
    """log N(z; alpha e_v, sigma^2 I) of every token v, up to a constant per position.

    Equal norms of the e_v leave `alpha / sigma^2 <z, e_v>`, which reaches 1e5 at log-SNR 9. The product is
    taken in float64, which autocast leaves alone (in bfloat16 it would be wrong by hundreds of nats), and
    shifted to a maximum of 0.

    Args:
        z: Noisy embeddings, float (..., E).
        log_snr: Log signal-to-noise ratio, float (...).
        table: Embeddings, rows of one norm, float (V, E).

    Returns:
        Values <= 0 in the type of `table`, float (..., V).
    """
    level = log_snr.to(torch.float64)[..., None]
    scale = level.sigmoid().sqrt() * (1 + level.exp())  # alpha / sigma^2
    likelihood = (scale * z.to(torch.float64)) @ table.to(torch.float64).T
    return (likelihood - likelihood.detach().amax(-1, keepdim=True)).to(table.dtype)


def log_probs_at_zero(embedding: Tensor, noise: Tensor, log_snr_max: float, table: Tensor) -> Tensor:
    """log p(x_0 = v | z_0): Bayes' rule from the likelihood alone, with equal odds before.

    It is a normalised distribution, which is all that the bound asks; at log-SNR 9 it is nearly exact, so
    that a trunk has nothing to add.

    Args:
        embedding: Clean embeddings, float (P, E).
        noise: Standard normal noise, float (P, E).
        log_snr_max: Log signal-to-noise ratio at t = 0.
        table: Embeddings, rows of one norm, float (V, E).

    Returns:
        Nats, float (P, V).
    """
    log_snr = torch.full(embedding.shape[:-1], log_snr_max, dtype=torch.float64, device=embedding.device)
    z_0 = noisy_embedding(embedding, noise, log_snr)
    return token_log_likelihood(z_0, log_snr, table).log_softmax(-1)


def expected_embedding(log_probs: Tensor, table: Tensor) -> Tensor:
    """x_hat = sum_v p(v) e_v, at full precision: its error is weighed by SNR.

    Args:
        log_probs: Normalised log-probabilities, float (..., V).
        table: Embeddings, float (V, E).

    Returns:
        float (..., E).
    """
    with torch.autocast(log_probs.device.type, enabled=False):
        return log_probs.exp().to(table.dtype) @ table
