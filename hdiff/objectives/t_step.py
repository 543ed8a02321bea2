"""t_step: the bound of the T-step sampler, L_T = sum_k E[-log p(x_{A_k} | visible)].

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hdiff.corruption.corrupted import Corrupted
from hdiff.corruption.masked_units import MaskedUnits
from hdiff.corruption.unit_masking import random_ranks
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.packed_spans import PackedSpans
from hdiff.reveal_order import reveal_step


def t_step_corrupted(
    batch: Batch,
    corruption: MaskedUnits,
    u: Tensor,
    *,
    num_steps: int,
    generator: torch.Generator | None = None,
) -> Corrupted:
    """The state of the T-step sampler before one of its steps, with the true tokens revealed so far.

    For each row a random order of its units is split into G = min(T, N) groups, as the sampler
    does; group k = floor(u G) is to be predicted, the groups before it are visible. Each span of the
    group weighs G, so that `nelbo(output, batch, corrupted)` estimates L_T without bias for
    u ~ U[0, 1). Source: docs/concepts.md, "the T-step bound".

    Args:
        batch: The clean batch.
        corruption: Says what the units are; its schedule does not matter.
        u: Which step of each row, float (B,), in [0, 1).
        num_steps: Steps T.
        generator: Source of randomness.

    Returns:
        The corrupted batch whose spans are those revealed together in that step.

    Raises:
        DataError: If the corruption has no mask_id.
    """
    if corruption.mask_id is None:
        raise DataError("the corruption has no mask_id; pass mask_id=vocab_size or let a Denoiser set it")
    units = corruption.units(batch, generator=generator)
    rank, num_units = random_ranks(units, batch.token_mask, generator=generator)
    step = reveal_step(rank, num_units, num_steps)
    num_groups = num_units.clamp(max=num_steps)
    current = (u * num_groups).long().minimum(num_groups - 1)
    is_masked = (step >= current[:, None]) & batch.token_mask
    spans = PackedSpans.from_units(units, (step == current[:, None]) & batch.token_mask)
    return Corrupted(
        x_t=batch.input_ids.masked_fill(is_masked, corruption.mask_id),
        x_0=batch.input_ids,
        token_mask=batch.token_mask,
        is_masked=is_masked,
        spans=spans,
        weight=num_groups.to(u.dtype)[spans.row],
        conditional_on_structure=corruption.conditional_on_structure,
        document_ids=batch.document_ids,
        order=rank,
    )
