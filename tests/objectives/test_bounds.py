"""The mathematics: every printed likelihood is a bound (docs/concepts.md)."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from toy_language import ToyDenoiser, ToyLanguage, UniformDenoiser

from hdiff.corruption import Corruption, SpanMasking, TokenMasking, sample_times
from hdiff.data.batch import Batch
from hdiff.heads import AutoregressiveHead, ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.objectives import nelbo, t_step_corrupted
from hdiff.packed_spans import PackedSpans
from hdiff.schedules import (
    CosineSchedule,
    LinearSchedule,
    LogLinearSchedule,
    PolynomialSchedule,
    Schedule,
)

SCHEDULES = {"linear": LinearSchedule(), "cosine": CosineSchedule(), "polynomial": PolynomialSchedule(2.0)}
EXACT_SCHEDULES = {**SCHEDULES, "log_linear": LogLinearSchedule()}
RANDOM_LENGTHS = {1: 0.4, 2: 0.4, 3: 0.2}


def token_masking(vocab_size: int, **options: object) -> TokenMasking:
    return TokenMasking(mask_id=vocab_size, **options)  # type: ignore[arg-type]


def random_spans(vocab_size: int, **options: object) -> SpanMasking:
    return SpanMasking(segmentation="random", lengths=RANDOM_LENGTHS, mask_id=vocab_size, **options)  # type: ignore[arg-type]


def mean_and_error(values: torch.Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def bound_per_row(
    denoiser: torch.nn.Module, corruption: Corruption, batch: Batch, generator: torch.Generator
) -> torch.Tensor:
    corrupted = corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
    return nelbo(denoiser(corrupted), batch, corrupted).nats.double()


def t_step_per_row(
    denoiser: torch.nn.Module,
    corruption: Corruption,
    batch: Batch,
    num_steps: int,
    generator: torch.Generator,
) -> torch.Tensor:
    u = torch.rand(batch.input_ids.shape[0], generator=generator, dtype=torch.float64)
    corrupted = t_step_corrupted(batch, corruption, u, num_steps=num_steps, generator=generator)
    return nelbo(denoiser(corrupted), batch, corrupted).nats.double()


@pytest.mark.parametrize("schedule", EXACT_SCHEDULES.values(), ids=EXACT_SCHEDULES)
def test_uniform_denoiser_scores_log_v_exactly_with_token_units(
    schedule: Schedule, generator: torch.Generator
) -> None:
    """Averaged over equally spaced times, exact counts give N log V to float precision."""
    num_times, length = 4096, 12
    batch = Batch.of(torch.zeros(num_times, length, dtype=torch.long))
    t = (torch.arange(num_times, dtype=torch.float64) + 0.5) / num_times
    corruption = token_masking(50, schedule=schedule)
    corrupted = corruption.corrupt(batch, t, generator=generator)
    loss = nelbo(UniformDenoiser(50)(corrupted), batch, corrupted)
    if isinstance(schedule, LinearSchedule):  # then every single draw is exact
        assert torch.allclose(
            loss.nats.double(), torch.tensor(length * math.log(50), dtype=torch.float64), rtol=1e-6
        )
    assert float(loss.mean) == pytest.approx(
        math.log(50), rel=1e-6 if isinstance(schedule, LinearSchedule) else 5e-3
    )


@pytest.mark.parametrize("length", [1, 2, 4])
def test_uniform_denoiser_scores_log_v_exactly_with_spans_of_one_length(
    length: int, generator: torch.Generator
) -> None:
    corruption = SpanMasking(segmentation="random", lengths={length: 1.0}, mask_id=50)
    batch = Batch.of(torch.zeros(64, 16, dtype=torch.long))
    nats = bound_per_row(UniformDenoiser(50), corruption, batch, generator)
    assert torch.allclose(nats, torch.tensor(16 * math.log(50), dtype=torch.float64), rtol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("count", ["exact", "bernoulli"])
@pytest.mark.parametrize("make", [token_masking, random_spans])
def test_uniform_denoiser_scores_log_v_on_average(
    make, count: str, schedule: Schedule, generator: torch.Generator
) -> None:
    """For every corruption x schedule x count, within four standard errors."""
    batch = Batch.of(torch.zeros(40_000, 8, dtype=torch.long))
    corruption = make(50, schedule=schedule, count=count)
    mean, error = mean_and_error(bound_per_row(UniformDenoiser(50), corruption, batch, generator))
    # Uniform t makes 1/t weights heavy-tailed, so the sample error itself is only an estimate.
    assert abs(mean - 8 * math.log(50)) < max(4 * error, 1e-4)
    assert error < 0.02 * mean


@pytest.mark.parametrize("head_class", [ProductHead, AutoregressiveHead])
def test_heads_with_zero_weights_are_uniform(head_class: type, generator: torch.Generator) -> None:
    denoiser = Denoiser(Trunk(16, depth=1, num_heads=2), head_class(50, 16))
    with torch.no_grad():
        denoiser.head.embedding.weight.zero_()
    batch = Batch.of(torch.randint(0, 50, (32, 12), generator=generator))
    corruption = SpanMasking(segmentation="random", lengths={3: 1.0}, mask_id=50)
    nats = bound_per_row(denoiser, corruption, batch, generator)
    assert torch.allclose(nats, torch.tensor(12 * math.log(50), dtype=torch.float64), rtol=1e-6)


@pytest.mark.parametrize("make", [token_masking, random_spans])
@pytest.mark.parametrize("count", ["exact", "bernoulli"])
def test_exact_posterior_scores_the_entropy(make, count: str, generator: torch.Generator) -> None:
    language = ToyLanguage()
    batch = language.sample(60_000, generator)
    corruption = make(language.vocab_size, count=count)
    denoiser = ToyDenoiser(language, joint=True)
    mean, error = mean_and_error(bound_per_row(denoiser, corruption, batch, generator))
    assert abs(mean - language.entropy) < 4 * error
    assert error < 0.02


def test_product_of_exact_marginals_in_spans_is_above_the_entropy(generator: torch.Generator) -> None:
    language = ToyLanguage()
    batch = language.sample(20_000, generator)
    corruption = random_spans(language.vocab_size)
    mean, error = mean_and_error(
        bound_per_row(ToyDenoiser(language, joint=False), corruption, batch, generator)
    )
    assert mean > language.entropy + 4 * error


@pytest.mark.parametrize("head_class", [ProductHead, AutoregressiveHead])
def test_any_network_is_bounded_by_the_entropy(head_class: type, generator: torch.Generator) -> None:
    language = ToyLanguage()
    torch.manual_seed(1)
    denoiser = Denoiser(Trunk(16, depth=1, num_heads=2), head_class(language.vocab_size, 16))
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=1e-2)
    corruption = random_spans(language.vocab_size)
    for _ in range(60):
        batch = language.sample(128, generator)
        corrupted = corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
        loss = nelbo(denoiser(corrupted), batch, corrupted).mean
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    batch = language.sample(20_000, generator)
    with torch.no_grad():
        mean, error = mean_and_error(bound_per_row(denoiser, corruption, batch, generator))
    assert mean > language.entropy - 4 * error
    assert mean < language.length * math.log(language.vocab_size)  # it learned something


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 9])
def test_l_t_equals_entropy_for_exact_joint_over_whole_text(
    num_steps: int, generator: torch.Generator
) -> None:
    """One span as long as the text: the joint has no cost of parallel decoding at any T."""
    language = ToyLanguage()
    corruption = SpanMasking(segmentation="random", lengths={4: 1.0}, mask_id=language.vocab_size)
    batch = language.sample(60_000, generator)
    mean, error = mean_and_error(
        t_step_per_row(ToyDenoiser(language, joint=True), corruption, batch, num_steps, generator)
    )
    assert abs(mean - language.entropy) < 4 * error


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4])
def test_l_t_of_exact_product_is_entropy_plus_total_correlation(
    num_steps: int, generator: torch.Generator
) -> None:
    """H + sum_k TC(A_k | visible), the sum enumerated over all orders and all strings."""
    language = ToyLanguage()
    corruption = token_masking(language.vocab_size)
    batch = language.sample(100_000, generator)
    mean, error = mean_and_error(
        t_step_per_row(ToyDenoiser(language, joint=False), corruption, batch, num_steps, generator)
    )
    expected = language.entropy + enumerated_total_correlation(language, num_steps)
    assert abs(mean - expected) < 4 * error
    assert error < 0.02


def enumerated_total_correlation(language: ToyLanguage, num_steps: int) -> float:
    length = language.length
    orders = list(itertools.permutations(range(length)))
    total = 0.0
    cache: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    for order in orders:
        steps = [rank * num_steps // length for rank in range(length)]
        for step in range(num_steps):
            group = tuple(sorted(p for p, s in zip(order, steps, strict=True) if s == step))
            visible = tuple(sorted(p for p, s in zip(order, steps, strict=True) if s < step))
            if (group, visible) not in cache:
                cache[group, visible] = expected_gap(language, group, visible)
            total += cache[group, visible] / len(orders)
    return total


def expected_gap(language: ToyLanguage, group: tuple[int, ...], visible: tuple[int, ...]) -> float:
    gap = 0.0
    for string, probability in zip(language.strings, language.probability.tolist(), strict=True):
        x_t = torch.full_like(string, language.vocab_size)
        x_t[list(visible)] = string[list(visible)]
        gap += probability * language.marginal_gap(x_t, list(group))
    return gap


def test_l_t_falls_to_the_nelbo_when_every_unit_has_its_own_step(generator: torch.Generator) -> None:
    language = ToyLanguage()
    corruption = token_masking(language.vocab_size)
    denoiser = ToyDenoiser(language, joint=False)
    batch = language.sample(50_000, generator)
    many, error = mean_and_error(t_step_per_row(denoiser, corruption, batch, 100, generator))
    assert abs(many - language.entropy) < 4 * error


def test_joint_in_the_token_wise_loss_falls_below_the_entropy(generator: torch.Generator) -> None:
    """Why spans must jump atomically: the joint of all masked tokens at the weight of a token is no
    bound (docs/concepts.md, "masking units"). For 00 / 11 with equal odds it gives half the entropy."""
    language = ToyLanguage(vocab_size=2, length=2)
    language.probability = torch.tensor([0.5, 0.0, 0.0, 0.5], dtype=torch.float64)
    batch = language.sample(20_000, generator)
    corrupted = token_masking(2).corrupt(batch, sample_times(batch, generator=generator), generator=generator)
    together = PackedSpans.from_units(torch.zeros_like(batch.input_ids), corrupted.is_masked)
    denoiser = ToyDenoiser(language, joint=True)
    hidden = together.gather(denoiser.hidden(corrupted.x_t))
    joint = denoiser.head.log_prob(hidden, together.gather(batch.input_ids), together)
    token_weight = 2 / corrupted.is_masked.sum(1)
    wrong = float((token_weight * -joint).mean())
    assert wrong == pytest.approx(0.5 * math.log(2), rel=0.05)


@pytest.mark.parametrize("make", [token_masking, random_spans])
def test_baseline_changes_no_mean_and_less_noise(make, generator: torch.Generator) -> None:
    language = ToyLanguage()
    batch = language.sample(40_000, generator)
    corruption = make(language.vocab_size)
    denoiser = ToyDenoiser(language, joint=True)
    corrupted = corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
    output = denoiser(corrupted)
    plain = nelbo(output, batch, corrupted).nats.double()
    shifted = nelbo(output, batch, corrupted, baselines=(language.entropy / language.length,)).nats.double()
    gap, error = mean_and_error(plain - shifted)
    assert abs(gap) <= 4 * error + 1e-6
    assert float(shifted.std()) <= float(plain.std()) * 1.001


@pytest.mark.parametrize("make", [token_masking, random_spans])
def test_estimates_have_a_third_of_the_noise_of_independent_times(make, generator: torch.Generator) -> None:
    """Standard deviation of the batch-64 NELBO of the same texts, one call of the denoiser per estimate."""
    language = ToyLanguage(vocab_size=2, length=8, sharpness=0.7)
    denoiser = ToyDenoiser(language, joint=True)
    baseline = language.entropy / language.length
    batch = language.sample(64, generator)

    def batch_means(count: str, stratified: bool, baselines: tuple[float, ...]) -> torch.Tensor:
        corruption = make(2, count=count)
        means = []
        for _ in range(300):
            t = sample_times(batch, generator=generator, stratified=stratified)
            corrupted = corruption.corrupt(batch, t, generator=generator)
            means.append(nelbo(denoiser(corrupted), batch, corrupted, baselines=baselines).mean)
        return torch.stack(means)

    ours = batch_means("exact", True, (baseline,))
    independent = batch_means("bernoulli", False, ())
    assert ours.std() < independent.std() / 3
    error = (ours.var() / 300 + independent.var() / 300).sqrt()
    assert abs(float(ours.mean() - independent.mean())) < 4 * float(error)
