"""planner_loss: how well boundaries, labels and salience are predicted from a state.

Dimensions: B batch, L tokens, K labels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.models.planner import Plan


def planner_loss(plan: Plan, batch: Batch, *, level: str) -> Tensor:
    """Cross-entropies of boundary, label and salience, averaged over tokens, hidden and visible ones.

    Spans that are partly visible need their borders at visible tokens too. It is no part of any likelihood: a
    planner only chooses which span is filled next.

    Args:
        plan: Prediction for the corrupted batch.
        batch: The clean batch, with units, labels and salience.
        level: Level whose spans are predicted.

    Returns:
        Nats per token, a scalar; salience counts in full, so its least value is an entropy above 0.

    Raises:
        DataError: If the batch has no salience.
    """
    if batch.salience is None:
        raise DataError("the planner learns salience, and the batch has none; pack it with its salience")
    units = batch.units(level)
    begins = torch.ones_like(units, dtype=torch.bool)
    begins[:, 1:] = units.diff(dim=1) != 0
    real = batch.real
    boundary = F.binary_cross_entropy_with_logits(real(plan.begin_logit), real(begins).float())
    salience = F.binary_cross_entropy_with_logits(real(plan.salience_logit), real(batch.salience))
    total = boundary + salience
    if level in batch.labels:
        num_labels = plan.label_logits.shape[-1]
        labels = batch.labels[level].clamp(max=num_labels - 1)
        total = total + F.cross_entropy(real(plan.label_logits), real(labels))
    return total
