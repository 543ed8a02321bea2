"""Spans drawn with kept keys and values, and noise in parts: the tokens that plain definitions give."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from hdiff.heads import AS_IT_IS, AutoregressiveHead, Head, Sampling
from hdiff.packed_spans import PackedSpans

V, D, ROWS, LENGTH = 23, 16, 5, 24

LENGTHS = {
    "one long span a row": [24],
    "single tokens": [1] * 24,
    "equal spans": [8, 8, 8],
    "mixed": [1, 3, 2, 5, 1, 7, 5],
    "long ones first": [10, 6, 4, 3, 1],
    "long ones last": [1, 3, 4, 6, 10],
}


def head_of(num_layers: int, sees_row: bool, classes: list[list[int]] | None = None) -> AutoregressiveHead:
    torch.manual_seed(0)
    head = AutoregressiveHead(
        V, D, num_layers=num_layers, num_heads=2, sees_row=sees_row, classes=classes
    ).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.4)
    return head


def spans_of(lengths: list[int], generator: torch.Generator) -> tuple[Tensor, PackedSpans]:
    units = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)).expand(ROWS, LENGTH)
    chosen = torch.rand(ROWS, len(lengths), generator=generator) < 0.7
    chosen[0] = True
    spans = PackedSpans.from_units(units, chosen.gather(1, units))
    return spans.read(torch.randn(ROWS, LENGTH, D, generator=generator))


def drawn_anew(
    head: AutoregressiveHead,
    hidden: Tensor,
    spans: PackedSpans,
    sampling: Sampling,
    generator: torch.Generator,
    support: Tensor | None,
) -> Tensor:
    """The definition: the layers read the whole prefix again for every token."""
    tokens = torch.zeros_like(spans.token_index)
    for offset in range(int(spans.length.max())):
        prefix, kept = spans.prefixes(offset + 1)
        states = head._states(hidden[kept], tokens[kept].roll(1), prefix)
        last = prefix.offset == offset
        possible = None if support is None else support[kept][last]
        drawn = head.draw_tokens(states[last], sampling, generator=generator, support=possible)
        tokens[kept.nonzero().squeeze(1)[last]] = drawn
    return tokens


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(("num_layers", "sees_row"), [(1, False), (2, False), (1, True), (2, True)])
@torch.no_grad()
def test_kept_keys_draw_the_tokens_of_prefixes_read_anew(
    lengths: list[int], num_layers: int, sees_row: bool, generator: torch.Generator
) -> None:
    head = head_of(num_layers, sees_row)
    hidden, spans = spans_of(lengths, generator)
    for sampling, seed in itertools.product((AS_IT_IS, Sampling(temperature=0.7, top_p=0.9)), range(3)):
        support = None if seed < 2 else torch.rand(len(hidden), V, generator=generator) < 0.5
        if support is not None:
            support[:, 0] = True
        expected = drawn_anew(head, hidden, spans, sampling, torch.Generator().manual_seed(seed), support)
        found = head.sample(
            hidden,
            spans,
            sampling=sampling,
            generator=torch.Generator().manual_seed(seed),
            support=support,
        )
        assert torch.equal(found, expected)


@torch.no_grad()
def test_kept_keys_draw_the_same_tokens_where_the_output_has_classes(generator: torch.Generator) -> None:
    head = head_of(1, False, [[token % 5 for token in range(V)]])
    hidden, spans = spans_of(LENGTHS["mixed"], generator)
    expected = drawn_anew(head, hidden, spans, AS_IT_IS, torch.Generator().manual_seed(1), None)
    assert torch.equal(head.sample(hidden, spans, generator=torch.Generator().manual_seed(1)), expected)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("sees_row", [False, True])
@torch.no_grad()
def test_confidence_in_one_pass_is_the_log_probability_of_the_greedy_filling(
    lengths: list[int], sees_row: bool, generator: torch.Generator
) -> None:
    head = head_of(2, sees_row)
    hidden, spans = spans_of(lengths, generator)
    found = head.log_confidence(hidden, spans)
    assert torch.allclose(found, Head.log_confidence(head, hidden, spans), atol=1e-4)
    support = torch.rand(len(hidden), V, generator=generator) < 0.4
    support[:, 3] = True
    found = head.log_confidence(hidden, spans, support=support)
    assert torch.allclose(found, Head.log_confidence(head, hidden, spans, support=support), atol=1e-4)


def drawn_at_once(sampling: Sampling, logits: Tensor, generator: torch.Generator) -> Tensor:
    """The definition, with all noise in memory."""
    uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    gumbel = -torch.log(-torch.log(uniform.clamp(min=torch.finfo(torch.float64).tiny)))
    return (sampling.restrict(logits) + gumbel).argmax(-1)


@pytest.mark.parametrize(
    "shape",
    [(1,), (7,), (3, 5), (1, 4096), (130, 4096), (33, 8191), (2, 3, 1001), (5, 100_000), (0, 9), (9, 1)],
)
@pytest.mark.parametrize(
    "sampling",
    [AS_IT_IS, Sampling(temperature=0.3), Sampling(top_k=1), Sampling(temperature=1.7, top_p=0.8)],
    ids=["as it is", "cold", "greedy", "warm nucleus"],
)
def test_noise_in_parts_draws_the_same_bits_and_leaves_the_scores_and_the_generator_alike(
    shape: tuple[int, ...], sampling: Sampling
) -> None:
    logits = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(3))
    for scores in (logits, logits.double(), logits.bfloat16()):
        before = scores.clone()
        ours, plain = (torch.Generator().manual_seed(11) for _ in range(2))
        assert torch.equal(sampling.draw(scores, generator=ours), drawn_at_once(sampling, scores, plain))
        assert torch.equal(scores, before)
        assert torch.equal(ours.get_state(), plain.get_state())
