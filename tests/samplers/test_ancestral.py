"""The ancestral sampler draws from exactly what its T-step bound scores."""

from __future__ import annotations

import itertools

import pytest
import torch
from toy_language import ToyDenoiser, ToyLanguage

from hdiff.corruption import SpanMasking, TokenMasking
from hdiff.errors import DataError
from hdiff.heads import AutoregressiveHead, Sampling
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.reveal_order import reveal_step
from hdiff.samplers import AncestralSampler, hidden_rows


def counts_of(language: ToyLanguage, tokens: torch.Tensor) -> torch.Tensor:
    place = (language.strings[None] == tokens[:, None]).all(-1).double().argmax(1)
    return torch.bincount(place, minlength=len(language.strings)).double()


@pytest.mark.parametrize(("lengths", "num_steps"), [({4: 1.0}, 1), ({1: 1.0}, 4), ({1: 0.5, 2: 0.5}, 99)])
def test_exact_posterior_reproduces_the_language(
    lengths: dict[int, float], num_steps: int, generator: torch.Generator
) -> None:
    """Chi-square over all 81 strings; where units are filled one after another, or all in one joint."""
    language = ToyLanguage()
    corruption = SpanMasking(segmentation="random", lengths=lengths, mask_id=language.vocab_size)
    samples = AncestralSampler(num_steps).sample(
        ToyDenoiser(language, joint=True),
        corruption,
        hidden_rows(ToyDenoiser(language, joint=True), 20_000, 4),
        generator=generator,
    )
    expected = 20_000 * language.probability
    statistic = float(((counts_of(language, samples.tokens) - expected) ** 2 / expected).sum())
    assert statistic < 150  # 80 degrees of freedom: mean 80, sd 12.6


def test_product_at_one_step_draws_from_the_marginals_and_not_from_the_language(
    generator: torch.Generator,
) -> None:
    language = ToyLanguage()
    samples = AncestralSampler(1).sample(
        ToyDenoiser(language, joint=False),
        TokenMasking(mask_id=language.vocab_size),
        hidden_rows(ToyDenoiser(language, joint=False), 20_000, 4),
        generator=generator,
    )
    marginals = [
        torch.stack([language.probability[language.strings[:, i] == v].sum() for v in range(3)])
        for i in range(4)
    ]
    product = torch.stack([marginals[i][language.strings[:, i]] for i in range(4)]).prod(0)
    observed = counts_of(language, samples.tokens)
    assert float(((observed - 20_000 * product) ** 2 / (20_000 * product)).sum()) < 150
    assert (
        float(((observed - 20_000 * language.probability) ** 2 / (20_000 * language.probability)).sum()) > 500
    )


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 50])
def test_groups_have_nearly_equal_sizes_and_none_is_empty(num_steps: int) -> None:
    rank = torch.arange(10)[None]
    steps = reveal_step(rank, torch.tensor([10]), num_steps)[0]
    sizes = torch.bincount(steps)
    assert len(sizes) == min(num_steps, 10)
    assert int(sizes.max() - sizes.min()) <= 1
    assert int(sizes.min()) >= 1


def small_denoiser() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(Trunk(16, depth=1, num_heads=2), AutoregressiveHead(11, 16))


def test_same_seed_same_samples_and_no_mask_left() -> None:
    corruption = SpanMasking(segmentation="random", lengths={1: 1.0, 3: 1.0}, mask_id=11)

    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return (
            AncestralSampler(3)
            .sample(small_denoiser(), corruption, hidden_rows(small_denoiser(), 5, 14), generator=generator)
            .tokens
        )

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert int(draw(1).max()) < 11


def test_steps_record_whole_units_and_the_number_of_calls(generator: torch.Generator) -> None:
    corruption = SpanMasking(segmentation="random", lengths={2: 1.0}, mask_id=11)
    samples = AncestralSampler(4).sample(
        small_denoiser(), corruption, hidden_rows(small_denoiser(), 3, 12), generator=generator
    )
    assert samples.nfe == 4
    for row in range(3):
        for left, right in itertools.pairwise(range(12)):
            if samples.units[row, left] == samples.units[row, right]:
                assert samples.steps[row, left] == samples.steps[row, right]


def test_impossible_requests_are_refused(generator: torch.Generator) -> None:
    corruption = TokenMasking(mask_id=11)
    with pytest.raises(DataError, match="at least 1 step"):
        AncestralSampler(0)
    with pytest.raises(DataError, match="temperature is 0"):
        Sampling(temperature=0)
    with pytest.raises(DataError, match="at least 1"):
        AncestralSampler(1).sample(
            small_denoiser(), corruption, hidden_rows(small_denoiser(), 0, 4), generator=generator
        )
    parsed = SpanMasking(mask_id=11)
    with pytest.raises(DataError, match="unconditional"):
        AncestralSampler(1).sample(
            small_denoiser(), parsed, hidden_rows(small_denoiser(), 1, 4), generator=generator
        )
