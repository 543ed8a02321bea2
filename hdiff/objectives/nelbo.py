"""nelbo: the weighted sum of span losses, an upper bound on -log p(x_0).

Dimensions: B batch, S spans.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hdiff.corruption.corrupted import Corrupted
from hdiff.corruption.gaussian import GaussianCorrupted
from hdiff.corruption.uniform_state import UniformCorrupted
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.models.gaussian_denoiser import GaussianOutput
from hdiff.models.output import DenoiserOutput
from hdiff.models.uniform_denoiser import UniformOutput
from hdiff.objectives.gaussian import gaussian_nelbo
from hdiff.objectives.learned_noise import learned_noise
from hdiff.objectives.rate_matching import rate_term
from hdiff.objectives.uniform_state import uniform_state_nelbo
from hdiff.packed_spans import PackedSpans


@dataclass(frozen=True)
class Loss:
    """One unbiased estimate of the bound per row.

    Attributes:
        nats: Bound of each row's tokens together, nats, float (B,).
        num_tokens: Tokens of each row that are scored, long (B,).
        structure: The part of `nats` that is paid for types or speeds, float (B,).
    """

    nats: Tensor
    num_tokens: Tensor
    structure: Tensor

    @property
    def mean(self) -> Tensor:
        """Nats per token over the batch, a scalar; what is minimised."""
        return self.nats.sum() / self.num_tokens.sum()


OWN_OBJECTIVES: dict[type, tuple[type[Corrupted], Callable[[Any, Any], Tensor]]] = {
    UniformOutput: (
        UniformCorrupted,
        lambda output, corrupted: uniform_state_nelbo(output.log_probs, corrupted),
    ),
    GaussianOutput: (GaussianCorrupted, gaussian_nelbo),
}
"""Output of a network -> states it belongs to and its objective, where that is no sum over hidden spans."""


def nelbo(
    output: DenoiserOutput | UniformOutput | GaussianOutput,
    batch: Batch,
    corrupted: Corrupted,
    *,
    baselines: Sequence[float] = (0.0,),
) -> Loss:
    """`sum_{S masked} weight_S (-log p(x_S | x_t))`, whose mean over t bounds -log p(x_0).

    Types that are to be predicted add the same sum over their units, hidden speeds their rate term. If the
    law of the states is learned, the gradient has the part that comes from drawing them (`learned_noise.py`).
    Replaced tokens and Gaussian noise have objectives of their own (`uniform_state.py`, `gaussian.py`).
    Source: arXiv:2406.07524, eq. 10, with spans as units. It bounds -log p(x_0) only if
    `corrupted.conditional_on_structure` is False; otherwise -log p(x_0 | structure).

    Because E[sum_{S masked} weight_S |S|] is exactly the number of tokens, any constant `baseline`
    may be subtracted per masked token and added back per token without changing the mean; near the
    model's own nats per token it removes most of the noise that comes from spans of different
    lengths. It changes no gradient in expectation. The same holds for every stream of types.

    Args:
        output: Log-probabilities of the spans.
        batch: The clean batch.
        corrupted: The corrupted batch and its weights.
        baselines: Control variates in nats per token, chosen without looking at this batch: of the tokens,
            then of the type streams; 0 where none is given.

    Returns:
        The estimate for each row.

    Raises:
        DataError: If the model was built for another family of corruptions.
    """
    num_tokens = batch.free_mask.sum(1)
    own = OWN_OBJECTIVES.get(type(output))
    if own is not None and type(corrupted) is own[0]:
        nats = own[1](output, corrupted)
        return Loss(nats=nats, num_tokens=num_tokens, structure=torch.zeros_like(nats))
    if not isinstance(output, DenoiserOutput):
        raise DataError(
            f"{type(output).__name__} does not belong to {type(corrupted).__name__}; build the model for its "
            f"corruption (hdiff.factory.build_model)"
        )
    given = [*baselines, *[0.0] * (1 + len(corrupted.type_terms))]
    tokens = _weighted(-output.log_prob, corrupted.spans, corrupted.weight, num_tokens, given[0])
    structure = torch.zeros_like(tokens)
    for term, log_prob, baseline in zip(corrupted.type_terms, output.type_log_prob, given[1:], strict=False):
        structure = structure + _weighted(-log_prob, term.spans, term.weight, num_tokens, baseline)
    if corrupted.speed is not None:
        rate = rate_term(output.log_speed, corrupted.speed, corrupted.spans, is_chain=corrupted.is_chain).to(
            tokens.dtype
        )
        structure = structure + _weighted(rate, corrupted.spans, corrupted.weight, num_tokens, 0.0)
        if corrupted.state_log_prob is not None:
            structure = structure + learned_noise(rate - output.log_prob, corrupted).to(structure.dtype)
    return Loss(nats=tokens + structure, num_tokens=num_tokens, structure=structure)


def _weighted(
    nats: Tensor, spans: PackedSpans, weight: Tensor, num_tokens: Tensor, baseline: float
) -> Tensor:
    """Weighted sums over the spans of each row, (S,) -> (B,)."""
    excess = nats - baseline * spans.length.to(nats.dtype)  # whole numbers would take torch's default dtype
    rows = torch.zeros(len(num_tokens), device=nats.device, dtype=nats.dtype)
    return rows.index_add(0, spans.row, weight.to(nats.dtype) * excess) + baseline * num_tokens.to(nats.dtype)
