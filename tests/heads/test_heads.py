"""Heads: normalised joints, causal inside the span, samples that follow them."""

from __future__ import annotations

import itertools

import pytest
import torch

from hdiff.heads import AS_IT_IS, HEADS, AutoregressiveHead, Head, ProductHead, Sampling
from hdiff.layers.attention import span_attention
from hdiff.packed_spans import PackedSpans

VOCAB = 3
CLASSES = {"class": [[1, 0, 1]], "nested classes": [[0, 1, 1], [0, 2, 1]]}
NAMES = [*HEADS, *(f"{kind} by {classes}" for kind in HEADS for classes in CLASSES)]
NAMES += [f"{kind} untied" for kind in HEADS] + ["autoregressive residual", "autoregressive residual untied"]


def spans_of(lengths: list[int]) -> PackedSpans:
    units = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None]
    return PackedSpans.from_units(units, torch.ones_like(units, dtype=torch.bool))


def head_of(name: str) -> Head:
    torch.manual_seed(0)
    kind, _, classes = name.partition(" by ")
    kind, *variants = kind.split()
    options = {"classes": CLASSES[classes]} if classes else {}
    head = HEADS[kind](VOCAB, 16, **options, **({"residual": True} if "residual" in variants else {}))
    if "untied" in variants:
        head.untie()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.5)
    return head


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_span_distribution_sums_to_one(name: str, length: int, generator: torch.Generator) -> None:
    head = head_of(name)
    hidden = torch.randn(length, 16, generator=generator)
    total = sum(
        float(head.log_prob(hidden, torch.tensor(string), spans_of([length])).detach().exp())
        for string in itertools.product(range(VOCAB), repeat=length)
    )
    assert total == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_spans_do_not_influence_each_other(name: str, generator: torch.Generator) -> None:
    head = head_of(name)
    spans = spans_of([2, 1, 4, 3])
    hidden = torch.randn(10, 16, generator=generator)
    targets = torch.randint(0, VOCAB, (10,), generator=generator)
    together = head.log_prob(hidden, targets, spans)
    starts = [0, 2, 3, 7, 10]
    for index, (start, end) in enumerate(itertools.pairwise(starts)):
        alone = head.log_prob(hidden[start:end], targets[start:end], spans_of([end - start]))
        assert torch.allclose(alone, together[index : index + 1], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_scored_distribution(name: str, generator: torch.Generator) -> None:
    """Chi-square of 20,000 sampled spans of two tokens against exp(log_prob)."""
    head = head_of(name)
    count = 20_000
    hidden = torch.randn(2, 16, generator=generator)
    drawn = head.sample(hidden.repeat(count, 1), spans_of([2] * count), generator=generator).view(count, 2)
    observed = torch.bincount(drawn[:, 0] * VOCAB + drawn[:, 1], minlength=VOCAB**2).double()
    strings = torch.tensor(list(itertools.product(range(VOCAB), repeat=2)))
    expected = (
        count * torch.stack([head.log_prob(hidden, s, spans_of([2]))[0] for s in strings]).exp().double()
    )
    likely = expected > 5
    statistic = float(((observed - expected)[likely] ** 2 / expected[likely]).sum())
    assert statistic < 35  # the 99.99 % quantile for 8 degrees of freedom is 31.8
    assert float(observed[~likely].sum()) < 60


def test_autoregressive_head_sees_only_earlier_tokens_of_its_span(generator: torch.Generator) -> None:
    head = head_of("autoregressive")
    hidden = torch.randn(3, 16, generator=generator)
    first = [head.log_prob(hidden[:1], torch.tensor([1]), spans_of([1]))]
    marginal = sum(
        head.log_prob(hidden, torch.tensor([1, a, b]), spans_of([3])).exp()
        for a in range(3)
        for b in range(3)
    )
    assert torch.allclose(first[0].exp(), marginal, atol=1e-5)


def test_autoregressive_head_can_hold_two_tokens_together_and_product_cannot() -> None:
    """Pairs 00 and 11: the joint reaches log 2 nats per span, the product stays at 2 log 2."""
    spans = spans_of([2] * 64)
    losses = {}
    for cls in (ProductHead, AutoregressiveHead):
        torch.manual_seed(0)
        head = cls(2, 16)
        optimizer = torch.optim.Adam(head.parameters(), lr=3e-2)
        for _ in range(80):
            bits = torch.randint(0, 2, (64,))
            loss = -head.log_prob(torch.ones(128, 16), bits.repeat_interleave(2), spans).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[cls] = float(loss.detach())
    assert losses[AutoregressiveHead] == pytest.approx(0.693, abs=0.05)
    assert losses[ProductHead] > 1.3


def test_sampling_noise_is_float64(generator: torch.Generator) -> None:
    """A token of probability e^-30 is never drawn in float32 noise's favour; frequencies are exact."""
    logits = torch.tensor([2.0, 1.0, 0.0]).expand(60_000, -1)
    frequency = torch.bincount(AS_IT_IS.draw(logits, generator=generator), minlength=3) / 60_000
    assert torch.allclose(frequency, logits[0].softmax(0), atol=0.01)
    cold = Sampling(temperature=1e-3).draw(logits, generator=generator)
    assert bool((cold == 0).all())


def test_span_attention_matches_the_float64_reference(generator: torch.Generator) -> None:
    spans = spans_of([1, 5, 2, 8, 3])
    query, key, value = torch.randn(3, 19, 2, 8, generator=generator, dtype=torch.float64).unbind(0)
    expected = torch.zeros_like(value)
    start = 0
    for length in spans.length.tolist():
        for i in range(start, start + length):
            for h in range(2):
                scores = (query[i, h] @ key[start : i + 1, h].T / 8**0.5).softmax(0)
                expected[i, h] = scores @ value[start : i + 1, h]
        start += length
    assert torch.allclose(span_attention(query, key, value, spans), expected, atol=1e-12)
    single = span_attention(query.float(), key.float(), value.float(), spans)
    assert torch.allclose(single.double(), expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_no_spans_are_no_trouble(name: str) -> None:
    units = torch.zeros(1, 4, dtype=torch.long)
    empty = PackedSpans.from_units(units, torch.zeros(1, 4, dtype=torch.bool))
    head = head_of(name)
    assert head.log_prob(torch.zeros(0, 16), torch.zeros(0, dtype=torch.long), empty).shape == (0,)
    assert head.sample(torch.zeros(0, 16), empty).shape == (0,)
