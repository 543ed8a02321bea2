"""What may be attended, and attention by its definition."""

from __future__ import annotations

import torch
from torch import Tensor

_BIAS_STRIDE = 8


def allowed_pairs(
    length: int, token_mask: Tensor | None, causal: bool, device: torch.device
) -> Tensor | None:
    """Which keys a query may attend to, bool, broadcast to (B, H, L, L); None where it is all of them."""
    allowed = None
    if token_mask is not None:
        # A row's own position stays visible so that padding rows have something to attend to.
        own = torch.eye(length, dtype=torch.bool, device=device)
        allowed = token_mask[:, None, None, :] | own  # (B, 1, L, L)
    if causal:
        past = torch.ones(length, length, dtype=torch.bool, device=device).tril()
        allowed = past if allowed is None else allowed & past
    return allowed


def reference_attention(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
    """The definition, in plain operations: softmax(q k' / sqrt(E)) v."""
    scores = torch.einsum("blhe,bmhe->bhlm", query, key) / query.shape[-1] ** 0.5
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    return torch.einsum("bhlm,bmhe->blhe", scores.softmax(-1), value)


def dense_bias(query: Tensor, allowed: Tensor) -> Tensor:
    """What xformers adds to the scores: 0 where a key may be attended, -inf elsewhere.

    Args:
        query: (B, M, H, E), which says type and device.
        allowed: Bool, broadcast to (B, H, M, L).

    Returns:
        (B, H, M, L), a part of a wider tensor: whatever L is, xformers asks for strides of whole 16 bytes, 8
        elements of bf16 and fp16 or 4 of fp32.
    """
    length = allowed.shape[-1]
    wide = -(-length // _BIAS_STRIDE) * _BIAS_STRIDE
    bias = query.new_full((query.shape[0], query.shape[2], allowed.shape[-2], wide), -torch.inf)
    return bias[..., :length].masked_fill_(allowed, 0.0)
