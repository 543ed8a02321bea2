"""DependencySampler: what is filled together is not tied; orders that are no draw are alike for all seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sampler_cases import LENGTH, SPANS, VOCAB, denoiser_of
from tiny_checkpoints import make_bert, make_llama

from hdiff.corruption import TokenMasking
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads import AutoregressiveHead, ProductHead
from hdiff.heads.sampling import Sampling
from hdiff.layers.attention import attention
from hdiff.layers.trunk import Trunk, rotary_angles
from hdiff.models.denoiser import Denoiser
from hdiff.models.pretrained_checkpoint import load_trunk
from hdiff.models.seen_attention import attention_seen
from hdiff.packed_spans import PackedSpans
from hdiff.samplers import (
    AncestralSampler,
    ConfidenceSampler,
    DependencySampler,
    EntropyBoundedSampler,
    Sampler,
    hidden_rows,
)
from hdiff.samplers.dependency import _independent

TOKENS = TokenMasking(mask_id=VOCAB)


def test_the_weights_that_are_seen_are_those_of_the_trunk() -> None:
    torch.manual_seed(0)
    trunk = Trunk(16, depth=1, num_heads=2).eval()
    hidden, mask = torch.randn(2, 5, 16), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    with attention_seen(trunk) as seen:
        trunk(hidden, mask)
    (weights,) = seen
    assert weights.shape == (2, 5, 5)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 5))
    assert not bool(weights[1, :3, 3:].any())
    layer: Any = trunk.layers[0]
    angles = rotary_angles(torch.arange(5), 8)
    query, key, _ = layer.project_in(hidden, angles)
    told = torch.eye(5)[None, :, None].expand(2, 5, 2, 5)  # values that tell what they were weighed with
    expected = attention(query, key, told, token_mask=mask, backend="reference").mean(2)
    assert torch.allclose(weights, expected, atol=1e-6)
    with attention_seen(trunk) as again:
        trunk(hidden)
    assert len(again) == 1
    assert not trunk.layers[0]._forward_pre_hooks


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_weights_of_pretrained_networks_are_seen_and_nothing_stays_changed(kind: str, tmp_path: Path) -> None:
    make_bert(tmp_path) if kind == "bert" else make_llama(tmp_path, is_causal=False)
    trunk, table = load_trunk(str(tmp_path))
    trunk.eval()
    hidden = torch.randn(2, 6, table.rows.shape[1])
    before, implementation = trunk(hidden), trunk.encoder.config._attn_implementation
    with attention_seen(trunk) as seen:
        during = trunk(hidden)
    assert len(seen) == trunk.shape["depth"]
    for weights in seen:
        assert torch.allclose(weights.sum(-1), torch.ones(2, 6), atol=1e-4)
    assert torch.allclose(before, during, atol=1e-4)
    assert trunk.encoder.config._attn_implementation == implementation
    with attention_seen(trunk):
        pass
    assert torch.equal(trunk(hidden), before)


@pytest.mark.parametrize("seed", range(6))
def test_spans_that_are_filled_together_are_not_tied(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    rows, length = 3, 9
    begins = torch.rand(rows, length, generator=g) < 0.5
    begins[:, 0] = False
    is_hidden = torch.rand(rows, length, generator=g) < 0.7
    is_hidden[seed % rows] = seed % 2 == 0  # also a row with nothing to fill
    spans = PackedSpans.from_units(begins.long().cumsum(1), is_hidden)
    tied = torch.rand(rows, length, length, generator=g) < 0.15
    tied |= tied.mT.clone()
    confidence = torch.rand(spans.num_spans, generator=g).log()
    may = confidence > -1.0
    taken = _independent(spans, confidence, may, tied)
    places = [spans.token_index[spans.span_index == n] % length for n in range(spans.num_spans)]

    def conflict(one: int, other: int) -> bool:
        pairs = tied[spans.row[one]][places[one]][:, places[other]]
        return bool(spans.row[one] == spans.row[other]) and bool(pairs.any())

    for row in spans.row.unique():
        mine = [n for n in range(spans.num_spans) if spans.row[n] == row]
        first = max(mine, key=lambda n: float(confidence[n]))
        assert taken[first]
        chosen = [n for n in mine if taken[n]]
        assert not any(conflict(a, b) for a in chosen for b in chosen if a != b)
        for n in set(mine) - set(chosen):  # nothing more could be taken
            assert not may[n] or any(conflict(n, other) for other in chosen)


def test_more_strength_takes_fewer_steps() -> None:
    model = denoiser_of(ProductHead, vocab=7)
    steps = []
    for strength in (0.1, 1.05, 1e6):
        sampler = DependencySampler(strength=strength)
        rows = hidden_rows(model, 4, 12)
        drawn = sampler.sample(
            model, TokenMasking(mask_id=7), rows, generator=torch.Generator().manual_seed(0)
        )
        steps.append(drawn.nfe)
    assert steps[0] == 12
    assert steps[2] == 1
    assert 1 < steps[1] <= 12


@pytest.mark.parametrize(
    ("sampler", "tokens", "spans"),
    [
        (DependencySampler(strength=1.1), True, False),
        (DependencySampler(strength=1.1, segmentation="planned"), True, True),
        (ConfidenceSampler(threshold=0.4), True, False),
        (ConfidenceSampler(threshold=0.4, measure="margin"), True, False),
        (EntropyBoundedSampler(0.7), True, False),
        (EntropyBoundedSampler(0.7, segmentation="planned"), True, True),
        (AncestralSampler(2, order="left_to_right"), True, False),
        (AncestralSampler(2, order="spaced"), False, False),
        (AncestralSampler(2), False, False),
    ],
)
def test_a_sampler_is_exact_where_its_order_is_no_draw(sampler: Sampler, tokens: bool, spans: bool) -> None:
    model, joint = denoiser_of(ProductHead), denoiser_of(AutoregressiveHead)
    assert (sampler.is_exact(model, TOKENS), sampler.is_exact(model, SPANS)) == (tokens, spans)
    assert not sampler.with_sampling(Sampling(temperature=0.5)).is_exact(model, TOKENS)
    is_entropy = isinstance(sampler, EntropyBoundedSampler)  # of a joint head, estimated from a draw
    assert sampler.is_exact(joint, TOKENS) is (tokens and not is_entropy)
    batch = Batch.of(torch.randint(0, VOCAB, (6, LENGTH), generator=torch.Generator().manual_seed(3)))
    for corruption, is_exact in ((TOKENS, tokens), (SPANS, spans)):
        networks = [model] if is_entropy else [model, joint]
        for network in networks if is_exact else []:
            found = [
                sampler.score(network, corruption, batch, generator=torch.Generator().manual_seed(seed)).nats
                for seed in range(3)
            ]
            assert torch.equal(found[0], found[1])
            assert torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0.0}, "strength is 0.0; give a number above 0"),
        ({"strength": float("inf")}, "strength is inf"),
        ({"threshold": 1.5}, "threshold is 1.5; it is a probability"),
        ({"sure": 0.0}, "sure is 0.0; it is a probability"),
        ({"anchored": -1.0}, "anchored is -1.0"),
    ],
)
def test_impossible_arguments_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        DependencySampler(**options)


def test_a_trunk_whose_hidden_tokens_do_not_see_each_other_is_refused() -> None:
    model = Denoiser(Trunk(16, depth=1, num_heads=2, in_order=True), ProductHead(VOCAB, 16)).eval()
    with pytest.raises(DataError, match="attention any_order, in which hidden tokens do not see"):
        DependencySampler().sample(model, TOKENS, hidden_rows(model, 1, LENGTH))


def test_a_foreign_network_is_filled_and_scored(tmp_path: Path) -> None:
    make_bert(tmp_path)
    trunk, table = load_trunk(str(tmp_path))
    model = Denoiser(trunk, ProductHead(VOCAB, table.rows.shape[1])).eval()
    sampler = DependencySampler(strength=1.2)
    drawn = sampler.sample(model, TOKENS, hidden_rows(model, 2, LENGTH), generator=torch.Generator())
    nats = sampler.score(model, TOKENS, Batch.of(drawn.tokens)).nats
    assert bool((drawn.tokens < VOCAB).all())
    assert bool((nats > 0).all())
