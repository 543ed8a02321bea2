"""Draws and entropies of mixture and CRF heads, against enumeration."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
from small_heads import BOTH, VOCAB, WIDTH, head_of, scores_of_all, some_support, spans_of
from torch import Tensor

from hdiff.errors import RecipeError
from hdiff.heads import GREEDY, HEADS, CRFHead, Head, MixtureHead, ProductHead, Sampling

SCRIPT = Path(__file__).parents[2] / "recipes" / "benchmarks" / "head_cost.py"


def test_mixture_keeps_no_scores_of_the_vocabulary_for_the_backward_pass() -> None:
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept = max(kept, tensor.shape[-1])
        return tensor

    head = MixtureHead(5000, WIDTH)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        head.log_prob(torch.randn(4, WIDTH), torch.tensor([1, 2, 3, 4]), spans_of([2, 2]))
    assert 0 < kept < 5000


def statistic_of(drawn: Tensor, probability: Tensor, length: int) -> float:
    """Chi-square of sampled strings (N, n) per degree of freedom; impossible ones must not occur."""
    base = VOCAB ** torch.arange(length - 1, -1, -1)
    observed = torch.bincount((drawn * base).sum(1), minlength=VOCAB**length).double()
    expected = len(drawn) * probability.double()
    assert float(observed[expected == 0].sum()) == 0
    often = expected > 5
    rest = torch.stack([observed[~often].sum(), expected[~often].sum()])
    pairs = torch.cat([torch.stack([observed[often], expected[often]], 1), rest[None]])
    pairs = pairs[pairs[:, 1] > 0]
    return float(((pairs[:, 0] - pairs[:, 1]) ** 2 / pairs[:, 1]).sum()) / max(1, len(pairs) - 1)


@torch.no_grad()
@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("cls", BOTH)
def test_samples_of_spans_of_mixed_lengths_follow_their_scores(
    cls: type[Head], restricted: bool, generator: torch.Generator
) -> None:
    head = head_of(cls, std=0.5)
    lengths, count = [1, 3, 2], 8_000
    hidden = torch.randn(6, WIDTH, generator=generator)
    support = torch.cat([some_support(n) for n in lengths]) if restricted else None
    drawn = head.sample(
        hidden.repeat(count, 1),
        spans_of(lengths * count),
        generator=generator,
        support=None if support is None else support.repeat(count, 1),
    ).view(count, 6)
    for length, start in zip(lengths, [0, 1, 4], strict=True):
        part = slice(start, start + length)
        scores = scores_of_all(head, hidden[part], None if support is None else support[part])
        # 3.9 is far beyond the 99.99 % quantile from 3 degrees of freedom on.
        assert statistic_of(drawn[:, part], scores.exp(), length) < (16 if length == 1 else 3.9)


@torch.no_grad()
def test_temperature_acts_on_every_conditional_of_the_crf(generator: torch.Generator) -> None:
    """p(x_2)^(1/tau), then p(x_1 | x_2)^(1/tau), each normalised: not the string's own power."""
    head, tau, count = head_of(CRFHead, std=0.4), 0.5, 20_000
    hidden = torch.randn(2, WIDTH, generator=generator)
    joint = scores_of_all(head, hidden).view(VOCAB, VOCAB)
    last = (joint.logsumexp(0) / tau).softmax(0)
    first = (joint / tau).softmax(0)
    spans = spans_of([2] * count)
    drawn = head.sample(
        hidden.repeat(count, 1), spans, generator=generator, sampling=Sampling(temperature=tau)
    )
    assert statistic_of(drawn.view(count, 2), (first * last).flatten(), 2) < 3
    assert statistic_of(drawn.view(count, 2), (joint / tau).flatten().softmax(0), 2) > 3


@torch.no_grad()
def test_greedy_crf_takes_the_likeliest_last_token_then_the_one_before(generator: torch.Generator) -> None:
    head = head_of(CRFHead)
    hidden = torch.randn(2, WIDTH, generator=generator)
    joint = scores_of_all(head, hidden).view(VOCAB, VOCAB)
    last = int(joint.logsumexp(0).argmax())
    assert head.sample(hidden, spans_of([2]), sampling=GREEDY).tolist() == [
        int(joint[:, last].argmax()),
        last,
    ]


