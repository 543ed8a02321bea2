"""learned_noise: the part of the gradient that comes from states being drawn from a learned law.

Dimensions: B batch, S spans.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hdiff.corruption.corrupted import Corrupted

RIDGE = 0.1
"""Keeps the slope finite in batches of few rows."""


def learned_noise(nats: Tensor, corrupted: Corrupted) -> Tensor:
    """Zero, with the derivative that the weighted nats of drawn states lack.

    `d/dk E f = E [ df/dk + (f - c) d log P(state) / dk ]` for any c that does not look at the state
    (REINFORCE). GenMD4 draws two states of every text, and the loss of one is the c of the other. We draw one
    and predict c from the other rows (docs/decisions/0010-learned-speeds.md): a training step then costs what
    it costs for every other corruption.

    Every token is revealed exactly once, so the weighted sum of a constant c over the spans has the mean c
    per token whatever the speeds: c is subtracted inside of the weighted sum too.

    Args:
        nats: Loss of each span before weighting, float (S,).
        corrupted: The corrupted batch, its `state_log_prob` and weights with the gradient of the speeds.

    Returns:
        Zeros with a gradient, float64 (B,).
    """
    assert corrupted.state_log_prob is not None, "only states of a learned law have this term"
    row, score = corrupted.spans.row, corrupted.state_log_prob
    nats, weight = nats.detach().double(), corrupted.weight.double()
    expected = expected_nats(nats, corrupted)[row]
    rows = torch.zeros_like(score)
    excess = rows.index_add(0, row, weight.detach() * (nats - expected)).detach()
    through_weight = rows.index_add(0, row, (weight.detach() - weight) * expected)
    return excess * (score - score.detach()) + through_weight


def expected_nats(nats: Tensor, corrupted: Corrupted) -> Tensor:
    """Nats per span to be expected of each row, a prediction from the other rows alone.

    A line through the other rows' means: losses grow with the share that is hidden. With exact counts that
    share is no property of the state. With independent times it is, and the line is level.

    Args:
        nats: Loss of each span, float64 (S,).
        corrupted: The corrupted batch.

    Returns:
        float64 (B,); 0 in a batch of one row.
    """
    token_mask, row = corrupted.token_mask, corrupted.spans.row
    zeros = torch.zeros(len(token_mask), dtype=torch.float64, device=nats.device)
    count = zeros.index_add(0, row, torch.ones_like(nats))
    mean = zeros.index_add(0, row, nats) / count.clamp(min=1)
    is_seen = (count > 0).double()
    share = count / token_mask.sum(1) - 0.5 if corrupted.is_chain else zeros
    inputs = torch.stack([torch.ones_like(share), share], 1)  # (B, 2)
    gram = inputs.T @ (inputs * is_seen[:, None]) + torch.diag(zeros.new_tensor([1e-9, RIDGE]))
    hat = inputs @ torch.linalg.solve(gram, (inputs * is_seen[:, None]).T)  # (B, B)
    # What the line would be without a row follows from that row's share in it.
    own = hat.diagonal()
    without = (hat @ mean - own * mean) / (1 - own).clamp(min=1e-6)
    return torch.where(1 - own > 1e-6, without, zeros)
