"""Attention: every backend equals the definition in float64, under every mask, forward and backward."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from models.attention_cases import DOCUMENTS, MASKS, B, E, H, L, largest_error

from hdiff.layers.attended import dense_bias
from hdiff.layers.attention import attention, explain_backend, select_backend
from hdiff.layers.document_mask import DocumentMask


@pytest.mark.parametrize("mask", list(MASKS))
@pytest.mark.parametrize(
    ("backend", "dtype", "tolerance"),
    [
        ("reference", torch.float32, 1e-5),
        ("torch", torch.float32, 1e-5),
        ("torch", torch.float64, 1e-12),
        ("torch", torch.bfloat16, 0.1),
        (None, torch.float32, 1e-5),
    ],
)
def test_backends_equal_the_float64_reference(
    backend: str | None, dtype: torch.dtype, tolerance: float, mask: str
) -> None:
    assert largest_error(MASKS[mask], backend=backend, dtype=dtype) < tolerance


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_keeps_documents_apart() -> None:
    """Forward only: on CPUs it has no gradient."""
    assert largest_error(MASKS["documents"], backend="flex", gradients=False) < 1e-5


def test_a_document_mask_is_its_boolean_mask_and_its_lengths() -> None:
    mask = DocumentMask(DOCUMENTS)
    assert mask.lengths == [5, 4, 3, 8, 2, 2]
    assert torch.equal(mask.visible[0], torch.block_diag(*[torch.ones(n, n) for n in (5, 4, 3)]).bool())


def test_a_document_is_blind_to_its_neighbours() -> None:
    """To the last bit."""
    query, key, value = torch.randn(3, B, L, H, E).unbind(0)
    before = attention(query, key, value, visible=DocumentMask(DOCUMENTS))
    is_other = (DOCUMENTS != 1)[:, :, None, None]
    after = attention(
        query,
        torch.where(is_other, torch.randn_like(key), key),
        torch.where(is_other, torch.randn_like(value), value),
        visible=DocumentMask(DOCUMENTS),
    )
    assert torch.equal(before[DOCUMENTS == 1], after[DOCUMENTS == 1])
    assert not torch.equal(before[DOCUMENTS == 0], after[DOCUMENTS == 0])


def test_the_choice_is_explained() -> None:
    device = torch.device("cpu")
    assert explain_backend(device).startswith(
        f"{select_backend(device)} is used: xformers has kernels for CUDA"
    )


@pytest.mark.skipif(importlib.util.find_spec("xformers") is None, reason="xformers is not installed")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("length", [12, 13, 50, 100, 128])
def test_the_kernels_of_xformers_take_a_bias_of_any_length(length: int, dtype: torch.dtype) -> None:
    """Asked of xformers itself, which knows it without a GPU."""
    from xformers.ops import fmha

    query = torch.randn(2, length, 2, 32, dtype=dtype)
    allowed = torch.ones(length, length, dtype=torch.bool).tril()
    bias = dense_bias(query, allowed)
    assert torch.equal(bias == 0, allowed.expand(2, 2, -1, -1))
    assert torch.equal(bias == -torch.inf, ~allowed.expand(2, 2, -1, -1))

    def objections(bias: torch.Tensor) -> list[str]:
        inputs = fmha.Inputs(query, query, query, attn_bias=bias)
        return [reason for reason in fmha.cutlass.FwOp.not_supported_reasons(inputs) if "stride" in reason]

    assert objections(bias) == []
    if length % 4:
        assert objections(bias.contiguous()), "xformers would have refused a bias that is not padded"
