"""Random replacement: networks, finite ends, and a sampler that reproduces the language.

Dimensions: B batch, L tokens, V vocabulary, N strings of the language.
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from toy_language import ToyLanguage
from uniform_noise import (
    L,
    V,
    corrupt,
    integrated_bound,
    packed,
    posterior,
)

from hdiff.corruption import Corruption, TokenMasking
from hdiff.corruption.times import sample_times
from hdiff.corruption.uniform_state import UniformCorrupted, UniformState
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.sampling import Sampling
from hdiff.objectives.uniform_state import prior_term, uniform_state_nelbo
from hdiff.samplers import Samples
from hdiff.samplers.build import text_sampler
from hdiff.samplers.uniform_state import ReplacementSampler, reverse_posterior
from hdiff.schedules import (
    LinearSchedule,
    PolynomialSchedule,
)


@pytest.fixture
def language() -> ToyLanguage:
    return ToyLanguage(vocab_size=V, length=L)


def test_any_network_is_above_the_entropy(language: ToyLanguage, generator: torch.Generator) -> None:
    """Predictions that minimise the mean over a batch, one table entry per x_t: no better than exact."""
    corruption = UniformState(mask_id=V)
    table = torch.zeros(len(language.strings), L, V, requires_grad=True)
    place = V ** torch.arange(L).flip(0)

    def predict(corrupted: UniformCorrupted) -> Tensor:
        return packed(table[(corrupted.x_t * place).sum(1)].log_softmax(-1), corrupted)

    optimizer = torch.optim.Adam([table], lr=0.1)
    for _ in range(60):
        corrupted = corrupt(language, 512, generator)
        loss = uniform_state_nelbo(predict(corrupted), corrupted).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        bound = integrated_bound(language, corruption, predict)
    assert language.entropy < bound < L * math.log(V)


@pytest.mark.parametrize("k", [0.3, 1.0, 4.0, 60.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ends_of_time_are_finite(k: float, dtype: torch.dtype, generator: torch.Generator) -> None:
    """Also where p underflows to 0, where the prediction is certain, and backwards."""
    t = torch.tensor([1.0, 1 - 2**-24, 0.5, 1e-6, 1e-30], dtype=dtype)
    x_0 = torch.tensor([[0, 1, 2, 3]]).expand(len(t), -1)
    corruption = UniformState(mask_id=V + 1, k=k)
    corrupted = corruption.corrupt(Batch.of(x_0), t, generator=generator)
    if k == 60.0:
        assert float(corrupted.p.min()) == 0.0
    scores = torch.randn(x_0.numel(), V + 1, generator=generator, dtype=dtype).requires_grad_()
    certain = torch.full((x_0.numel(), V + 1), -torch.inf, dtype=dtype)
    certain[torch.arange(x_0.numel()), x_0.flatten()] = 0.0
    nats = uniform_state_nelbo(scores.log_softmax(-1), corrupted)
    assert bool(nats.isfinite().all())
    assert bool((nats >= 0).all())
    assert float(nats[0].detach()) == 0.0
    nats.sum().backward()
    assert scores.grad is not None
    assert bool(scores.grad.isfinite().all())
    assert bool((uniform_state_nelbo(certain, corrupted) >= 0).all())


def test_integrand_vanishes_smoothly_towards_t_1() -> None:
    """Proportional to 1 - t down to 1e-15: differences of nearly equal numbers would be noise there."""
    remaining = torch.logspace(-15, -4, 12, dtype=torch.float64, base=10.0)
    t = 1 - remaining
    batch = Batch.of(torch.zeros(len(t), 1, dtype=torch.long))
    corrupted = UniformState(mask_id=50, schedule=LinearSchedule()).corrupt(batch, t)
    log_probs = torch.linspace(0, 3, 50, dtype=torch.float64).log_softmax(0).expand(len(t), -1)
    for token in (0, 7):
        seen = replace(corrupted, x_t=torch.full_like(corrupted.x_t, token))
        slope = uniform_state_nelbo(log_probs, seen) / (1 - t)
        assert torch.allclose(slope, slope[-1], rtol=0.02)


def test_the_bound_equals_the_rate_form_it_comes_from(generator: torch.Generator) -> None:
    """sum_{y != z} [R' - R + R log(R / R')] with reverse rates R(z -> y) = beta / V q(y) / q(z)."""
    vocab_size = 6
    batch = Batch.of(torch.randint(vocab_size, (50, 2), generator=generator))
    t = sample_times(batch, generator=generator).double()
    corrupted = UniformState(mask_id=vocab_size, k=1.5).corrupt(batch, t, generator=generator)
    log_probs = torch.randn(100, vocab_size, generator=generator, dtype=torch.float64).log_softmax(1)
    p, dp, x_0, x_t = (
        corrupted.spans.gather(value) for value in (corrupted.p, corrupted.dp, corrupted.x_0, corrupted.x_t)
    )
    one_hot = torch.nn.functional.one_hot(x_0, vocab_size)
    rates = []
    for clean in (one_hot, log_probs.exp()):
        q = (1 - p)[:, None] * clean + p[:, None] / vocab_size
        rates.append((dp / (1 - p))[:, None] / vocab_size * q / q.gather(1, x_t[:, None]))
    true, predicted = rates
    terms = predicted - true + true * (true / predicted).log()
    terms = terms.scatter(1, x_t[:, None], 0.0)
    expected = terms.sum(1).view(50, 2).sum(1)
    assert torch.allclose(uniform_state_nelbo(log_probs, corrupted), expected, rtol=1e-6)


def test_float32_keeps_value_and_gradient_of_float64(generator: torch.Generator) -> None:
    vocab_size = 50
    corruption = UniformState(mask_id=vocab_size, schedule=PolynomialSchedule(2.5))
    batch = Batch.of(torch.randint(vocab_size, (64, 8), generator=generator))
    corrupted = corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
    scores = 3 * torch.randn(512, vocab_size, generator=generator, dtype=torch.float64)
    values, gradients = [], []
    for dtype in (torch.float64, torch.float32):
        leaf = scores.to(dtype).requires_grad_()
        nats = uniform_state_nelbo(leaf.log_softmax(-1), corrupted)
        (gradient,) = torch.autograd.grad(nats.sum(), leaf)
        values.append(nats.detach())
        gradients.append(gradient.double())
    torch.testing.assert_close(values[1], values[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4)


def test_gradient_is_that_of_the_value(generator: torch.Generator) -> None:
    corruption = UniformState(mask_id=5, schedule=PolynomialSchedule(2.5))
    batch = Batch.of(torch.randint(5, (3, 2), generator=generator))
    corrupted = corruption.corrupt(batch, torch.tensor([0.2, 0.6, 1.0]), generator=generator)
    scores = torch.randn(6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: uniform_state_nelbo(x.log_softmax(-1), corrupted), scores)


def test_prior_term_is_the_divergence_from_uniform() -> None:
    assert prior_term(torch.tensor([0.0, 1.0], dtype=torch.float64), 7).tolist() == pytest.approx(
        [math.log(7), 0.0]
    )
    q = torch.full((7,), 0.6 / 7, dtype=torch.float64)
    q[0] += 0.4
    expected = float((q * (7 * q).log()).sum())
    assert float(prior_term(torch.tensor(0.6, dtype=torch.float64), 7)) == pytest.approx(expected)


def test_log_probs_of_another_vocabulary_are_refused(generator: torch.Generator) -> None:
    batch = Batch.of(torch.zeros(2, 3, dtype=torch.long))
    corrupted = UniformState(mask_id=V).corrupt(batch, torch.ones(2), generator=generator)
    with pytest.raises(DataError, match=r"shape \(6, 4\); give \(6, 3\)"):
        uniform_state_nelbo(torch.zeros(6, 4), corrupted)


def test_reverse_posterior_is_bayes_rule(generator: torch.Generator) -> None:
    """Against q(x_t | x_s) q(x_s | x_0) / q(x_t | x_0), summed over a known law of x_0."""
    alpha_s, alpha_t = 0.8, 0.3
    probs = torch.rand(V, generator=generator, dtype=torch.float64)
    probs = probs / probs.sum()
    eye, flat = torch.eye(V, dtype=torch.float64), torch.full((V, V), 1 / V, dtype=torch.float64)
    to_s = alpha_s * eye + (1 - alpha_s) * flat  # (x_0, x_s)
    step = alpha_t / alpha_s * eye + (1 - alpha_t / alpha_s) * flat  # (x_s, x_t)
    joint = (probs @ to_s)[:, None] * step
    x_t = torch.arange(V)
    p_t, p_s = (torch.tensor(1 - alpha, dtype=torch.float64) for alpha in (alpha_t, alpha_s))
    law = reverse_posterior(probs.expand(V, V), x_t, p_t, p_s)
    assert torch.allclose(law, (joint / joint.sum(0)).T)
    everything = torch.ones((), dtype=torch.float64)
    assert torch.allclose(  # x_1 tells nothing
        reverse_posterior(probs.expand(V, V), x_t, everything, p_s), (probs @ to_s).expand(V, V)
    )
    assert torch.allclose(
        reverse_posterior(probs.expand(V, V), x_t, p_t, torch.zeros_like(p_t)).sum(1),
        torch.ones(V, dtype=torch.float64),
    )


def chi_square(language: ToyLanguage, tokens: Tensor) -> float:
    place = V ** torch.arange(L).flip(0)
    counts = (tokens * place).sum(1).bincount(minlength=len(language.strings))
    expected = language.probability * len(tokens)
    return float(((counts - expected) ** 2 / expected).sum())


def predictor_by_table(language: ToyLanguage, calls: list[float]):
    """The exact posterior of every x_t once per step: all rows are at the same p."""
    place = V ** torch.arange(L).flip(0)

    def log_probs_of(x_t: Tensor, p: Tensor) -> Tensor:
        calls.append(float(p[0, 0]))
        table = posterior(language, language.strings, p[:1].expand(len(language.strings), -1))
        return table[(x_t * place).sum(1)]

    return log_probs_of


@pytest.mark.parametrize("k", [1.0, 2.0])
def test_sampler_with_the_exact_posterior_reproduces_the_language(
    k: float, generator: torch.Generator
) -> None:
    """Chi-square with 26 degrees of freedom: 55 is its 99.9 % quantile. One step draws the marginals
    instead, and the same test sees it."""
    language = ToyLanguage(vocab_size=V, length=L, sharpness=1.0)
    calls: list[float] = []
    corruption = UniformState(mask_id=V, k=k)
    statistics = {}
    for num_steps in (1, 200):
        calls.clear()
        samples = ReplacementSampler(num_steps).sample(
            SimpleNamespace(log_probs=predictor_by_table(language, calls)),
            corruption,
            torch.full((5000, L), V),
            generator=generator,
        )
        tokens = samples.tokens
        assert samples.nfe == len(calls) == num_steps
        assert calls[0] == 1.0
        assert tokens.shape == (5000, L)
        statistics[num_steps] = chi_square(language, tokens)
    assert statistics[200] < 55
    assert statistics[1] > 110


def test_sampler_needs_a_corruption_that_knows_nothing_of_the_text(generator: torch.Generator) -> None:
    network = SimpleNamespace(log_probs=lambda x_t, p: torch.zeros(*x_t.shape, V).log_softmax(-1))
    hidden = torch.full((2, 3), V)

    def sample(corruption: Corruption, rows: Tensor = hidden, num_steps: int = 4) -> Samples:
        return ReplacementSampler(num_steps).sample(network, corruption, rows, generator=generator)

    plain = UniformState(mask_id=V)
    assert sample(plain).nfe == 4
    with pytest.raises(DataError, match="unconditional"):
        sample(UniformState(mask_id=V, k=[1.0, 2.0]))
    with pytest.raises(DataError, match="no mask_id"):
        sample(UniformState())
    with pytest.raises(DataError, match="num_steps is 0"):
        sample(plain, num_steps=0)
    with pytest.raises(DataError, match="fresh rows only"):
        sample(plain, torch.tensor([[0, V, V]]))
    with pytest.raises(DataError, match="its own sampler, 'ancestral'"):
        sample(TokenMasking(mask_id=V))
    with pytest.raises(DataError, match="at least one row"):
        sample(plain, hidden[:0])
    with pytest.raises(DataError, match="have a temperature"):
        ReplacementSampler(4, sampling=Sampling(top_k=2))
    with pytest.raises(DataError, match="have a temperature"):
        text_sampler(None, plain, num_steps=4, default=4, sampling=Sampling(top_k=2))


def test_low_temperature_draws_the_most_likely_tokens(generator: torch.Generator) -> None:
    scores = torch.tensor([0.0, 1.0, 0.5]).log_softmax(0)
    network = SimpleNamespace(log_probs=lambda x_t, p: scores.expand(*x_t.shape, V))
    sampler = ReplacementSampler(3, sampling=Sampling(temperature=0.01))
    samples = sampler.sample(network, UniformState(mask_id=V), torch.full((50, 4), V), generator=generator)
    assert bool((samples.tokens == 1).all())
