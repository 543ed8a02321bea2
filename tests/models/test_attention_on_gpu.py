"""Attention on CUDA: xformers, flex attention, bf16 and compiled trunks equal the definition in float64."""

from __future__ import annotations

import pytest
import torch
from models.attention_cases import MASKS, largest_error

from hdiff.layers.attention import attention, available_backends, explain_backend, select_backend
from hdiff.layers.trunk import Trunk

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TOLERANCE = {torch.float32: 5e-3, torch.bfloat16: 0.1}  # float32 may be computed in TF32


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("mask", list(MASKS))
@pytest.mark.parametrize("backend", ["torch", "xformers"])
def test_backends_equal_the_float64_reference(backend: str, mask: str, dtype: torch.dtype) -> None:
    if available_backends()[backend] != "ok":
        pytest.skip(f"{backend}: {available_backends()[backend]}")
    assert largest_error(MASKS[mask], backend=backend, dtype=dtype, device="cuda") < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("length", [13, 50, 100, 128])
def test_masked_rows_may_have_any_length(length: int, dtype: torch.dtype) -> None:
    inputs = torch.randn(3, 2, length, 2, 32, device="cuda", dtype=dtype)
    token_mask = torch.arange(length, device="cuda") < torch.tensor([[length], [length // 2]], device="cuda")
    separate = [x.clone().requires_grad_() for x in inputs]
    exact = [x.double().requires_grad_() for x in inputs]
    found = attention(*separate, token_mask=token_mask)[token_mask]
    expected = attention(*exact, token_mask=token_mask, backend="reference")[token_mask]
    assert float((found.double() - expected).abs().max()) < TOLERANCE[dtype]
    gradients = zip(
        torch.autograd.grad(found.sum(), separate), torch.autograd.grad(expected.sum(), exact), strict=True
    )
    assert all(float((f.double() - e).abs().max()) < 2 * TOLERANCE[dtype] for f, e in gradients)


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_flex_keeps_documents_apart(dtype: torch.dtype) -> None:
    error = largest_error(MASKS["documents"], backend="flex", dtype=dtype, device="cuda")
    assert error < TOLERANCE[dtype]


def test_every_backend_is_ok_or_not_installed() -> None:
    found = available_backends()
    assert all(outcome == "ok" or outcome.startswith("not installed") for outcome in found.values()), found
    assert explain_backend(torch.device("cuda")).startswith(select_backend(torch.device("cuda")))


def test_a_compiled_trunk_equals_the_plain_one() -> None:
    torch.manual_seed(0)
    trunk = Trunk(64, depth=2, num_heads=2).cuda()
    hidden = torch.randn(2, 32, 64, device="cuda", requires_grad=True)
    expected = trunk(hidden)
    (gradient,) = torch.autograd.grad(expected.square().sum(), hidden)
    trunk.compile()
    found = trunk(hidden)
    (compiled_gradient,) = torch.autograd.grad(found.square().sum(), hidden)
    assert torch.allclose(found, expected, atol=1e-2)
    assert torch.allclose(compiled_gradient, gradient, atol=5e-2)
