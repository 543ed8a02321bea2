"""UniformDenoiser: trunk + head for texts in which some tokens were replaced at random.

Dimensions: B batch, L tokens, P packed tokens, D width, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from hdiff.corruption.uniform_state import UniformCorrupted
from hdiff.heads.base import Head
from hdiff.layers.trunk import Trunk
from hdiff.models.headed import Headed
from hdiff.models.output import padding_mask

NUM_WAVES = 16


@dataclass(frozen=True)
class UniformOutput:
    """What the objective needs.

    Attributes:
        log_probs: log p(x_0 = v) of every real token in nats, float (P, V).
        hidden: Trunk output, float (B, L, D), for supervision.
    """

    log_probs: Tensor
    hidden: Tensor | None = None


@final
class UniformDenoiser(Headed):
    """p(x_0_i | x_t): which token stood where one may have been replaced.

    No state holds a mask, so the trunk is told how likely each token was replaced; without it, it could not
    know how far to trust what it reads. Trained on its bound the head learns what all *other* tokens tell of
    a position (docs/concepts.md, "random replacement").

    Args:
        trunk: Bidirectional trunk.
        head: Head; only its `logits` and table are used, so `ProductHead` is the one without idle weights.
    """

    waves: Tensor

    def __init__(self, trunk: Trunk, head: Head) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.level = nn.Sequential(
            nn.Linear(2 * NUM_WAVES, head.width), nn.SiLU(), nn.Linear(head.width, head.width)
        )
        self.register_buffer("waves", math.pi * 2.0 ** (torch.arange(NUM_WAVES) / 2), persistent=False)

    def log_probs(self, x_t: Tensor, p: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """log p(x_0_i = v | x_t).

        Args:
            x_t: Tokens, long (B, L).
            p: Probability that a token was replaced, float (B, L).
            token_mask: Real tokens, bool (B, L); None if all are.

        Returns:
            Normalised, float (B, L, V).
        """
        return self.head.logits(self._hidden(x_t, p, token_mask)).float().log_softmax(-1)

    def forward(self, corrupted: UniformCorrupted) -> UniformOutput:
        """Log-probabilities of the packed tokens: every real token is predicted."""
        real = padding_mask(corrupted.token_mask, corrupted.is_padded)
        hidden = self._hidden(corrupted.x_t, corrupted.p, real)
        scores = self.head.logits(corrupted.spans.gather(hidden))
        return UniformOutput(scores.float().log_softmax(-1), hidden)

    def _hidden(self, x_t: Tensor, p: Tensor, token_mask: Tensor | None) -> Tensor:
        phase = p.to(self.waves.dtype)[..., None] * self.waves
        level = self.level(torch.cat([phase.sin(), phase.cos()], -1))
        return self.trunk(self.head.embed(x_t) + level, token_mask)  # type: ignore[no-any-return]
