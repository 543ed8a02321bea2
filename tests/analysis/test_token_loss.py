"""Losses of tokens: they add up to the loss of their span, whatever the head."""

import pytest
import torch

from hdiff.analysis.token_loss import LONGEST_PREFIX, token_nats
from hdiff.heads import HEADS
from hdiff.packed_spans import PackedSpans

V, D = 11, 16
LENGTHS = (1, 4, 2, LONGEST_PREFIX + 3, 1)


@pytest.fixture
def spans():
    units = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))[None]
    return PackedSpans.from_units(units, torch.ones_like(units, dtype=torch.bool))


def head_of(kind: str, generator: torch.Generator):
    head = HEADS[kind](V, D)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    return head


@torch.no_grad()
@pytest.mark.parametrize("kind", HEADS)
def test_tokens_add_up_to_their_span(kind, spans, generator):
    head = head_of(kind, generator)
    hidden = torch.randn(sum(LENGTHS), D, generator=generator)
    targets = torch.randint(V, (sum(LENGTHS),), generator=generator)
    nats = token_nats(head, hidden, targets, spans)
    assert torch.allclose(spans.sum_tokens(nats), -head.log_prob(hidden, targets, spans).double(), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["product", "autoregressive"])
def test_the_first_token_of_a_span_is_predicted_as_if_it_were_alone(kind, spans, generator):
    head = head_of(kind, generator)
    hidden = torch.randn(sum(LENGTHS), D, generator=generator)
    targets = torch.randint(V, (sum(LENGTHS),), generator=generator)
    nats = token_nats(head, hidden, targets, spans)
    single = -head.log_prob(hidden, targets, spans.apart()).double()
    first = spans.offset == 0
    assert torch.allclose(nats[first], single[first], atol=1e-5)
    if kind == "autoregressive":
        assert not torch.allclose(nats[~first], single[~first], atol=1e-2)


@torch.no_grad()
def test_each_token_is_given_those_before_it_in_its_span(generator):
    """The chain rule: every token's p sums to 1 over the vocabulary, the tokens before it fixed."""
    head = head_of("autoregressive", generator)
    units = torch.zeros(1, 3, dtype=torch.long)
    spans = PackedSpans.from_units(units, torch.ones_like(units, dtype=torch.bool))
    hidden = torch.randn(3, D, generator=generator)
    total = torch.zeros((), dtype=torch.float64)
    for token in range(V):
        total += (-token_nats(head, hidden, torch.tensor([4, 2, token]), spans)[2]).exp()
    assert float(total) == pytest.approx(1.0, abs=1e-5)


@torch.no_grad()
def test_impossible_tokens_are_left_out_of_the_sum(generator):
    head = head_of("product", generator)
    units = torch.arange(2)[None]
    spans = PackedSpans.from_units(units, torch.ones_like(units, dtype=torch.bool))
    support = torch.zeros(2, V, dtype=torch.bool)
    support[:, 3] = True
    nats = token_nats(
        head, torch.randn(2, D, generator=generator), torch.tensor([3, 3]), spans, support=support
    )
    assert nats.tolist() == [0.0, 0.0]


@torch.no_grad()
def test_no_span_gives_no_loss(generator):
    empty = PackedSpans.from_units(torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 3, dtype=torch.bool))
    head = head_of("autoregressive", generator)
    assert token_nats(head, torch.zeros(0, D), torch.zeros(0, dtype=torch.long), empty).shape == (0,)
