"""Random replacement: frequencies, a bound that is one, a sampler that reproduces the language.

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

from hdiff.corruption import Corruption, TokenMasking
from hdiff.corruption.speeds import Speeds
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
    CosineSchedule,
    LinearSchedule,
    LogLinearSchedule,
    PolynomialSchedule,
    Schedule,
)

SCHEDULES = {
    "linear": LinearSchedule(),
    "cosine": CosineSchedule(),
    "polynomial": PolynomialSchedule(2.0),
    "log_linear": LogLinearSchedule(eps=0.3),
}
V, L = 3, 3
QUIET = PolynomialSchedule(2.0)  # finite variance; with the others the sample error is only an estimate


@pytest.fixture
def language() -> ToyLanguage:
    return ToyLanguage(vocab_size=V, length=L)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def likelihoods(language: ToyLanguage, x_t: Tensor, p: Tensor) -> Tensor:
    """q(x_t_j | string_j) of every string and token: (B, N, L)."""
    same = x_t[:, None, :] == language.strings
    return same * (1 - p[:, None, :]) + p[:, None, :] / language.vocab_size


def posterior(language: ToyLanguage, x_t: Tensor, p: Tensor, *, leave_one_out: bool = True) -> Tensor:
    """log p(x_0_i = v | x_t), with or without token i of x_t: (B, L, V)."""
    log_q = likelihoods(language, x_t, p).log()
    evidence = log_q.sum(2, keepdim=True) - (log_q if leave_one_out else 0)
    weight = (language.probability.log()[None, :, None] + evidence).softmax(1)  # (B, N, L)
    is_value = language.strings[:, :, None] == torch.arange(language.vocab_size)  # (N, L, V)
    return torch.einsum("bnl,nlv->blv", weight, is_value.double()).log()


def packed(log_probs: Tensor, corrupted: UniformCorrupted) -> Tensor:
    return corrupted.spans.gather(log_probs)


def uniform_log_probs(corrupted: UniformCorrupted) -> Tensor:
    num_tokens = len(corrupted.spans.token_index)
    return torch.full((num_tokens, corrupted.vocab_size), -math.log(corrupted.vocab_size))


def corrupt(
    language: ToyLanguage, num_rows: int, generator: torch.Generator, *, schedule: Schedule = QUIET
) -> UniformCorrupted:
    batch = language.sample(num_rows, generator)
    t = sample_times(batch, generator=generator)
    corruption = UniformState(mask_id=language.vocab_size, schedule=schedule)
    return corruption.corrupt(batch, t, generator=generator)


def integrated_bound(
    language: ToyLanguage, corruption: UniformState, predict, *, buckets: Tensor | None = None
) -> float:
    """The bound without noise: all x_0, all x_t, and Gauss-Legendre nodes over time.

    t = u^6 takes away the singularity at t = 0, which is t^(k - 1) log t.
    """
    num_nodes = 40
    u, node_weight = gauss_legendre(num_nodes)
    t, time_weight = u**6, node_weight * 6 * u**5
    num_strings = len(language.strings)
    clean, noisy, node = torch.meshgrid(
        torch.arange(num_strings), torch.arange(num_strings), torch.arange(num_nodes), indexing="ij"
    )
    x_0, x_t = (language.strings[index.flatten()] for index in (clean, noisy))
    batch = Batch.of(x_0)
    if buckets is not None:
        batch = replace(batch, salience_buckets=buckets.expand_as(x_0))
    corrupted = replace(corruption.corrupt(batch, t[node.flatten()]), x_t=x_t)
    q = ((x_0 == x_t) * (1 - corrupted.p) + corrupted.p / language.vocab_size).prod(1)
    weight = language.probability[clean.flatten()] * q * time_weight[node.flatten()]
    return float((weight * uniform_state_nelbo(predict(corrupted), corrupted)).sum())


def gauss_legendre(num_nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes in (0, 1) and weights, from the eigenvectors of the Jacobi matrix (Golub and Welsch, 1969)."""
    n = torch.arange(1, num_nodes, dtype=torch.float64)
    beside = n / (4 * n**2 - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return (nodes + 1) / 2, vectors[0] ** 2


def exact(language: ToyLanguage):
    return lambda corrupted: packed(posterior(language, corrupted.x_t, corrupted.p), corrupted)


# Corruption


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_tokens_are_replaced_as_often_as_p_says(schedule: Schedule, generator: torch.Generator) -> None:
    """A replaced token differs from the old one in (V - 1) / V of the cases; new tokens are uniform."""
    num_rows, vocab_size, speeds = 4000, 5, [0.5, 1.0, 3.0]
    buckets = (torch.arange(6) % 3).expand(num_rows, 6)
    batch = replace(Batch.of(torch.full((num_rows, 6), 2)), salience_buckets=buckets)
    corruption = UniformState(mask_id=vocab_size, schedule=schedule, k=speeds)
    for t in (0.1, 0.6, 1.0):
        times = torch.full((num_rows,), t, dtype=torch.float64)
        corrupted = corruption.corrupt(batch, times, generator=generator)
        for bucket, k in enumerate(speeds):
            p = float(schedule.p_mask(torch.tensor(t, dtype=torch.float64))) ** k
            chosen = corrupted.x_t[buckets == bucket]
            expected = torch.full((vocab_size,), p / vocab_size, dtype=torch.float64)
            expected[2] += 1 - p
            deviation = chosen.bincount(minlength=vocab_size) / len(chosen) - expected
            error = (expected * (1 - expected) / len(chosen)).sqrt()
            assert bool((deviation.abs() <= 4.5 * error + 1e-12).all())  # 180 comparisons
            assert torch.allclose(corrupted.p[buckets == bucket], torch.tensor(p, dtype=torch.float64))


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("k", [0.5, 1.0, 3.0])
def test_derivative_is_that_of_p(schedule: Schedule, k: float) -> None:
    corruption = UniformState(mask_id=V, schedule=schedule)
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64).requires_grad_()
    p, dp = corruption.replacement(t, torch.tensor(k, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(p.sum(), t)
    assert torch.allclose(gradient, dp.detach())


def test_padding_stays_and_is_not_scored(generator: torch.Generator) -> None:
    token_mask = torch.tensor([[True, True, False], [True, True, True]])
    batch = Batch(torch.full((2, 3), 7), token_mask)
    corrupted = UniformState(mask_id=50).corrupt(batch, torch.ones(2), generator=generator)
    assert int(corrupted.x_t[0, 2]) == 7
    assert torch.equal(corrupted.is_masked, token_mask)
    assert corrupted.spans.length.tolist() == [1] * 5
    assert corrupted.weight.tolist() == [1.0] * 5
    short = replace(corrupted, p_at_one=torch.zeros_like(corrupted.p))  # then the prior term is log V
    assert uniform_state_nelbo(uniform_log_probs(short), short).tolist() == pytest.approx(
        [2 * math.log(50), 3 * math.log(50)]
    )


def test_units_with_several_tokens_get_their_own_speed(generator: torch.Generator) -> None:
    units = torch.tensor([[0, 0, 1, 2, 2]])
    batch = replace(Batch.of(torch.zeros(1, 5, dtype=torch.long)), unit_ids={"phrase": units})
    corruption = UniformState(mask_id=V, k=2.0, level="phrase", k_inside=3.0, schedule=LinearSchedule())
    assert corruption.required_levels() == ("phrase",)
    assert corruption.speeds.per_token(batch).tolist() == [[6.0, 6.0, 2.0, 6.0, 6.0]]
    corrupted = corruption.corrupt(batch, torch.tensor([0.5]), generator=generator)
    assert corrupted.p[0].tolist() == [0.5**6, 0.5**6, 0.25, 0.5**6, 0.5**6]
    with pytest.raises(DataError, match="level 'phrase'"):
        corruption.corrupt(Batch.of(torch.zeros(1, 5, dtype=torch.long)), torch.ones(1))


@pytest.mark.parametrize(
    ("options", "is_conditional"),
    [
        ({}, False),
        ({"k": 2.0}, False),
        ({"k": [2.0]}, False),
        ({"k": [1.0, 1.0]}, False),
        ({"level": "word", "k_inside": 1.0}, False),
        ({"k": [1.0, 2.0]}, True),
        ({"level": "word", "k_inside": 2.0}, True),
    ],
)
def test_speeds_that_differ_make_the_bound_conditional(options, is_conditional: bool) -> None:
    corruption = UniformState(mask_id=V, schedule=CosineSchedule(), **options)
    assert corruption.conditional_on_structure == is_conditional
    free = corruption.unconditional()
    assert not free.conditional_on_structure
    assert free.speeds == Speeds((1.0,))
    assert free.required_levels() == ()
    assert (free.mask_id, free.schedule) == (corruption.mask_id, corruption.schedule)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0.0}, "k of all tokens is 0.0"),
        ({"k": -1.0}, "k of all tokens is -1.0"),
        ({"k": [1.0, 0.0]}, "k of bucket 1 is 0.0"),
        ({"k": []}, "empty list"),
        ({"level": "word", "k_inside": 0.0}, "k of units of level 'word' is 0.0"),
        ({"level": "word"}, "give both"),
        ({"k_inside": 2.0}, "give both"),
    ],
)
def test_impossible_options_are_refused(options, message: str) -> None:
    with pytest.raises(DataError, match=message):
        UniformState(mask_id=V, **options)


