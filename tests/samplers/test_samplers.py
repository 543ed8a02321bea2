"""Every sampler: its bound is that of exactly what it draws, given tokens stay, steps are as asked."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from sampler_cases import LENGTH, SPANS, VOCAB, WIDTH, denoiser_of
from torch import Tensor
from toy_language import ToyDenoiser, ToyLanguage

from hdiff.corruption import RateMatched, SoftMasking, TokenMasking, TreeCascade
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads import AutoregressiveHead, Head, ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.samplers import (
    AncestralSampler,
    ChainSampler,
    CoarseToFineSampler,
    ConfidenceSampler,
    DependencySampler,
    EntropyBoundedSampler,
    PlannedSampler,
    RemaskingSampler,
    Sampler,
    hidden_rows,
)
from hdiff.samplers.planned import ORDERS

STRINGS = torch.tensor(list(itertools.product(range(VOCAB), repeat=LENGTH)))


WITH_BOUND: dict[str, Sampler] = {
    "ancestral 1": AncestralSampler(1),
    "ancestral 2": AncestralSampler(2),
    "confidence threshold": ConfidenceSampler(threshold=0.5),
    "confidence count": ConfidenceSampler(threshold=None, num_steps=3),
    "confidence margin": ConfidenceSampler(threshold=0.3, measure="margin"),
    "confidence margin count": ConfidenceSampler(threshold=None, num_steps=3, measure="margin"),
    "confidence both, planned": ConfidenceSampler(threshold=0.6, num_steps=2, segmentation="planned"),
    "dependency": DependencySampler(strength=1.0),
    "dependency, DAWN": DependencySampler(strength=1.2, threshold=0.3, sure=0.6, anchored=0.4),
    "dependency planned": DependencySampler(strength=1.1, segmentation="planned", longest=2),
    "entropy": EntropyBoundedSampler(0.8),
    "entropy planned": EntropyBoundedSampler(1.5, segmentation="planned", longest=2),
    **{f"planned {order}": PlannedSampler(3, order=order) for order in ORDERS},
    "planned likely": PlannedSampler(3, boundaries="likely"),
    "planned shuffled": PlannedSampler(3, boundaries="shuffled"),
    "planned control": PlannedSampler(3, boundaries="corruption"),
    "cached": AncestralSampler(4, refresh=3),
    "ancestral, spaced": AncestralSampler(2, order="spaced"),
    "ancestral, left to right": AncestralSampler(2, order="left_to_right", lengths={1: 1.0, 2: 1.0}),
    "ancestral, longest first": AncestralSampler(3, order="longest_first", lengths={1: 1.0, 3: 1.0}),
    "ancestral, long spans": AncestralSampler(2, lengths={2: 1.0, 3: 1.0}),
    "cached planned": PlannedSampler(4, refresh=2),
    **{f"apart {order}": PlannedSampler(2, order=order, use="apart") for order in ("random", "confidence")},
}


class NetworkOfSomeoneElse:
    """What `FillsMasks` asks, and no more."""

    def __init__(self, inside: Denoiser) -> None:
        self.head, self.mask_id, self.inside = inside.head, inside.mask_id, inside

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None) -> Tensor:
        return self.inside.hidden(x_t, token_mask)


@pytest.mark.parametrize(
    "sampler", [AncestralSampler(2), EntropyBoundedSampler(0.8), ConfidenceSampler(threshold=0.5)]
)
def test_any_network_with_a_head_is_filled_and_scored(sampler: Sampler) -> None:
    own = denoiser_of(AutoregressiveHead)
    found = []
    for model in (own, NetworkOfSomeoneElse(own)):
        generator = torch.Generator().manual_seed(2)
        drawn = sampler.sample(model, SPANS, hidden_rows(model, 5, LENGTH), generator=generator)
        scored = sampler.score(model, SPANS, Batch.of(drawn.tokens), generator=generator)
        found.append((drawn.tokens, scored.nats))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (PlannedSampler(2), "the model has no planner"),
        (DependencySampler(), "NetworkOfSomeoneElse shows no attention; use the sampler 'confidence'"),
        (AncestralSampler(2, refresh=2), "NetworkOfSomeoneElse reads whole rows, every time; use refresh: 1"),
    ],
)
def test_what_only_denoisers_have_is_refused_of_others(sampler: Sampler, message: str) -> None:
    model = NetworkOfSomeoneElse(denoiser_of(ProductHead))
    with pytest.raises(DataError, match=message):
        sampler.sample(model, SPANS, hidden_rows(model, 2, LENGTH))


def test_types_need_type_heads() -> None:
    model = NetworkOfSomeoneElse(denoiser_of(ProductHead))
    with pytest.raises(DataError, match="NetworkOfSomeoneElse has no type heads"):
        CoarseToFineSampler(2).sample(model, TreeCascade(mask_id=VOCAB), hidden_rows(model, 2, LENGTH))


def score_all(sampler: Sampler, model: Denoiser, corruption: Any, *, seed: int) -> Tensor:
    """Nats of every string, each with the same randomness, so that the policy is one and the same."""
    rows = []
    for string in STRINGS:
        generator = torch.Generator().manual_seed(seed)
        rows.append(sampler.score(model, corruption, Batch.of(string[None]), generator=generator).nats)
    return torch.cat(rows)


@pytest.mark.parametrize("head", [ProductHead, AutoregressiveHead])
@pytest.mark.parametrize("name", list(WITH_BOUND))
def test_what_a_sampler_scores_is_a_distribution(name: str, head: type[Head]) -> None:
    """For fixed randomness of the policy, exp(-nats) sums to 1 over all strings: nothing hidden is used."""
    for seed in (1, 2):
        nats = score_all(WITH_BOUND[name], denoiser_of(head), SPANS, seed=seed)
        assert float((-nats).exp().sum()) == pytest.approx(1.0, abs=1e-4)


def test_a_policy_that_peeks_is_no_distribution() -> None:
    """The property above can fail: an order by the true tokens breaks it."""

    class Peeking(AncestralSampler.__mro__[1]):  # type: ignore[misc]
        def begin(self, corruption, tokens, is_masked, generator):
            from hdiff.samplers.choice import Choice

            units = torch.arange(LENGTH).expand_as(tokens)
            first = self.truth.argmax(1, keepdim=True)
            return lambda view: Choice(
                units, view.is_masked & ((units == first) | (view.step > 0)) & view.is_masked
            )

    model, total = denoiser_of(ProductHead), 0.0
    for string in STRINGS:
        sampler = Peeking()
        sampler.truth = string[None]
        total += float(
            (-sampler.score(model, TokenMasking(mask_id=VOCAB), Batch.of(string[None])).nats).exp()
        )
    assert abs(total - 1) > 1e-3


WITHOUT_RANDOMNESS: dict[str, Sampler] = {
    "confidence": ConfidenceSampler(threshold=0.5),
    "margin": ConfidenceSampler(threshold=0.3, measure="margin"),
    "left to right": PlannedSampler(3, order="left_to_right", boundaries="likely"),
    "planned confidence": PlannedSampler(2, order="confidence", boundaries="likely"),
}


@pytest.mark.parametrize("name", list(WITHOUT_RANDOMNESS))
def test_samples_follow_the_score(name: str, generator: torch.Generator) -> None:
    """A policy without randomness: frequencies of 20,000 samples against exp(-nats), chi-square."""
    sampler, model = WITHOUT_RANDOMNESS[name], denoiser_of(AutoregressiveHead)
    corruption = TokenMasking(mask_id=VOCAB)
    expected = 20_000 * (-score_all(sampler, model, corruption, seed=0)).exp()
    tokens = sampler.sample(model, corruption, hidden_rows(model, 20_000, LENGTH), generator=generator).tokens
    place = (tokens * torch.tensor([27, 9, 3, 1])).sum(1)
    observed = torch.bincount(place, minlength=len(STRINGS)).double()
    likely = expected > 5
    statistic = float(((observed - expected)[likely] ** 2 / expected[likely]).sum())
    assert statistic < int(likely.sum()) + 5 * math.sqrt(2 * int(likely.sum()))


@pytest.mark.parametrize(
    "sampler", [AncestralSampler(4), ConfidenceSampler(threshold=1.0), EntropyBoundedSampler(0.0)]
)
def test_one_token_at_a_time_reaches_the_entropy(sampler: Sampler) -> None:
    """With exact posteriors any order scores the entropy of the language, even with a product head."""
    language = ToyLanguage()
    model = ToyDenoiser(language, joint=False)
    model.head.log_confidence = lambda hidden, spans: -torch.ones(spans.num_spans)  # type: ignore[assignment]
    model.head.entropy = lambda hidden, spans, generator: torch.ones(spans.num_spans)  # type: ignore[assignment]
    batch = Batch.of(language.strings)
    nats = sampler.score(model, TokenMasking(mask_id=language.vocab_size), batch).nats  # type: ignore[arg-type]
    assert float((language.probability * nats).sum()) == pytest.approx(language.entropy, abs=1e-6)


def test_class_first_is_a_distribution_too() -> None:
    """SoftMasking with a class per token id: tokens outside of a drawn class are impossible."""
    soft = SoftMasking(mask_id=VOCAB, classes="clusters", num_classes=2).with_table([0, 1, 1])
    torch.manual_seed(0)
    model = Denoiser(
        Trunk(WIDTH, depth=1, num_heads=2),
        ProductHead(VOCAB, WIDTH),
        type_heads=[ProductHead(2, WIDTH)],
        token_classes=torch.tensor([0, 1, 1]),
    ).eval()
    for num_steps in (2, 3, 9):
        nats = score_all(CoarseToFineSampler(num_steps), model, soft, seed=3)
        assert float((-nats).exp().sum()) == pytest.approx(1.0, abs=1e-4)


def test_coarse_to_fine_draws_boundaries_before_tokens(generator: torch.Generator) -> None:
    tree = TreeCascade(mask_id=VOCAB, levels=["phrase"])
    torch.manual_seed(0)
    model = Denoiser(
        Trunk(WIDTH, depth=1, num_heads=2),
        AutoregressiveHead(VOCAB, WIDTH),
        type_heads=[ProductHead(size, WIDTH) for size in tree.type_sizes],
    ).eval()
    samples = CoarseToFineSampler(6).sample(model, tree, hidden_rows(model, 5, 8), generator=generator)
    assert samples.nfe == 6
    assert int(samples.steps.min()) == 3
    assert int(samples.tokens.max()) < VOCAB
    skeleton = torch.zeros(1, 8, 1, dtype=torch.long)
    given = CoarseToFineSampler(2).sample(
        model, tree, hidden_rows(model, 1, 8), types=skeleton, generator=generator
    )
    assert given.nfe == 2
    with pytest.raises(DataError, match="at least one step per stream"):
        CoarseToFineSampler(1).sample(model, tree, hidden_rows(model, 1, 8))
    with pytest.raises(DataError, match="types have shape"):
        CoarseToFineSampler(2).sample(model, tree, hidden_rows(model, 1, 8), types=skeleton + 7)


EVERY: dict[str, Sampler] = {**WITH_BOUND, "remasking": RemaskingSampler(4, rounds=2, checked=0.5)}


@pytest.mark.parametrize("name", list(EVERY))
def test_given_tokens_stay_and_no_mask_is_left(name: str, generator: torch.Generator) -> None:
    model = denoiser_of(AutoregressiveHead)
    text = torch.randint(VOCAB, (6, 12), generator=generator)
    gaps = torch.rand(6, 12, generator=generator) < 0.5
    gaps[:, 3] = True
    gaps[0] = False
    gaps[0, 5] = True
    samples = EVERY[name].sample(model, SPANS, text.masked_fill(gaps, VOCAB), generator=generator)
    assert torch.equal(samples.tokens[~gaps], text[~gaps])
    assert bool((samples.steps[~gaps] == -1).all())
    assert bool((samples.steps[gaps] >= 0).all())
    assert int(samples.tokens.max()) < VOCAB
    assert int(samples.calls.max()) == samples.nfe
    if name != "remasking":
        assert int(samples.calls[0]) == 1  # a single gap needs a single call
        for row in range(6):
            assert int(samples.steps[row].max()) + 1 == int(samples.calls[row])


@pytest.mark.parametrize("name", list(EVERY))
def test_passes_of_the_head_are_those_that_ran(name: str, generator: torch.Generator) -> None:
    model, sampler = denoiser_of(AutoregressiveHead), EVERY[name]
    ran: list[int] = []
    model.head.norm.register_forward_hook(lambda *_: ran.append(1))  # each pass of the head ends with it
    samples = sampler.sample(model, SPANS, hidden_rows(model, 1, 12), generator=generator)
    passes, scored = int(samples.passes[0]), sampler.rounds if isinstance(sampler, RemaskingSampler) else 0
    draws_to_choose = any(word in name for word in ("confidence", "dependency", "entropy"))
    assert passes < len(ran) if draws_to_choose else passes == len(ran) - scored
    assert int(samples.calls[0]) <= passes <= 12 * int(samples.calls[0])


def test_the_chain_keeps_given_tokens_apart(generator: torch.Generator) -> None:
    speeds = RateMatched(mask_id=VOCAB, num_buckets=1, ratio=1.0)
    model = Denoiser(
        Trunk(WIDTH, depth=1, num_heads=2), ProductHead(VOCAB, WIDTH), predicts_speed=True
    ).eval()
    text = torch.tensor([[0, VOCAB, VOCAB, 1, VOCAB, 2]])
    samples = ChainSampler().sample(model, speeds, text, generator=generator)
    assert samples.units.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert int(samples.passes[0]) == int(samples.calls[0]) == 3
