"""Gaussian noise with networks and samplers: gradients, padding, reverse steps, refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from gaussian_cases import WIDTH, ExactDenoiser, corrupted_batch, gaussian, random_table, small_denoiser
from toy_language import ToyLanguage

from hdiff.corruption.gaussian import Gaussian, noisy_embedding
from hdiff.corruption.speeds import Speeds
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.sampling import Sampling
from hdiff.objectives.gaussian import gaussian_nelbo
from hdiff.samplers.gaussian import GaussianSampler, reverse_step
from hdiff.schedules import LogLinearSchedule


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
