"""Batches with the labels that supervision predicts."""

from __future__ import annotations

import torch

from hdiff.data.batch import Batch

WIDTH = 16


def batch_of(targets: dict[str, torch.Tensor], num_real: int | None = None) -> Batch:
    (first, *_) = targets.values()
    mask = torch.arange(first.shape[1]).expand_as(first) < (num_real or first.shape[1])
    return Batch(torch.zeros_like(first), mask, targets=targets)
