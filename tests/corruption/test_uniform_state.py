"""Random replacement: frequencies, a bound that is one, a sampler that reproduces the language.

Dimensions: B batch, L tokens, V vocabulary, N strings of the language.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from toy_language import ToyLanguage
from uniform_noise import (
    QUIET,
    L,
    V,
    corrupt,
    integrated_bound,
    likelihoods,
    packed,
    posterior,
)

from hdiff.corruption.speeds import Speeds
from hdiff.corruption.times import sample_times
from hdiff.corruption.uniform_state import UniformCorrupted, UniformState
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.objectives.uniform_state import uniform_state_nelbo
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


@pytest.fixture
def language() -> ToyLanguage:
    return ToyLanguage(vocab_size=V, length=L)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def uniform_log_probs(corrupted: UniformCorrupted) -> Tensor:
    num_tokens = len(corrupted.spans.token_index)
    return torch.full((num_tokens, corrupted.vocab_size), -math.log(corrupted.vocab_size))


def exact(language: ToyLanguage):
    return lambda corrupted: packed(posterior(language, corrupted.x_t, corrupted.p), corrupted)


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
