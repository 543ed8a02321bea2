"""Denoiser: trunk + head, from corrupted tokens to span distributions. Torch only.

Dimensions: B batch, L tokens, S spans, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from hdiff.corruption.base import Corrupted
from hdiff.heads.base import Head
from hdiff.models.trunk import Trunk


@dataclass(frozen=True)
class DenoiserOutput:
    """What the objective needs.

    Attributes:
        log_prob: log p(x_S | x_t) of every packed span in nats, float (S,).
    """

    log_prob: Tensor


@final
class Denoiser(nn.Module):
    """p(x_S | x_t): a bidirectional trunk over x_t and a head over each span's tokens.

    The trunk reads `x_t` and `token_mask` alone. No segmentation, label or salience enters it, so
    nothing computed from x_0 is visible at masked positions (DESIGN 4.3).

    Args:
        trunk: Bidirectional trunk.
        head: Head; it owns the token table used for the input.
    """

    def __init__(self, trunk: Trunk, head: Head) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    @property
    def vocab_size(self) -> int:
        """Vocabulary V, without the mask."""
        return self.head.vocab_size

    @property
    def mask_id(self) -> int:
        """Id of the hidden token: V."""
        return self.head.vocab_size

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """Trunk output.

        Args:
            x_t: Tokens, `mask_id` where hidden, long (B, L).
            token_mask: Real tokens, bool (B, L); None if all are.

        Returns:
            float (B, L, D).
        """
        return self.trunk(self.head.embedding(x_t), token_mask)  # type: ignore[no-any-return]

    def forward(self, corrupted: Corrupted) -> DenoiserOutput:
        """Scores the clean tokens of the spans to predict.

        Args:
            corrupted: Corrupted batch.

        Returns:
            Log-probability of each span.
        """
        hidden = self.hidden(corrupted.x_t, padding_mask(corrupted.token_mask))
        spans = corrupted.spans
        return DenoiserOutput(
            log_prob=self.head.log_prob(spans.gather(hidden), spans.gather(corrupted.x_0), spans)
        )


def padding_mask(token_mask: Tensor) -> Tensor | None:
    """None when no row has padding, so that attention can take its fast path."""
    return None if bool(token_mask.all()) else token_mask
