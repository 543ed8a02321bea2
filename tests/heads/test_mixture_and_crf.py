"""MixtureHead and CRFHead: equal to enumeration, able to hold tokens together, stable, sampled exactly."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from small_heads import BOTH, VOCAB, WIDTH, head_of, scores_of_all, some_support, spans_of, strings_of
from torch import Tensor

from hdiff.heads import CRFHead, Head, MixtureHead, ProductHead


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
