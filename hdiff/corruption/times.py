"""sample_times: one time per row, stratified over the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from hdiff.data.batch import Batch


def sample_times(
    batch: Batch,
    *,
    generator: torch.Generator | None = None,
    stratified: bool = True,
    rows: range | None = None,
    num_rows: int | None = None,
) -> Tensor:
    """Draws times so that each row's is uniform on (0, 1].

    Stratified: the times of a whole update (the batches of all processes that are averaged) fall into
    equal intervals of (0, 1], one each, in random order and with the same offset. Source:
    low-discrepancy sampler, arXiv:2107.00630, appendix I.1.

    Args:
        batch: The batch, B rows.
        generator: Source of randomness, in the same state on every process.
        stratified: False draws independently.
        rows: Which rows of the update these are; None for all.
        num_rows: Rows of the update; None for B.

    Returns:
        Times of these rows, float (B,).
    """
    num_rows = batch.input_ids.shape[0] if num_rows is None else num_rows
    rows = range(num_rows) if rows is None else rows
    assert len(rows) == batch.input_ids.shape[0]
    device = generator.device if generator is not None else batch.input_ids.device
    if stratified:
        offset = 1 - torch.rand(1, generator=generator, device=device)  # (0, 1]
        order = torch.randperm(num_rows, generator=generator, device=device)
        t = (order + offset) / num_rows
    else:
        t = 1 - torch.rand(num_rows, generator=generator, device=device)
    return t[rows.start : rows.stop : rows.step].to(batch.input_ids.device)
