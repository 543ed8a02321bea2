"""Attention: xformers on CUDA, torch elsewhere, the same numbers; the only file that imports xformers.

Dimensions: B batch, L tokens, H heads, E width of a head, S spans, P packed tokens, M tokens of the longest.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hdiff.layers.attended import allowed_pairs, dense_bias, reference_attention
from hdiff.layers.document_mask import DocumentMask
from hdiff.packed_spans import PackedSpans
from hdiff.plugins import install_command


@cache
def _xformers_ops() -> ModuleType | None:
    """xformers.ops, or None where it is not installed. Its warnings about kernels are silenced."""
    if importlib.util.find_spec("xformers") is None:
        return None
    logging.getLogger("xformers").setLevel(logging.ERROR)
    try:
        import xformers.ops as ops
    except (ImportError, OSError):
        return None
    return ops  # type: ignore[no-any-return]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    token_mask: Tensor | None = None,
    causal: bool = False,
    visible: Tensor | DocumentMask | None = None,
    backend: str | None = None,
) -> Tensor:
    """Scaled dot-product attention over whole rows.

    Args:
        query: (B, L, H, E), or of some positions only, (B, M, H, E), if not causal.
        key: (B, L, H, E).
        value: (B, L, H, E).
        token_mask: Keys that may be attended, bool (B, L); None means all.
        causal: Whether a token sees only itself and earlier ones.
        visible: Keys that each query may attend, bool (L, L) or (B, L, L), at least one per query, or
            those of its document; in place of `token_mask` and `causal`.
        backend: `xformers`, `torch`, `reference`, or for a `DocumentMask` also `flex`; None picks by device.

    Returns:
        As `query`.
    """
    backend = backend or select_backend(query.device)
    assert backend != "flex" or isinstance(visible, DocumentMask), "flex attention is for documents"
    is_part = query.shape[1] != key.shape[1]
    assert not (is_part and causal), "causal attention needs the query of every position"
    if visible is not None:
        assert token_mask is None, "`visible` says which keys are padding"
        assert not causal, "`visible` says which keys come later"
        if isinstance(visible, DocumentMask):
            if backend in _DOCUMENTS:
                return _DOCUMENTS[backend](query, key, value, visible)
            visible = visible.visible
        visible = visible.view(-1, 1, *visible.shape[-2:])  # (B or 1, 1, L, L)
    if backend == "xformers" and not (is_part and token_mask is not None):
        return _attention_xformers(query, key, value, token_mask=token_mask, causal=causal, visible=visible)
    if visible is not None:
        allowed: Tensor | None = visible
    elif is_part:
        allowed = None if token_mask is None else token_mask[:, None, None, :]
    else:
        allowed = allowed_pairs(query.shape[1], token_mask, causal, query.device)
    if backend == "reference":
        return reference_attention(query, key, value, allowed)
    only_causal = causal and token_mask is None
    output = F.scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=None if only_causal else allowed,
        is_causal=only_causal,
    )
    return output.transpose(1, 2)


def span_attention(
    query: Tensor, key: Tensor, value: Tensor, spans: PackedSpans, *, backend: str | None = None
) -> Tensor:
    """Causal attention inside each packed span.

    Args:
        query: (P, H, E).
        key: (P, H, E).
        value: (P, H, E).
        spans: The spans the tokens belong to.
        backend: See `attention`.

    Returns:
        (P, H, E).
    """
    if query.shape[0] == 0:
        return value
    backend = backend or select_backend(query.device)
    ops = _xformers_ops() if backend == "xformers" else None
    if ops is not None:
        bias = ops.fmha.attn_bias.BlockDiagonalCausalMask.from_seqlens(spans.lengths)
        packed = ops.memory_efficient_attention(query[None], key[None], value[None], attn_bias=bias)
        return packed[0]  # type: ignore[no-any-return]
    longest = max(spans.lengths)
    slot = spans.span_index * longest + spans.offset  # (P,): place in the padded (S, M) layout

    def pad(values: Tensor) -> Tensor:
        padded = values.new_zeros(spans.num_spans * longest, *values.shape[1:])
        padded = padded.index_copy(0, slot, values)
        return padded.view(spans.num_spans, longest, *values.shape[1:])

    # Padding follows the tokens of a span, so the causal mask alone keeps it out of sight.
    inner = "reference" if backend == "reference" else "torch"
    output = attention(pad(query), pad(key), pad(value), causal=True, backend=inner)
    return output.flatten(0, 1)[slot]


def row_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    spans: PackedSpans,
    row_key: Tensor,
    row_value: Tensor,
    is_visible: Tensor,
) -> Tensor:
    """Attention of packed tokens to their own span up to themselves, and to all visible places of their row.

    Args:
        query: float (P, H, E).
        key: float (P, H, E).
        value: float (P, H, E).
        spans: The spans, no two of which share a place.
        row_key: Keys of the rows, float (B, L, H, E).
        row_value: Values of the rows, float (B, L, H, E).
        is_visible: Places of the rows that may be seen, bool (B, L).

    Returns:
        float (P, H, E).
    """
    num_rows, length = is_visible.shape

    def placed(packed: Tensor) -> Tensor:
        """(P, ...) -> (B, L, ...), zeros elsewhere."""
        grid = packed.new_zeros(num_rows * length, *packed.shape[1:])
        return grid.index_copy(0, spans.token_index, packed).view(num_rows, length, *packed.shape[1:])

    number = placed(spans.span_index + 1)  # 0 where there is no span
    place = torch.arange(length, device=query.device)
    is_own = place == place[:, None]
    inside = (number[:, :, None] == number[:, None, :]) & (place <= place[:, None])
    allowed = torch.cat([is_visible[:, None, :] | is_own, inside], -1)  # (B, L, 2 L)
    mixed = F.scaled_dot_product_attention(
        placed(query).transpose(1, 2),
        torch.cat([row_key, placed(key)], 1).transpose(1, 2),
        torch.cat([row_value, placed(value)], 1).transpose(1, 2),
        attn_mask=allowed[:, None],
    )
    return spans.gather(mixed.transpose(1, 2))


def select_backend(device: torch.device) -> str:
    """The backend `attention` picks for a device: xformers has kernels for CUDA only."""
    return "xformers" if device.type == "cuda" and _xformers_ops() is not None else "torch"


def documents_apart(ids: Tensor) -> DocumentMask:
    """A mask of documents, of their ids (B, L), -1 at padding; a compiled trunk cannot make it."""
    mask = DocumentMask(ids)
    getattr(mask, "lengths" if select_backend(ids.device) == "xformers" else "visible")
    return mask


def explain_backend(device: torch.device) -> str:
    """Which backend `attention` picks for a device, and why; a sentence."""
    if select_backend(device) == "xformers":
        return "xformers is used: the device is CUDA; documents apart by its block-diagonal masks"
    if device.type != "cuda":
        why = f"xformers has kernels for CUDA only and the device is {device.type}"
    else:
        why = "xformers is not installed or does not load"
    return f"torch is used: {why}; documents apart by a boolean mask"


def available_backends() -> dict[str, str]:
    """Tries every backend against the reference on the best device here: `ok`, or why it fails."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 16, 2, 32, generator=generator).to(device).unbind(0)
    expected = attention(query, key, value, causal=True, backend="reference")
    answers: dict[str, str] = {"reference": "ok"}
    for backend in ("torch", "xformers"):
        if backend == "xformers" and _xformers_ops() is None:
            answers[backend] = f"not installed; {install_command('xformers')}"
        elif backend == "xformers" and device.type != "cuda":
            answers[backend] = "installed, but has kernels for CUDA only; torch is used here"
        else:
            error = (attention(query, key, value, causal=True, backend=backend) - expected).abs().max()
            answers[backend] = (
                "ok" if float(error) < 1e-3 else f"differs from the reference by {float(error):.1e}"
            )
    return answers


