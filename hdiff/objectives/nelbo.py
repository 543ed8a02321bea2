"""nelbo: the weighted sum of span losses, an upper bound on -log p(x_0). Torch only.

Dimensions: B batch, S spans.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hdiff.corruption.base import Corrupted
from hdiff.data.batch import Batch
from hdiff.models.denoiser import DenoiserOutput


@dataclass(frozen=True)
class Loss:
    """One unbiased estimate of the bound per row.

    Attributes:
        nats: Bound of each row's tokens together, nats, float (B,).
        num_tokens: Real tokens of each row, long (B,).
    """

    nats: Tensor
    num_tokens: Tensor

    @property
    def mean(self) -> Tensor:
        """Nats per token over the batch, a scalar; what is minimised."""
        return self.nats.sum() / self.num_tokens.sum()


def nelbo(output: DenoiserOutput, batch: Batch, corrupted: Corrupted, *, baseline: float = 0.0) -> Loss:
    """`sum_{S masked} weight_S (-log p(x_S | x_t))`, whose mean over t bounds -log p(x_0).

    Source: arXiv:2406.07524, eq. 10, with spans as units. It bounds -log p(x_0) only if
    `corrupted.conditional_on_structure` is False; otherwise -log p(x_0 | structure).

    Because E[sum_{S masked} weight_S |S|] is exactly the number of tokens, any constant `baseline`
    may be subtracted per masked token and added back per token without changing the mean; near the
    model's own nats per token it removes most of the noise that comes from spans of different
    lengths. It changes no gradient in expectation.

    Args:
        output: Log-probabilities of the spans.
        batch: The clean batch.
        corrupted: The corrupted batch and its weights.
        baseline: Control variate in nats per token, chosen without looking at this batch.

    Returns:
        The estimate for each row.
    """
    excess = -output.log_prob - baseline * corrupted.spans.length
    num_rows = batch.input_ids.shape[0]
    nats = torch.zeros(num_rows, device=excess.device, dtype=excess.dtype)
    nats = nats.index_add(0, corrupted.spans.row, corrupted.weight.to(excess.dtype) * excess)
    num_tokens = batch.token_mask.sum(1)
    return Loss(nats=nats + baseline * num_tokens, num_tokens=num_tokens)
