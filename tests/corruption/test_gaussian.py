"""Gaussian noise on embeddings: levels, closed forms, the bound on an enumerable language, sampler.

Dimensions: B batch, L tokens, E embedding width, V vocabulary, N strings of the language.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy_language import ToyLanguage

from hdiff.corruption import sample_times
from hdiff.corruption.gaussian import Gaussian, GaussianCorrupted, noisy_embedding
from hdiff.corruption.speeds import Speeds
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads import ProductHead
from hdiff.heads.sampling import Sampling
from hdiff.layers.trunk import Trunk
from hdiff.models.gaussian_denoiser import (
    GaussianDenoiser,
    GaussianOutput,
    expected_embedding,
    log_probs_at_zero,
    token_log_likelihood,
)
from hdiff.objectives.gaussian import gaussian_nelbo, prior_term
from hdiff.samplers.gaussian import GaussianSampler, reverse_step
from hdiff.schedules import CosineSchedule, LinearSchedule, LogLinearSchedule, PolynomialSchedule, Schedule

WIDTH = 4
SCHEDULES = {"linear": LinearSchedule(), "cosine": CosineSchedule(), "polynomial": PolynomialSchedule(2.0)}


def gaussian(**options: object) -> Gaussian:
    return Gaussian(**{"mask_id": 3, "embedding_width": WIDTH, **options})  # type: ignore[arg-type]


def random_table(vocab_size: int = 3, width: int = WIDTH, seed: int = 0) -> Tensor:
    rows = torch.randn(vocab_size, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(rows, dim=-1) * math.sqrt(width)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


class ExactDenoiser(nn.Module):
    """The posterior over all strings given z: weights p(x) prod_i N(z_i; alpha_i e(x_i), sigma_i^2 I)."""

    def __init__(self, language: ToyLanguage, table: Tensor) -> None:
        super().__init__()
        self.language, self.fixed = language, table

    def table(self) -> Tensor:
        return self.fixed

    def log_probs(self, z_t: Tensor, log_snr: Tensor, token_mask: Tensor | None = None) -> Tensor:
        likelihood = token_log_likelihood(z_t, log_snr, self.fixed)  # (B, L, V)
        at = torch.arange(self.language.length)
        of_string = likelihood[:, at, self.language.strings].sum(-1)  # (B, N)
        posterior = (self.language.probability.log() + of_string).softmax(-1)
        is_token = F.one_hot(self.language.strings, self.language.vocab_size).double()  # (N, L, V)
        return torch.einsum("bn,nlv->blv", posterior, is_token).log()

    def forward(self, corrupted: GaussianCorrupted) -> GaussianOutput:
        clean = self.fixed[corrupted.x_0]
        z_t = noisy_embedding(clean, corrupted.noise, corrupted.log_snr)
        log_probs = self.log_probs(z_t, corrupted.log_snr).flatten(0, 1)
        zero = corrupted.noise_at_zero.flatten(0, 1)
        return GaussianOutput(
            log_probs=log_probs,
            log_probs_at_zero=log_probs_at_zero(
                clean.flatten(0, 1), zero, corrupted.log_snr_ends[0], self.fixed
            ),
            x_hat=expected_embedding(log_probs, self.fixed),
            x_0_embedding=clean.flatten(0, 1),
        )


def corrupted_batch(corruption: Gaussian, batch: Batch, generator: torch.Generator) -> GaussianCorrupted:
    return corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)


def by_position(batch: Batch) -> Batch:
    """Buckets 0, 1, 0 .. by position: speeds differ, and tell nothing of x_0."""
    return replace(batch, salience_buckets=batch.units("token") % 2)


def small_denoiser(vocab_size: int = 3, seed: int = 0) -> GaussianDenoiser:
    torch.manual_seed(seed)
    return GaussianDenoiser(
        Trunk(16, depth=1, num_heads=2), ProductHead(vocab_size, 16), embedding_width=WIDTH
    )


# Levels


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


# Terms


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


# The bound


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


# The network


def test_gradients_are_finite_and_reach_every_weight(generator: torch.Generator) -> None:
    denoiser = small_denoiser()
    batch = Batch.of(torch.randint(0, 3, (64, 5), generator=generator))
    t = torch.linspace(1e-6, 1, 64)
    corrupted = gaussian().corrupt(batch, t, generator=generator)
    gaussian_nelbo(denoiser(corrupted), corrupted).mean().backward()
    for name, parameter in denoiser.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
    assert bool((denoiser.noised.weight.grad != 0).any())


def test_rescaling_the_table_changes_nothing(generator: torch.Generator) -> None:
    denoiser = small_denoiser()
    corrupted = corrupted_batch(gaussian(), ToyLanguage().sample(16, generator), generator)
    before = gaussian_nelbo(denoiser(corrupted), corrupted)
    with torch.no_grad():
        denoiser.noised.weight.mul_(100)
    assert torch.allclose(gaussian_nelbo(denoiser(corrupted), corrupted), before, rtol=1e-3)
    assert torch.allclose(denoiser.table().norm(dim=-1), torch.full((3,), 2.0))


def test_low_noise_recovers_tokens_in_mixed_precision(generator: torch.Generator) -> None:
    """In bfloat16 the likelihood would be off by hundreds of nats, and the bound with it."""
    denoiser = small_denoiser(vocab_size=50)
    batch = Batch.of(torch.randint(0, 50, (256, 4), generator=generator))
    corrupted = gaussian(mask_id=50).corrupt(batch, torch.full((256,), 0.1), generator=generator)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = gaussian_nelbo(denoiser(corrupted), corrupted)
    with torch.no_grad():
        full = gaussian_nelbo(denoiser(corrupted), corrupted)
    assert float(full.mean()) < 0.1
    assert torch.allclose(mixed, full, atol=0.01)


def test_padding_does_not_count(generator: torch.Generator) -> None:
    denoiser = small_denoiser()
    short = Batch.of(torch.randint(0, 3, (8, 3), generator=generator))
    tokens = torch.cat([short.input_ids, torch.full((8, 2), 3)], 1)  # padding is no token of the table
    padded = Batch(input_ids=tokens, token_mask=torch.arange(5).expand(8, -1) < 3)
    corrupted = corrupted_batch(gaussian(), padded, generator)
    unpadded = replace(
        gaussian().corrupt(short, torch.ones(8), generator=generator),
        **{
            name: getattr(corrupted, name)[:, :3]
            for name in ("noise", "noise_at_zero", "log_snr", "log_snr_rate")
        },
    )
    with torch.no_grad():
        long, expected = denoiser(corrupted), denoiser(unpadded)
    assert long.log_probs.shape == (24, 3)
    assert torch.allclose(
        gaussian_nelbo(long, corrupted), gaussian_nelbo(expected, unpadded), rtol=1e-4, atol=1e-5
    )


def test_packed_and_full_predictions_agree(generator: torch.Generator) -> None:
    denoiser = small_denoiser()
    corrupted = corrupted_batch(gaussian(), ToyLanguage(length=3).sample(8, generator), generator)
    z_t = noisy_embedding(denoiser.table()[corrupted.x_0], corrupted.noise, corrupted.log_snr)
    with torch.no_grad():
        assert torch.allclose(
            denoiser.log_probs(z_t, corrupted.log_snr).flatten(0, 1),
            denoiser(corrupted).log_probs,
            atol=1e-5,
        )


# The sampler


@pytest.mark.parametrize(("log_snr_t", "log_snr_s"), [(-9.0, -8.0), (-1.0, 2.0), (8.0, 9.0), (1.0, 1.0)])
def test_reverse_step_with_the_true_embedding_keeps_the_marginals(log_snr_t: float, log_snr_s: float) -> None:
    """From z_t ~ N(alpha_t e, sigma_t^2) it leads to z_s ~ N(alpha_s e, sigma_s^2)."""
    of = [math.sqrt(1 / (1 + math.exp(-level))) for level in (log_snr_t, log_snr_s)]
    (alpha_t, alpha_s), (sigma_t, sigma_s) = of, [math.sqrt(1 - alpha**2) for alpha in of]
    one = torch.ones(1, dtype=torch.float64)
    mean, deviation = reverse_step(alpha_t * one, one, log_snr_t, log_snr_s)  # noise 0, e = 1
    assert float(mean) == pytest.approx(alpha_s)
    slope, _ = reverse_step(one, 0 * one, log_snr_t, log_snr_s)
    assert (float(slope) * sigma_t) ** 2 + deviation**2 == pytest.approx(sigma_s**2)
    # Noise is added on the way from s to t, so cov(z_s, z_t | x_0) = (alpha_t / alpha_s) sigma_s^2.
    assert float(slope) * sigma_t**2 == pytest.approx(alpha_t / alpha_s * sigma_s**2)


@pytest.mark.parametrize("k", [1.0, 0.5])
def test_sampler_with_the_exact_posterior_reproduces_the_language(
    k: float, generator: torch.Generator
) -> None:
    """Total variation. n draws of the law itself have E[TV] <= 1/2 sum_x sqrt(p (1 - p) / n), 0.011 here; the
    steps add an error of order 1 / T. The product of the marginals is further away than 0.1."""
    language, count = ToyLanguage(length=2), 10_000
    denoiser = ExactDenoiser(language, random_table())
    hidden = torch.full((count, 2), 3)
    samples = GaussianSampler(100).sample(denoiser, gaussian(k=k), hidden, generator=generator)
    assert samples.nfe == 100
    tokens = samples.tokens
    place = tokens[:, 0] * 3 + tokens[:, 1]
    observed = torch.bincount(place, minlength=9).double() / count
    p = language.probability
    sampling = 0.5 * float((p * (1 - p) / count).sqrt().sum())
    joint = p.view(3, 3)
    product = torch.outer(joint.sum(1), joint.sum(0)).flatten()
    assert 0.5 * float((product - p).abs().sum()) > 0.1
    assert 0.5 * float((observed - p).abs().sum()) < 2 * sampling + 0.01


def test_sampler_of_a_network_repeats_with_its_generator() -> None:
    denoiser, corruption = small_denoiser(), gaussian()
    draws = [
        GaussianSampler(5, sampling=Sampling(temperature=0.7))
        .sample(denoiser, corruption, torch.full((4, 6), 3), generator=torch.Generator().manual_seed(seed))
        .tokens
        for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert draws[0].shape == (4, 6)
    assert int(draws[0].max()) < 3


@pytest.mark.parametrize(
    ("options", "corruption", "message"),
    [
        ({"num_steps": 0}, gaussian(), "num_steps is 0"),
        ({"sampling": Sampling(top_p=0.5)}, gaussian(), "have a temperature"),
        ({}, gaussian(k=[1.0, 2.0]), "unconditional"),
        ({}, gaussian(embedding_width=8), "embedding_width 8"),
    ],
)
def test_sampler_refuses_what_it_cannot_do(options, corruption: Gaussian, message: str) -> None:
    def sample() -> None:
        sampler = GaussianSampler(**{"num_steps": 4, **options})
        sampler.sample(small_denoiser(), corruption, torch.full((2, 3), 3))

    with pytest.raises(DataError, match=message):
        sample()


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0.0}, "k of all tokens is 0"),
        ({"k": [1.0, -1.0]}, "k of bucket 1 is -1"),
        ({"k": []}, "empty list"),
        ({"k_inside": 2.0}, "give both"),
        ({"level": "phrase"}, "give both"),
        ({"level": "phrase", "k_inside": 0.0}, "units of level 'phrase'"),
        ({"log_snr_max": -9.0}, "log_snr_min < log_snr_max"),
        ({"log_snr_max": 40.0}, "log_snr_max <= 30"),
        ({"log_snr_min": -math.inf}, "log_snr_min < log_snr_max"),
        ({"embedding_width": 0}, "embedding_width is 0"),
        ({"schedule": LogLinearSchedule()}, "ends at p_mask"),
    ],
)
def test_impossible_options_are_refused(options, message: str) -> None:
    with pytest.raises(DataError, match=message):
        gaussian(**options)


def test_missing_structure_is_refused_by_the_name_of_the_setting() -> None:
    batch = Batch.of(torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(DataError, match=r"data\.salience_buckets"):
        gaussian(k=[1.0, 2.0]).corrupt(batch, torch.ones(2))
    more = replace(batch, salience_buckets=torch.full((2, 3), 2))
    with pytest.raises(DataError, match="salience bucket 2, k has 2"):
        gaussian(k=[1.0, 2.0]).corrupt(more, torch.ones(2))
    with pytest.raises(DataError, match="needs level 'phrase'"):
        gaussian(level="phrase", k_inside=2.0).corrupt(batch, torch.ones(2))
    with pytest.raises(DataError, match="embedding_width 8"):
        small_denoiser()(gaussian(embedding_width=8).corrupt(batch, torch.ones(2)))


def test_tokens_inside_longer_units_have_their_own_speed() -> None:
    batch = Batch(
        input_ids=torch.zeros(1, 4, dtype=torch.long),
        token_mask=torch.ones(1, 4, dtype=torch.bool),
        unit_ids={"phrase": torch.tensor([[0, 1, 1, 2]])},
        salience_buckets=torch.tensor([[0, 0, 1, 1]]),
    )
    corruption = gaussian(k=[1.0, 3.0], level="phrase", k_inside=2.0)
    assert corruption.speeds.per_token(batch).tolist() == [[1.0, 2.0, 6.0, 3.0]]
    assert corruption.required_levels() == ("phrase",)


def test_only_speeds_that_differ_within_a_text_are_conditional() -> None:
    assert not gaussian().conditional_on_structure
    assert not gaussian(k=2.0).conditional_on_structure
    assert not gaussian(k=[2.0, 2.0]).conditional_on_structure
    assert not gaussian(level="phrase", k_inside=1.0).conditional_on_structure
    for corruption in (gaussian(k=[1.0, 2.0]), gaussian(level="phrase", k_inside=2.0)):
        assert corruption.conditional_on_structure
        free = corruption.unconditional()
        assert not free.conditional_on_structure
        assert free.speeds == Speeds((1.0,))
        assert free.embedding_width == WIDTH
        assert free.mask_id == 3