def _documents_xformers(query: Tensor, key: Tensor, value: Tensor, documents: DocumentMask) -> Tensor:
    """All documents of a batch in one long row, block by block."""
    ops = _xformers_ops()
    assert ops is not None, "select_backend or the caller chose xformers without having it"
    bias = ops.fmha.attn_bias.BlockDiagonalMask.from_seqlens(documents.lengths)
    one_row = [x.reshape(1, -1, *x.shape[2:]) for x in (query, key, value)]
    return ops.memory_efficient_attention(*one_row, attn_bias=bias).view_as(query)  # type: ignore[no-any-return]


@cache
def _flex_attention(is_compiled: bool) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    plain: Callable[..., Any] = flex_attention
    return torch.compile(plain) if is_compiled else plain


def _documents_flex(query: Tensor, key: Tensor, value: Tensor, documents: DocumentMask) -> Tensor:
    inputs = [x.transpose(1, 2) for x in (query, key, value)]
    flex = _flex_attention(query.is_cuda)  # without the compiler it is slow, and right
    output: Tensor = flex(*inputs, block_mask=documents.flex_mask)
    return output.transpose(1, 2)


_DOCUMENTS = {"xformers": _documents_xformers, "flex": _documents_flex}


def _attention_xformers(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    token_mask: Tensor | None,
    causal: bool,
    visible: Tensor | None,
) -> Tensor:
    ops = _xformers_ops()
    assert ops is not None, "select_backend or the caller chose xformers without having it"
    bias = None
    if token_mask is not None or visible is not None:
        allowed = (
            allowed_pairs(query.shape[1], token_mask, causal, query.device) if visible is None else visible
        )
        assert allowed is not None
        bias = dense_bias(query, allowed)
    elif causal:
        bias = ops.LowerTriangularMask()
    return ops.memory_efficient_attention(query, key, value, attn_bias=bias)  # type: ignore[no-any-return]
