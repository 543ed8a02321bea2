"""attention_seen: how tokens attend to each other, read off a trunk while it reads a row. Torch only.

Dimensions: B rows, L tokens, H heads, E width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hdiff.errors import DataError
from hdiff.layers.attended import allowed_pairs
from hdiff.layers.document_mask import DocumentMask
from hdiff.layers.trunk import Trunk, TrunkLayer
from hdiff.models.pretrained_trunk import PretrainedTrunk


@contextmanager
def attention_seen(trunk: object) -> Iterator[list[Tensor]]:
    """Collects attention weights, the mean over the heads of a layer.

    Args:
        trunk: The trunk of hdiff, of which the last quarter of the layers is looked at, or that of a
            pretrained model.

    Yields:
        A list that gets the weights of each layer as it runs, queries by keys, float32 (B, L, L).

    Raises:
        DataError: If it is another trunk.
    """
    seen: list[Tensor] = []
    if isinstance(trunk, Trunk):
        with _hooked(last_quarter(list(trunk.layers)), seen):
            yield seen
    elif isinstance(trunk, PretrainedTrunk):
        with _eager(trunk.encoder, seen):
            yield seen
    else:
        raise DataError(f"{type(trunk).__name__} shows no attention; use the sampler 'confidence'")


def last_quarter(layers: list[Any]) -> list[Any]:
    """The layers that are looked at, at least one: what tokens mean to each other shows late."""
    return layers[-max(1, len(layers) // 4) :]


@contextmanager
def _hooked(layers: list[nn.Module], seen: list[Tensor]) -> Iterator[None]:
    """Computes the weights of hdiff's layers from what they are called with."""

    def weights(layer: nn.Module, given: tuple[Any, ...]) -> None:
        assert isinstance(layer, TrunkLayer)
        hidden, angles, token_mask, causal, visible = given[:5]
        query, key, _ = layer.project_in(hidden, angles)
        if isinstance(visible, DocumentMask):
            visible = visible.visible
        if visible is not None:
            allowed = visible.view(-1, 1, *visible.shape[-2:])
        else:
            allowed = allowed_pairs(query.shape[1], token_mask, causal, query.device)
        scores = torch.einsum("blhe,bmhe->bhlm", query.float(), key.float()) / math.sqrt(query.shape[-1])
        scores = scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)
        seen.append(scores.softmax(-1).mean(1))

    handles = [layer.register_forward_pre_hook(weights) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _eager(encoder: nn.Module, seen: list[Tensor]) -> Iterator[None]:
    """Has a network of transformers return its weights, which only its plain implementation computes."""
    last: list[Tensor] = []

    def weights(_layer: nn.Module, _given: Any, output: Any) -> None:
        second = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if isinstance(second, Tensor) and second.ndim == 4 and not any(second is one for one in last):
            last[:] = [second]  # (B, H, L, L), which modules around it return again
            seen.append(second.float().mean(1))

    config: Any = encoder.config
    before = config._attn_implementation
    handles = [module.register_forward_hook(weights) for module in encoder.modules()]
    encoder.set_attn_implementation("eager")  # type: ignore[operator]
    try:
        yield
    finally:
        encoder.set_attn_implementation(before)  # type: ignore[operator]
        for handle in handles:
            handle.remove()