def test_speeds_per_bucket_need_the_buckets() -> None:
    batch = Batch.of(torch.zeros(2, 3, dtype=torch.long))
    corruption = UniformState(mask_id=V, k=[1.0, 2.0])
    with pytest.raises(DataError, match=r"use data\.salience_buckets=2"):
        corruption.corrupt(batch, torch.ones(2))
    batch = replace(batch, salience_buckets=torch.full((2, 3), 2))
    with pytest.raises(DataError, match=r"bucket 2, k has 2 speeds; .*data\.salience_buckets"):
        corruption.corrupt(batch, torch.ones(2))


def test_times_and_mask_id_are_checked_first() -> None:
    batch = Batch.of(torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(DataError, match="no mask_id"):
        UniformState().corrupt(batch, torch.ones(2))
    with pytest.raises(DataError, match="times lie in"):
        UniformState(mask_id=V, k=[1.0, 2.0]).corrupt(batch, torch.zeros(2))


# The bound


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("k", [0.5, 1.0, 3.0])
def test_uniform_predictor_scores_log_v_without_noise(
    language: ToyLanguage, schedule: Schedule, k: float
) -> None:
    corruption = UniformState(mask_id=V, schedule=schedule, k=k)
    assert integrated_bound(language, corruption, uniform_log_probs) == pytest.approx(
        L * math.log(V), rel=1e-6
    )


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(("vocab_size", "num_rows"), [(3, 40_000), (1000, 4000)])
def test_uniform_predictor_scores_log_v_on_average(
    schedule: Schedule, vocab_size: int, num_rows: int, generator: torch.Generator
) -> None:
    batch = Batch.of(torch.randint(vocab_size, (num_rows, 2), generator=generator))
    corruption = UniformState(mask_id=vocab_size, schedule=schedule)
    t = sample_times(batch, generator=generator)
    corrupted = corruption.corrupt(batch, t, generator=generator)
    mean, error = mean_and_error(uniform_state_nelbo(uniform_log_probs(corrupted), corrupted))
    assert abs(mean - 2 * math.log(vocab_size)) < 4 * error
    if schedule is SCHEDULES["polynomial"]:
        assert error < 0.03 * mean


@pytest.mark.parametrize("name", ["linear", "cosine", "polynomial"])
@pytest.mark.parametrize("k", [0.5, 1.0, 3.0])
def test_exact_posterior_scores_the_entropy_without_noise(language: ToyLanguage, name: str, k: float) -> None:
    corruption = UniformState(mask_id=V, schedule=SCHEDULES[name], k=k)
    assert integrated_bound(language, corruption, exact(language)) == pytest.approx(
        language.entropy, rel=1e-6
    )


def test_exact_posterior_scores_the_entropy_with_a_speed_per_token(language: ToyLanguage) -> None:
    """Speeds by place tell nothing about x_0, so the bound given the speeds is again the entropy."""
    corruption = UniformState(mask_id=V, k=[0.5, 1.0, 3.0])
    bound = integrated_bound(language, corruption, exact(language), buckets=torch.tensor([2, 0, 1]))
    assert bound == pytest.approx(language.entropy, rel=1e-6)


def test_an_early_end_costs_what_the_last_state_still_tells(language: ToyLanguage) -> None:
    """Entropy + KL(q(x_1) || uniform), q(x_1) the law of whole strings at t = 1, by enumeration."""
    corruption = UniformState(mask_id=V, schedule=LogLinearSchedule(eps=0.3))
    p = torch.full((len(language.strings), L), 0.7, dtype=torch.float64)
    law = likelihoods(language, language.strings, p).prod(2) @ language.probability
    gap = float((law * (law * len(law)).log()).sum())
    assert gap > 1e-3
    bound = integrated_bound(language, corruption, exact(language))
    assert bound == pytest.approx(language.entropy + gap, rel=1e-6)


@pytest.mark.parametrize("schedule", [QUIET, LinearSchedule()], ids=["polynomial", "linear"])
def test_exact_posterior_scores_the_entropy(
    language: ToyLanguage, schedule: Schedule, generator: torch.Generator
) -> None:
    """And the test has the power to see a wrong weight: twice or half the integrand is far off."""
    corrupted = corrupt(language, 60_000, generator, schedule=schedule)
    nats = uniform_state_nelbo(exact(language)(corrupted), corrupted)
    mean, error = mean_and_error(nats)
    assert abs(mean - language.entropy) < 4 * error
    if schedule is QUIET:
        assert error < 0.04
    for factor in (0.5, 2.0):
        wrong, wrong_error = mean_and_error(factor * nats)
        assert abs(wrong - language.entropy) > 4 * max(error, wrong_error)


@pytest.mark.parametrize("predictor", ["with its own token", "marginals", "uniform", "at a wrong p"])
def test_any_other_predictor_is_above_the_entropy(
    language: ToyLanguage, predictor: str, generator: torch.Generator
) -> None:

    def predict(corrupted: UniformCorrupted) -> Tensor:
        x_t, p = corrupted.x_t, corrupted.p
        if predictor == "with its own token":
            return packed(posterior(language, x_t, p, leave_one_out=False), corrupted)
        if predictor == "uniform":
            return uniform_log_probs(corrupted)
        told = torch.ones_like(p) if predictor == "marginals" else p**3
        return packed(posterior(language, x_t, told), corrupted)

    assert integrated_bound(language, UniformState(mask_id=V), predict) > language.entropy + 0.1
    corrupted = corrupt(language, 40_000, generator)
    mean, error = mean_and_error(uniform_state_nelbo(predict(corrupted), corrupted))
    assert mean > language.entropy + 4 * error


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


# The sampler


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
