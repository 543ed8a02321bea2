"""MixtureHead and CRFHead: equal to enumeration, able to hold tokens together, stable, sampled exactly."""

from __future__ import annotations

import itertools
import math
import runpy
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hdiff.errors import RecipeError
from hdiff.heads import GREEDY, HEADS, CRFHead, Head, MixtureHead, ProductHead, Sampling
from hdiff.packed_spans import PackedSpans

VOCAB, WIDTH = 4, 16
BOTH = [MixtureHead, CRFHead]
SCRIPT = Path(__file__).parents[2] / "recipes" / "benchmarks" / "head_cost.py"


def spans_of(lengths: list[int]) -> PackedSpans:
    units = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None]
    return PackedSpans.from_units(units, torch.ones_like(units, dtype=torch.bool))


def head_of(cls: type[Head], *, std: float = 0.7, **options: int) -> Head:
    torch.manual_seed(0)
    head = cls(VOCAB, WIDTH, **options)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=std)
    return head


def strings_of(length: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(VOCAB), repeat=length)))


def some_support(length: int) -> Tensor:
    """Two or three of four tokens at each position."""
    support = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 0]], dtype=torch.bool)
    return support[:length]


def scores_of_all(head: Head, hidden: Tensor, support: Tensor | None = None) -> Tensor:
    """log_prob of all strings as one batch of spans, (V^n,)."""
    strings = strings_of(len(hidden))
    times = len(strings)
    return head.log_prob(
        hidden.repeat(times, 1),
        strings.flatten(),
        spans_of([len(hidden)] * times),
        support=None if support is None else support.repeat(times, 1),
    )


def factors(head: CRFHead) -> tuple[Tensor, Tensor]:
    """phi and psi, (V, R) each."""
    vectors = head.embedding.weight[: head.vocab_size] * head.width**0.5
    log_psi = (vectors @ head.enter.weight.T).clamp(-20, 20)
    return (vectors @ head.leave.weight.T).softmax(-1), log_psi.exp()


def definition(head: Head, hidden: Tensor, support: Tensor | None) -> Tensor:
    """log p of all strings in float64 by the formulas alone, one string after another."""
    head = type(head).double(head)
    hidden = hidden.double()
    possible = torch.ones(len(hidden), VOCAB, dtype=torch.bool) if support is None else support
    table, bias = head.embedding.weight[:VOCAB], head.output_bias
    scores = []
    if isinstance(head, CRFHead):
        unary = hidden @ table.T + bias
        transition = factors(head)[0] @ factors(head)[1].T
        for string in strings_of(len(hidden)):
            score = sum(unary[i, v] for i, v in enumerate(string))
            score = score + sum(transition[a, b].log() for a, b in itertools.pairwise(string))
            allowed = all(bool(possible[i, v]) for i, v in enumerate(string))
            scores.append(score if allowed else torch.tensor(-torch.inf).double())
        result = torch.stack(scores).log_softmax(0)
    else:
        assert isinstance(head, MixtureHead)
        pooled = F.gelu(head.pool.weight @ hidden.mean(0), approximate="tanh")
        weights = (head.choose.weight @ pooled + head.choose.bias).softmax(0)
        for string in strings_of(len(hidden)):
            total = torch.zeros((), dtype=torch.float64)
            for weight, component in zip(weights, head.components, strict=True):
                inner = F.gelu(hidden @ head.expand.weight.T + component, approximate="tanh")
                logits = (hidden + inner @ head.contract.weight.T) @ table.T + bias
                probability = logits.masked_fill(~possible, -torch.inf).softmax(-1)
                total = total + weight * probability[torch.arange(len(hidden)), string].prod()
            scores.append(total.log())
        result = torch.stack(scores)
    head.float()
    return result.detach()


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("cls", BOTH)
def test_scores_are_those_of_the_definition(
    cls: type[Head], length: int, restricted: bool, generator: torch.Generator
) -> None:
    head = head_of(cls)
    hidden = torch.randn(length, WIDTH, generator=generator)
    support = some_support(length) if restricted else None
    expected = definition(head, hidden, support)
    found = scores_of_all(head, hidden, support)
    possible = expected > -torch.inf
    assert int(possible.sum()) == (VOCAB**length if support is None else int(support.sum(1).prod()))
    assert torch.allclose(found[possible].double(), expected[possible], atol=2e-5)
    assert bool((found[~possible] == -torch.inf).all())
    assert float(found.exp().sum().detach()) == pytest.approx(1.0, abs=1e-5)


def test_crf_of_rank_one_is_a_product(generator: torch.Generator) -> None:
    """T(a, b) = psi(b) only adds log psi where a token is before."""
    head = head_of(CRFHead, rank=1)
    hidden = torch.randn(3, WIDTH, generator=generator)
    scores = head.logits(hidden)
    entering = factors(head)[1].log().squeeze(1)
    assert float(entering.std().detach()) > 0.3
    alone = (scores + torch.stack([torch.zeros(VOCAB), entering, entering])).log_softmax(-1)
    expected = alone[torch.arange(3), strings_of(3)].sum(1)
    assert torch.allclose(scores_of_all(head, hidden), expected, atol=1e-5)


