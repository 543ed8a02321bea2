"""Samplers read rows that are alike once, and only places that are filled: the results are the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hdiff.corruption import SpanMasking, TokenMasking
from hdiff.data.batch import Batch
from hdiff.heads import AutoregressiveHead, ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.samplers import hidden_rows
from hdiff.samplers.build import build_sampler

V, LENGTH = 19, 12

SAMPLERS = [
    {"kind": "ancestral", "num_steps": 1},
    {"kind": "ancestral", "num_steps": 4},
    {"kind": "ancestral", "num_steps": 3, "order": "spaced"},
    {"kind": "ancestral", "num_steps": 4, "lengths": {1: 0.5, 3: 0.5}},
    {"kind": "ancestral", "num_steps": 4, "refresh": 2},
    {"kind": "confidence", "num_steps": 4},
    {"kind": "entropy_bounded", "gamma": 2.0},
]


class ReadsWhole:
    """The same network, of which a sampler sees only whole rows, every one of them."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.head, self.mask_id = denoiser, denoiser.head, denoiser.mask_id

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None) -> Tensor:
        return self.denoiser.hidden(x_t, token_mask)


def model_of(kind: str) -> Denoiser:
    torch.manual_seed(0)
    heads = {
        "product": ProductHead(V, 32),
        "spans": AutoregressiveHead(V, 32, num_heads=2),
        "sees row": AutoregressiveHead(V, 32, num_heads=2, sees_row=True),
    }
    return Denoiser(Trunk(32, depth=2, num_heads=2), heads[kind]).eval()


@pytest.mark.parametrize("kind", ["product", "spans", "sees row"])
@pytest.mark.parametrize("spec", SAMPLERS, ids=str)
def test_reading_less_draws_and_scores_the_same(kind: str, spec: dict[str, object]) -> None:
    model, sampler = model_of(kind), build_sampler(spec)
    corruption = (
        TokenMasking(mask_id=V)
        if kind == "product"
        else SpanMasking(segmentation="random", lengths={2: 0.5, 3: 0.5}, mask_id=V)
    )
    rows = hidden_rows(model, 5, LENGTH)
    given = rows.clone()
    given[0, :4], given[3] = 1, torch.arange(LENGTH)  # one row has less to fill, one nothing
    if "refresh" not in spec:
        for tokens in (rows, given, rows[:1]):
            less, whole = (
                sampler.sample(net, corruption, tokens, generator=torch.Generator().manual_seed(5))
                for net in (model, ReadsWhole(model))
            )
            assert torch.equal(less.tokens, whole.tokens)
            assert torch.equal(less.steps, whole.steps)
            assert torch.equal(less.calls, whole.calls)
    length = torch.tensor([LENGTH, 7, LENGTH, 1, 9])[:, None]
    padded = Batch.of(torch.randint(V, (5, LENGTH), generator=torch.Generator().manual_seed(1)))
    for batch in (padded, Batch(padded.input_ids, torch.arange(LENGTH) < length)):
        nets = (model,) if "refresh" in spec else (model, ReadsWhole(model))
        found = [
            sampler.score(net, corruption, batch, generator=torch.Generator().manual_seed(5)).nats
            for net in nets
        ]
        assert all(torch.allclose(nats, found[0], rtol=1e-5) for nats in found)
        assert bool(found[0].isfinite().all())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_last_layer_gives_the_places_that_are_asked_for(
    causal: bool, masked: bool, generator: torch.Generator
) -> None:
    torch.manual_seed(1)
    trunk = Trunk(32, depth=3, num_heads=2, causal=causal)
    hidden = torch.randn(4, 9, 32, generator=generator)
    mask = torch.arange(9) < torch.tensor([[9], [4], [7], [1]]) if masked else None
    places = torch.randperm(36, generator=generator)[:11].sort().values
    whole = trunk(hidden, mask).flatten(0, 1)[places]
    assert torch.allclose(trunk(hidden, mask, places=places), whole, atol=1e-5)
    gradients = []
    for output in (trunk(hidden, mask).flatten(0, 1)[places], trunk(hidden, mask, places=places)):
        trunk.zero_grad()
        output.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in trunk.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
