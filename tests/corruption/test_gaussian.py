"""Gaussian noise on embeddings: levels, closed forms, the bound on an enumerable language, sampler.

Dimensions: B batch, L tokens, E embedding width, V vocabulary, N strings of the language.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from gaussian_cases import WIDTH, ExactDenoiser, corrupted_batch, gaussian, random_table, small_denoiser
from torch import Tensor, nn
from toy_language import ToyLanguage

from hdiff.corruption.gaussian import noisy_embedding
from hdiff.data.batch import Batch
from hdiff.models.gaussian_denoiser import (
    GaussianOutput,
    log_probs_at_zero,
)
from hdiff.objectives.gaussian import gaussian_nelbo, prior_term
from hdiff.schedules import CosineSchedule, LinearSchedule, PolynomialSchedule, Schedule

SCHEDULES = {"linear": LinearSchedule(), "cosine": CosineSchedule(), "polynomial": PolynomialSchedule(2.0)}


def mean_and_error(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def by_position(batch: Batch) -> Batch:
    """Buckets 0, 1, 0 .. by position: speeds differ, and tell nothing of x_0."""
    return replace(batch, salience_buckets=batch.units("token") % 2)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_noise_has_the_variance_of_its_log_snr(schedule: Schedule, generator: torch.Generator) -> None:
    batch = by_position(Batch.of(torch.randint(0, 3, (4000, 4), generator=generator)))
    corruption = gaussian(schedule=schedule, k=[0.5, 2.0], log_snr_max=4.0, log_snr_min=-4.0)
    t = torch.full((4000,), 0.4)
    corrupted = corruption.corrupt(batch, t, generator=generator)
    clean = random_table()[corrupted.x_0]
    z_t = noisy_embedding(clean, corrupted.noise, corrupted.log_snr)
    p = float(schedule.p_mask(torch.tensor(0.4, dtype=torch.float64)))
    for position, k in enumerate([0.5, 2.0, 0.5, 2.0]):
        level = 4 - 8 * p**k
        assert corrupted.log_snr[:, position].tolist() == pytest.approx([level] * 4000, abs=1e-6)
        alpha = math.sqrt(1 / (1 + math.exp(-level)))
        noise = (z_t - alpha * clean)[:, position]
        # 16,000 draws: the variance of a variance is 2 / n.
        assert float(noise.var()) == pytest.approx(1 / (1 + math.exp(level)), rel=4 * math.sqrt(2 / 16_000))
        assert float(z_t[:, position].square().mean()) == pytest.approx(1.0, abs=0.05)


def test_both_noises_are_standard_normal_and_independent(generator: torch.Generator) -> None:
    batch = Batch.of(torch.zeros(5000, 2, dtype=torch.long))
    corrupted = gaussian().corrupt(batch, torch.full((5000,), 0.5), generator=generator)
    both = torch.stack([corrupted.noise.flatten(), corrupted.noise_at_zero.flatten()])
    assert torch.allclose(both.cov(), torch.eye(2), atol=4 * math.sqrt(2 / both.shape[1]))
    assert float(both.mean(1).abs().max()) < 4 / math.sqrt(both.shape[1])


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_rate_is_the_derivative_of_log_snr_and_ends_are_met(schedule: Schedule) -> None:
    corruption = gaussian(schedule=schedule)
    t = torch.linspace(0.05, 1.0, 20, dtype=torch.float64)[:, None].requires_grad_()
    speed = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    log_snr, rate = corruption.log_snr(t, speed)
    for column in range(3):
        (derivative,) = torch.autograd.grad(log_snr[:, column].sum(), t, retain_graph=True)
        assert torch.allclose(derivative.squeeze(1), rate[:, column])
    assert log_snr[-1].tolist() == pytest.approx([-9.0] * 3)
    near_zero, _ = corruption.log_snr(torch.tensor(1e-9), speed)
    assert near_zero.tolist() == pytest.approx([9.0] * 3, abs=2e-3)


def test_prior_term_is_the_kl_divergence() -> None:
    embedding = torch.randn(5, WIDTH, dtype=torch.float64)  # of any norm
    for level in (-9.0, -1.0, 2.0):
        alpha, sigma = math.sqrt(1 / (1 + math.exp(-level))), math.sqrt(1 / (1 + math.exp(level)))
        law = torch.distributions.Normal(alpha * embedding, sigma)
        kl = torch.distributions.kl_divergence(law, torch.distributions.Normal(0.0, 1.0)).sum(-1)
        assert torch.allclose(prior_term(embedding, level), kl, rtol=1e-9)


@pytest.mark.parametrize("log_snr_max", [-1.0, 0.0, 1.0])
def test_reconstruction_of_two_opposite_embeddings_is_a_known_integral(
    log_snr_max: float, generator: torch.Generator
) -> None:
    """-log p(x_0 | z_0) = softplus(-2 (a^2 E + a sqrt(E) g)) with g ~ N(0, 1) and a^2 = SNR."""
    table = torch.cat([torch.ones(1, WIDTH), -torch.ones(1, WIDTH)]).double()
    noise = torch.randn(100_000, WIDTH, generator=generator, dtype=torch.float64)
    nats = -log_probs_at_zero(table[:1].expand(100_000, -1), noise, log_snr_max, table)[:, 0]
    a = math.exp(log_snr_max / 2)
    g = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.exp(-g.square() / 2) / math.sqrt(2 * math.pi)
    expected = float(torch.trapezoid(density * F.softplus(-2 * (a * a * WIDTH + a * 2 * g)), g))
    mean, error = mean_and_error(nats)
    assert abs(mean - expected) < 4 * error


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("k", [0.7, 1.0, 2.0])
def test_constant_prediction_costs_snr_times_its_squared_error(
    k: float, schedule: Schedule, generator: torch.Generator
) -> None:
    """x_hat = mean embedding: 1/2 (SNR(0) - SNR(1)) ||e - mean||^2 for every schedule and speed.

    A predictor of embeddings that knows nothing is thus far worse than log V per token (thousands of nats):
    it ignores even z_i. One that gives tokens equal odds before it sees z scores log V, see below.
    """
    table, num_times = random_table(), 20_000
    batch = Batch.of(torch.ones(num_times, 1, dtype=torch.long))
    t = (torch.arange(num_times, dtype=torch.float64) + 0.5) / num_times
    corrupted = gaussian(schedule=schedule, k=k).corrupt(batch, t, generator=generator)
    certain = torch.tensor([-torch.inf, 0.0, -torch.inf]).double().expand(num_times, -1)
    output = GaussianOutput(
        log_probs=certain,
        log_probs_at_zero=certain,
        x_hat=table.mean(0).expand(num_times, -1),
        x_0_embedding=table[1].expand(num_times, -1),
    )
    expected = 0.5 * (math.exp(9) - math.exp(-9)) * float((table[1] - table.mean(0)).square().sum())
    prior = float(prior_term(table[1], -9.0))
    assert float(gaussian_nelbo(output, corrupted).mean()) == pytest.approx(
        expected + prior, rel=1e-3 if k >= 1 else 5e-3
    )  # midpoints meet the pole t^(k - 1) at t = 0 less well


def test_perfect_prediction_pays_the_end_terms_alone(generator: torch.Generator) -> None:
    table, tokens = random_table(), torch.tensor([[0, 2]])
    corruption = gaussian(log_snr_min=-1.0)
    corrupted = corruption.corrupt(Batch.of(tokens), torch.full((1,), 0.5), generator=generator)
    at_zero = torch.tensor([[0.5, 0.25, 0.25], [0.7, 0.2, 0.1]]).double().log()
    output = GaussianOutput(
        log_probs=at_zero, log_probs_at_zero=at_zero, x_hat=table[tokens[0]], x_0_embedding=table[tokens[0]]
    )
    expected = -math.log(0.5) - math.log(0.1) + 2 * float(prior_term(table[0], -1.0))
    assert gaussian_nelbo(output, corrupted).tolist() == pytest.approx([expected])


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_equal_odds_before_z_score_log_v(schedule: Schedule, generator: torch.Generator) -> None:
    """A head of zeros leaves the likelihood alone: log V per token, whatever the text and the embeddings."""
    denoiser = small_denoiser(vocab_size=7)
    nn.init.zeros_(denoiser.head.embedding.weight)
    batch = Batch.of(torch.tensor([[0, 5, 5, 6, 2]]).expand(40_000, -1))
    with torch.no_grad():
        corrupted = corrupted_batch(gaussian(mask_id=7, schedule=schedule), batch, generator)
        mean, error = mean_and_error(gaussian_nelbo(denoiser(corrupted), corrupted))
        slack = 5 * float(prior_term(denoiser.table()[:1].double(), -9.0))
    assert abs(mean - 5 * math.log(7)) < 4 * error + slack
    assert error < 0.02 * mean


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("k", [1.0, [0.5, 2.0]], ids=["one_speed", "two_speeds"])
def test_exact_posterior_scores_the_entropy(
    k: float | list[float], schedule: Schedule, generator: torch.Generator
) -> None:
    """Also with a speed for each position: the levels tell nothing of x_0 here, so H is the same."""
    language = ToyLanguage(length=3)
    batch = by_position(language.sample(160_000, generator))  # single rows vary by about 10 nats
    corrupted = corrupted_batch(gaussian(schedule=schedule, k=k), batch, generator)
    denoiser = ExactDenoiser(language, random_table())
    nats = gaussian_nelbo(denoiser(corrupted), corrupted)
    mean, error = mean_and_error(nats)
    # Above H: at most the prior terms, as the exact posterior pays KL(q(z_1) || N(0, I)) and z_0 shows x_0.
    slack = 3 * float(prior_term(random_table()[:1], -9.0))
    assert slack < 1e-3
    assert language.entropy - 4 * error < mean < language.entropy + 4 * error + slack
    assert error < 0.015 * language.entropy


def test_exact_posterior_scores_every_string_by_its_own_probability(generator: torch.Generator) -> None:
    """The bound is tight for each x_0, not on average only."""
    language = ToyLanguage(length=2)
    denoiser, count = ExactDenoiser(language, random_table()), 20_000
    for string, probability in zip(language.strings, language.probability.tolist(), strict=True):
        batch = Batch.of(string.expand(count, -1))
        corrupted = corrupted_batch(gaussian(), batch, generator)
        mean, error = mean_and_error(gaussian_nelbo(denoiser(corrupted), corrupted))
        assert abs(mean + math.log(probability)) < 4.5 * error + 1e-3


def test_planted_error_falls_below_the_entropy(generator: torch.Generator) -> None:
    """Half the weight of the diffusion term: what the tests above would see."""
    language = ToyLanguage(length=3)
    corrupted = corrupted_batch(gaussian(), language.sample(160_000, generator), generator)
    wrong = replace(corrupted, log_snr_rate=corrupted.log_snr_rate / 2)
    denoiser = ExactDenoiser(language, random_table())
    mean, error = mean_and_error(gaussian_nelbo(denoiser(corrupted), wrong))
    assert mean < language.entropy - 4 * error
    assert mean == pytest.approx(language.entropy / 2, rel=0.05)


def test_narrow_range_of_log_snr_is_still_a_bound(generator: torch.Generator) -> None:
    """Ends that leave much of x_0 in z_1 and lose some of it in z_0 cost nats, in the two end terms."""
    language = ToyLanguage(length=3)
    corruption = gaussian(log_snr_max=0.0, log_snr_min=-2.0)
    corrupted = corrupted_batch(corruption, language.sample(40_000, generator), generator)
    mean, error = mean_and_error(
        gaussian_nelbo(ExactDenoiser(language, random_table())(corrupted), corrupted)
    )
    assert mean > language.entropy + 4 * error


@pytest.mark.parametrize("steps", [0, 150])
def test_any_network_is_bounded_by_the_entropy(steps: int, generator: torch.Generator) -> None:
    language, corruption, denoiser = ToyLanguage(length=3), gaussian(), small_denoiser()
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=1e-2)
    for _ in range(steps):
        corrupted = corrupted_batch(corruption, language.sample(256, generator), generator)
        loss = gaussian_nelbo(denoiser(corrupted), corrupted).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    corrupted = corrupted_batch(
        corruption, language.sample(40_000 if steps else 10_000, generator), generator
    )
    with torch.no_grad():
        mean, error = mean_and_error(gaussian_nelbo(denoiser(corrupted), corrupted))
    assert mean > language.entropy + (4 * error if steps == 0 else -4 * error)
    assert steps == 0 or mean < 3 * math.log(3) - 4 * error  # it learned something