@torch.no_grad()
def test_greedy_mixture_takes_the_likeliest_component_then_its_likeliest_tokens() -> None:
    head = MixtureHead(2, WIDTH, num_components=3)
    head.embedding.weight.zero_()
    head.embedding.weight[0, 0], head.embedding.weight[1, 0] = 1.0, -1.0
    head.expand.weight.zero_()
    head.contract.weight.copy_(torch.eye(WIDTH) * 50)
    head.components.zero_()
    head.components[:, 0] = torch.tensor([2.0, -0.7, 2.0])  # token 0, 1, 0: together 0 is likelier
    head.choose.bias.copy_(torch.tensor([0.3, 0.4, 0.3]).log())
    spans, hidden = spans_of([2]), torch.zeros(2, WIDTH)
    assert head.log_prob(hidden, torch.tensor([0, 0]), spans).exp() == pytest.approx(0.6, abs=1e-4)
    assert head.sample(hidden, spans, sampling=GREEDY).tolist() == [1, 1]
    assert head.log_confidence(hidden, spans).exp() == pytest.approx(0.4, abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("cls", BOTH)
def test_cold_and_greedy_draws_are_deterministic(cls: type[Head], generator: torch.Generator) -> None:
    head = head_of(cls)
    hidden, spans = torch.randn(60, WIDTH, generator=generator), spans_of([1, 2, 3, 4] * 6)
    greedy = head.sample(hidden, spans, generator=generator, sampling=GREEDY)
    confidence = head.log_confidence(hidden, spans)
    assert torch.equal(confidence, head.log_prob(hidden, greedy, spans))
    for _ in range(5):
        cold = head.sample(hidden, spans, generator=generator, sampling=Sampling(temperature=1e-3))
        assert torch.equal(cold, greedy)
        assert torch.equal(head.sample(hidden, spans, generator=generator, sampling=GREEDY), greedy)
        assert torch.equal(head.log_confidence(hidden, spans), confidence)
    assert not torch.equal(head.sample(hidden, spans, generator=generator), greedy)


@torch.no_grad()
@pytest.mark.parametrize("cls", BOTH)
def test_banned_tokens_never_occur(cls: type[Head], generator: torch.Generator) -> None:
    head = head_of(cls, std=0.3)
    hidden, spans = torch.randn(3000, WIDTH, generator=generator), spans_of([1, 2, 3] * 500)
    assert set(head.sample(hidden, spans, generator=generator).tolist()) == {0, 1, 2, 3}
    drawn = head.sample(hidden, spans, generator=generator, sampling=Sampling(banned=(1, 2)))
    assert set(drawn.tolist()) == {0, 3}


@torch.no_grad()
@pytest.mark.parametrize("cls", BOTH)
def test_mean_entropy_is_that_of_the_enumerated_distribution(
    cls: type[Head], generator: torch.Generator
) -> None:
    head, count = head_of(cls), 20_000
    hidden = torch.randn(3, WIDTH, generator=generator)
    exact = float(torch.special.entr(scores_of_all(head, hidden).exp()).sum())
    estimates = head.entropy(hidden.repeat(count, 1), spans_of([3] * count), generator=generator)
    error = float(estimates.std()) / count**0.5
    assert float(estimates.mean()) == pytest.approx(exact, abs=4 * error + 1e-4)


@torch.no_grad()
def test_entropy_of_the_crf_is_exact_for_one_token_and_less_noisy_than_one_draw(
    generator: torch.Generator,
) -> None:
    head = head_of(CRFHead)
    hidden = torch.randn(500, WIDTH, generator=generator)
    exact = ProductHead.entropy(head, hidden, spans_of([1] * 500))
    assert torch.allclose(head.entropy(hidden, spans_of([1] * 500)), exact, atol=1e-5)
    many, spans = hidden[:2].repeat(2000, 1), spans_of([2] * 2000)
    ours, of_draw = (
        one(head, many, spans, generator=generator).std() for one in (CRFHead.entropy, Head.entropy)
    )
    assert float(ours) < 0.7 * float(of_draw)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(RecipeError, match="num_components=0"):
        MixtureHead(VOCAB, WIDTH, num_components=0)
    with pytest.raises(RecipeError, match="rank=0"):
        CRFHead(VOCAB, WIDTH, rank=0)


def test_head_cost_prints_a_row_for_every_head(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--width", "64", "--depth", "1", "--vocab", "50", "--length", "32", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *sizes])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [row[0].strip("| ") for row in rows] == list(HEADS)
    assert rows[0][2:] == ["1.00", "0 |"]
    assert int(rows[list(HEADS).index("crf")][3].strip(" |").replace(",", "")) == 2 * 64 * 16