@pytest.mark.parametrize(("cls", "options"), [(CRFHead, {}), (MixtureHead, {"num_components": 1})])
def test_heads_contain_the_product(
    cls: type[Head], options: dict[str, int], generator: torch.Generator
) -> None:
    """A CRF before training, and one component whose network is zero, score and learn as ProductHead does."""
    torch.manual_seed(0)
    head, product = cls(VOCAB, WIDTH, **options), ProductHead(VOCAB, WIDTH)
    product.load_state_dict({name: head.state_dict()[name] for name in product.state_dict()})
    if isinstance(head, MixtureHead):
        torch.nn.init.zeros_(head.contract.weight)
    hidden = torch.randn(9, WIDTH, generator=generator)
    targets = torch.randint(0, VOCAB, (9,), generator=generator)
    spans = spans_of([2, 1, 4, 2])
    found, expected = (one.log_prob(hidden, targets, spans) for one in (head, product))
    assert torch.allclose(found, expected, atol=1e-5)
    found.sum().backward()
    expected.sum().backward()
    assert torch.allclose(head.embedding.weight.grad, product.embedding.weight.grad, atol=1e-5)


@pytest.mark.parametrize("cls", BOTH)
def test_heads_hold_two_tokens_together(cls: type[Head]) -> None:
    """Pairs 00 and 11: from the initial weights to log 2 nats per span, where a product stays at 2 log 2."""
    torch.manual_seed(0)
    head = cls(2, WIDTH)
    spans = spans_of([2] * 64)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-2)
    for _ in range(80):
        bits = torch.randint(0, 2, (64,))
        loss = -head.log_prob(torch.ones(128, WIDTH), bits.repeat_interleave(2), spans).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) == pytest.approx(0.693, abs=0.05)


@pytest.mark.parametrize("cls", BOTH)
def test_large_vocabulary_and_extreme_scores_stay_finite(cls: type[Head], generator: torch.Generator) -> None:
    """V = 50,000, scores of +-50 and factors beyond their cut: finite values, finite gradients."""
    torch.manual_seed(0)
    head = cls(50_000, 8)
    with torch.no_grad():
        sign = torch.randint(0, 2, (50_001, 1), generator=generator) * 2.0 - 1
        head.embedding.weight.copy_(sign.expand(-1, 8))
        if isinstance(head, CRFHead):
            head.leave.weight.normal_(std=40, generator=generator)
            head.enter.weight.normal_(std=40, generator=generator)
    hidden = torch.full((6, 8), 50 / 8, requires_grad=True)
    assert float(head.logits(hidden).abs().max().detach()) == pytest.approx(50)
    targets = torch.randint(0, 50_000, (6,), generator=generator)
    log_prob = head.log_prob(hidden, targets, spans_of([4, 2]))
    log_prob.sum().backward()
    assert bool(torch.isfinite(log_prob).all())
    assert bool((log_prob < 0).all())
    for tensor in (hidden, *head.parameters()):
        assert bool(torch.isfinite(tensor.grad).all())


def test_crf_sum_over_all_strings_is_exact_at_extreme_scores(generator: torch.Generator) -> None:
    """Against Z in float64 over all 300^2 pairs: scores of +-50, factors over their whole range."""
    size = 300
    head = CRFHead(size, 8)
    with torch.no_grad():
        head.embedding.weight.normal_(std=10, generator=generator)
        head.leave.weight.normal_(std=0.3, generator=generator)
        head.enter.weight.normal_(std=0.3, generator=generator)
    hidden = torch.randn(2, 8, generator=generator)
    unary = head.logits(hidden).double()
    assert 40 < float(unary.abs().max().detach()) < 150
    phi, psi = factors(head.double())
    assert float(psi.max()) == pytest.approx(math.exp(20))
    assert float(psi.min()) == pytest.approx(math.exp(-20))
    transition = (phi @ psi.T).log()
    head.float()
    joint = (unary[0][:, None] + transition + unary[1][None]).flatten().log_softmax(0)
    pairs = torch.cartesian_prod(torch.arange(size), torch.arange(size))[::97]
    found = head.log_prob(hidden.repeat(len(pairs), 1), pairs.flatten(), spans_of([2] * len(pairs)))
    assert torch.allclose(found.double(), joint[::97], atol=1e-3, rtol=1e-5)


def test_crf_sums_to_one_under_autocast(generator: torch.Generator) -> None:
    head = head_of(CRFHead)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = scores_of_all(head, torch.randn(4, WIDTH, generator=generator))
    assert float(scores.exp().sum().detach()) == pytest.approx(1.0, abs=1e-4)


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
