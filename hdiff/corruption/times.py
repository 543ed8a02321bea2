"""sample_times: one time per row, stratified over the batch. Torch only."""

from __future__ import annotations

import torch
from torch import Tensor

from hdiff.data.batch import Batch


def sample_times(
    batch: Batch, *, generator: torch.Generator | None = None, stratified: bool = True
) -> Tensor:
    """Draws times so that each row's is uniform on (0, 1].

    Stratified: the B times fall into the B equal intervals of (0, 1], in random order, all with the
    same offset. Source: low-discrepancy sampler, arXiv:2107.00630, appendix I.1.

    Args:
        batch: The batch, B rows.
        generator: Source of randomness.
        stratified: False draws independently.

    Returns:
        Times, float (B,).
    """
    num_rows = batch.input_ids.shape[0]
    device = batch.input_ids.device
    if not stratified:
        return 1 - torch.rand(num_rows, generator=generator, device=device)
    offset = 1 - torch.rand(1, generator=generator, device=device)  # (0, 1]
    order = torch.randperm(num_rows, generator=generator, device=device)
    return (order + offset) / num_rows
