"""Masks of attention, and how a backend is compared with the definition in float64.

Dimensions: B batch, L tokens, H heads, E width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hdiff.layers.attention import attention
from hdiff.layers.document_mask import DocumentMask
from hdiff.models.block_denoiser import visible_once, visible_twice, without_padding

B, L, H, E = 2, 12, 2, 16

DOCUMENTS = torch.tensor([[0] * 5 + [1] * 4 + [2] * 3, [0] * 8 + [1] * 2 + [-1] * 2])
PADDED = torch.arange(L).expand(B, -1) < torch.tensor([[L], [7]])
MASKS: dict[str, dict[str, Any]] = {
    "everything": {},
    "padding": {"token_mask": PADDED},
    "causal": {"causal": True},
    "causal, padding": {"causal": True, "token_mask": PADDED},
    "blocks, read once": {"visible": visible_once(L, 4)},
    "blocks, read twice": {"visible": visible_twice(L // 2, 3)},
    "blocks, padding": {"visible": without_padding(visible_once(L, 4), PADDED)},
    "documents": {"visible": DocumentMask(DOCUMENTS)},
}


def on(options: dict[str, Any], device: str) -> dict[str, Any]:
    """The same mask on a device."""

    def move(value: Any) -> Any:
        return DocumentMask(value.ids.to(device)) if isinstance(value, DocumentMask) else value.to(device)

    return {name: value if isinstance(value, bool) else move(value) for name, value in options.items()}


def largest_error(
    options: dict[str, Any],
    *,
    backend: str | None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    gradients: bool = True,
) -> float:
    """Largest difference of outputs and gradients at real tokens from the definition in float64."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, B, L, H, E, generator=generator).to(dtype)
    weights = torch.randn(B, L, H, E, generator=generator).to(dtype)
    if "token_mask" in options:
        weights = (
            weights * options["token_mask"][:, :, None, None]
        )  # what padding computes is nobody's business
    expected = _results(inputs.double(), weights.double(), options, "reference", gradients)
    found = _results(inputs.to(device), weights.to(device), on(options, device), backend, gradients)
    return max(float((f.double().cpu() - e).abs().max()) for f, e in zip(found, expected, strict=True))


def _results(
    inputs: Tensor, weights: Tensor, options: dict[str, Any], backend: str | None, gradients: bool
) -> list[Tensor]:
    separate = [x.detach().clone().requires_grad_(gradients) for x in inputs]
    output = attention(*separate, **options, backend=backend)
    weighted = output * weights
    return [weighted.detach(), *(torch.autograd.grad(weighted.sum(), separate) if gradients else [])]
