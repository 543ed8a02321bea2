"""answer_length_nats: -log p(length of the answer | prompt), a part of the bound. Torch only.

Dimensions: B batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hdiff.corruption.row_noise import rand
from hdiff.data.batch import Batch
from hdiff.models.length_head import length_log_probs, one_mask


def answer_length_nats(model: Any, batch: Batch) -> Tensor:
    """-log p(n | prompt) of each answer, exact, in nats, float (B,); zeros without a length head."""
    lengths = batch.answer_lengths
    if lengths is None or getattr(model, "length_head", None) is None:
        return torch.zeros(len(batch.input_ids), device=batch.input_ids.device)
    first = batch.free_mask.long().argmax(1)
    # What a row has room for behind the prompt is known before the answer is.
    most = batch.input_ids.shape[1] - first - 1
    rows = one_mask(batch, first, first + lengths, model.mask_id)
    return _nats(length_log_probs(model, rows, first, most), lengths)


def gap_length_nats(model: Any, batch: Batch, *, generator: torch.Generator | None = None) -> Tensor:
    """-log p(n | text around it) of a random stretch of each row: what gaps of free length are drawn by.

    Stretches of n tokens are drawn with probability 1/n, up to half a row; where they begin is uniform.

    Args:
        model: A network with a length head.
        batch: Rows without prompts.
        generator: Source of randomness.

    Returns:
        Nats, float (B,).
    """
    sizes = batch.token_mask.sum(1)
    u = rand((len(sizes), 2), generator=generator, device=sizes.device, dtype=torch.float64)
    most = torch.minimum(sizes.new_tensor(model.length_head.longest), (sizes // 2).clamp(min=1))
    lengths = torch.minimum((most + 1.0) ** u[:, 0], most.double()).long()  # density 1/n, n in 1 .. most
    first = (u[:, 1] * (sizes - lengths + 1)).long()
    rows = one_mask(batch, first, first + lengths, model.mask_id)
    return _nats(length_log_probs(model, rows, first), lengths)


def _nats(log_probs: Tensor, lengths: Tensor) -> Tensor:
    return -log_probs.gather(1, lengths[:, None] - 1).squeeze(1)
