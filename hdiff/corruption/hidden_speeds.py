"""hide_at_speeds: tokens hidden each at a speed of its own, of which the state shows nothing.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hdiff.corruption.arguments import Count
from hdiff.corruption.cascade import hide
from hdiff.corruption.corrupted import Corrupted
from hdiff.data.batch import Batch
from hdiff.packed_spans import PackedSpans
from hdiff.schedules import Schedule


def hide_at_speeds(
    batch: Batch,
    t: Tensor,
    *,
    log_t: Tensor,
    speed: Tensor,
    mask_id: int,
    schedule: Schedule,
    count: Count,
) -> Corrupted:
    """The state at time t, with the weights and the speeds that the objective needs.

    Source: docs/concepts.md, "hidden speeds".

    Args:
        batch: The clean batch.
        t: Times in (0, 1], float (B,).
        log_t: log of every token's own time, float64 (B, L).
        speed: Speed k > 0 of every token, float64 (B, L).
        mask_id: Id of the hidden token.
        schedule: Schedule of masking times.
        count: `exact` (the chain of states without its times) or `bernoulli` (each token by its own time).

    Returns:
        The corrupted batch.
    """
    units = batch.units("token")
    (is_masked,), scale = hide([log_t], [units], batch.token_mask, t, schedule=schedule, count=count)
    is_chain = count == "exact"
    if is_chain:
        scale = scale / (speed * is_masked).sum(1)
    spans = PackedSpans.from_units(units, is_masked)
    packed = spans.gather(speed)
    return Corrupted(
        x_t=batch.input_ids.masked_fill(is_masked, mask_id),
        x_0=batch.input_ids,
        token_mask=batch.token_mask,
        is_masked=is_masked,
        spans=spans,
        weight=(packed * scale[spans.row]).to(torch.get_default_dtype()),
        conditional_on_structure=False,
        speed=packed.to(torch.get_default_dtype()),
        is_chain=is_chain,
    )
