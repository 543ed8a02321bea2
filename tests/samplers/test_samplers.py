"""Every sampler: its bound is that of exactly what it draws, given tokens stay, steps are as asked."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from toy_language import ToyDenoiser, ToyLanguage

from hdiff.corruption import RateMatched, SoftMasking, SpanMasking, TokenMasking, TreeCascade
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads import AutoregressiveHead, CRFHead, Head, MixtureHead, ProductHead, Sampling
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.models.planner import Planner
from hdiff.samplers import (
    AncestralSampler,
    ChainSampler,
    CoarseToFineSampler,
    ConfidenceSampler,
    EntropyBoundedSampler,
    PlannedSampler,
    RemaskingSampler,
    Sampler,
    hidden_rows,
)
from hdiff.samplers.planned import ORDERS
from hdiff.samplers.selection import cut, first_positions, limit, shuffle_lengths

VOCAB, LENGTH, WIDTH = 3, 4, 16
SPANS = SpanMasking(segmentation="random", lengths={1: 1.0, 2: 1.0, 3: 1.0}, mask_id=VOCAB)
STRINGS = torch.tensor(list(itertools.product(range(VOCAB), repeat=LENGTH)))

WITH_BOUND: dict[str, Sampler] = {
    "ancestral 1": AncestralSampler(1),
    "ancestral 2": AncestralSampler(2),
    "confidence threshold": ConfidenceSampler(threshold=0.5),
    "confidence count": ConfidenceSampler(threshold=None, num_steps=3),
    "confidence margin": ConfidenceSampler(threshold=0.3, measure="margin"),
    "confidence margin count": ConfidenceSampler(threshold=None, num_steps=3, measure="margin"),
    "confidence both, planned": ConfidenceSampler(threshold=0.6, num_steps=2, segmentation="planned"),
    "entropy": EntropyBoundedSampler(0.8),
    "entropy planned": EntropyBoundedSampler(1.5, segmentation="planned", longest=2),
    **{f"planned {order}": PlannedSampler(3, order=order) for order in ORDERS},
    "planned likely": PlannedSampler(3, boundaries="likely"),
    "planned shuffled": PlannedSampler(3, boundaries="shuffled"),
    "planned control": PlannedSampler(3, boundaries="corruption"),
    "cached": AncestralSampler(4, refresh=3),
    "ancestral, spaced": AncestralSampler(2, order="spaced"),
    "ancestral, left to right": AncestralSampler(2, order="left_to_right", lengths={1: 1.0, 2: 1.0}),
    "ancestral, long spans": AncestralSampler(2, lengths={2: 1.0, 3: 1.0}),
    "cached planned": PlannedSampler(4, refresh=2),
    **{f"apart {order}": PlannedSampler(2, order=order, use="apart") for order in ("random", "confidence")},
}


def denoiser_of(head: type[Head], *, seed: int = 0, vocab: int = VOCAB) -> Denoiser:
    """A network with strong opinions, nothing trained."""
    torch.manual_seed(seed)
    planner = Planner(WIDTH, num_labels=3)
    model = Denoiser(Trunk(WIDTH, depth=1, num_heads=2), head(vocab, WIDTH), planner=planner)
    with torch.no_grad():
        for parameter in planner.parameters():
            parameter.normal_(std=0.5)
        model.head.output_bias.normal_()
    return model.eval()


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
    draws_to_choose = any(word in name for word in ("confidence", "entropy"))
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


@pytest.mark.parametrize("unit", ["token", "node"])
@pytest.mark.parametrize("sampler", [ChainSampler(), CoarseToFineSampler(6)])
def test_passes_of_a_cascade_are_those_that_ran(
    unit: Literal["token", "node"], sampler: Sampler, generator: torch.Generator
) -> None:
    tree = TreeCascade(mask_id=VOCAB, levels=["phrase"], unit=unit)
    types = [ProductHead(size, WIDTH) for size in tree.type_sizes]
    model = Denoiser(Trunk(WIDTH, depth=1, num_heads=2), AutoregressiveHead(VOCAB, WIDTH), type_heads=types)
    ran: list[int] = []
    model.head.norm.register_forward_hook(lambda *_: ran.append(1))
    samples = sampler.sample(model.eval(), tree, hidden_rows(model, 1, 8), generator=generator)
    num_token_calls = len(samples.steps.unique())
    assert int(samples.passes[0]) == len(ran) + int(samples.calls[0]) - num_token_calls


@pytest.mark.parametrize("head", [ProductHead, MixtureHead, CRFHead])
def test_other_heads_run_once_per_call(head: type[Head], generator: torch.Generator) -> None:
    model = denoiser_of(head)
    samples = AncestralSampler(3).sample(model, SPANS, hidden_rows(model, 4, 12), generator=generator)
    assert torch.equal(samples.passes, samples.calls)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 12])
def test_steps_are_as_asked(num_steps: int, generator: torch.Generator) -> None:
    model = denoiser_of(ProductHead)
    for sampler in (
        AncestralSampler(num_steps),
        ConfidenceSampler(threshold=None, num_steps=num_steps),
        PlannedSampler(num_steps, longest=1),
        PlannedSampler(num_steps, use="apart"),
    ):
        tokens = TokenMasking(mask_id=VOCAB)
        samples = sampler.sample(model, tokens, hidden_rows(model, 3, 12), generator=generator)
        assert samples.nfe == num_steps


def test_a_threshold_and_a_budget_trade_steps(generator: torch.Generator) -> None:
    model, tokens = denoiser_of(ProductHead), TokenMasking(mask_id=VOCAB)

    def calls(sampler: Sampler) -> int:
        return sampler.sample(model, tokens, hidden_rows(model, 4, 12), generator=generator).nfe

    assert calls(ConfidenceSampler(threshold=1e-6)) == calls(EntropyBoundedSampler(1e6)) == 1
    assert calls(ConfidenceSampler(threshold=1.0)) == calls(EntropyBoundedSampler(0.0)) == 12
    between = [calls(EntropyBoundedSampler(gamma)) for gamma in (0.5, 2.0, 5.0)]
    assert between == sorted(between, reverse=True)
    assert between[0] > between[2]


def test_entropy_budget_holds_in_every_step(generator: torch.Generator) -> None:
    """The sum of the entropies of what is filled together, less the largest, is at most gamma."""
    from hdiff.packed_spans import PackedSpans
    from hdiff.samplers.choice import View

    gamma, model = 2.0, denoiser_of(ProductHead)
    tokens = torch.full((5, 12), VOCAB)
    is_masked = torch.ones_like(tokens, dtype=torch.bool)
    choose = EntropyBoundedSampler(gamma).begin(TokenMasking(mask_id=VOCAB), tokens, is_masked, generator)
    with torch.no_grad():
        hidden = model.hidden(tokens)
        choice = choose(View.of(model, tokens, is_masked, hidden))
        spans = PackedSpans.from_units(choice.units, choice.selected)
        entropy = model.head.entropy(spans.gather(hidden), spans)
    for row in range(5):
        mine = entropy[spans.row == row]
        assert float(mine.sum() - mine.max()) <= gamma + 1e-4


def test_apart_draws_tokens_of_a_span_in_different_steps(generator: torch.Generator) -> None:
    """A planner that sees a span in every four tokens, and four steps: one token of each span per step."""
    model = denoiser_of(ProductHead)
    with torch.no_grad():
        model.planner.predict.weight.zero_()  # type: ignore[union-attr]
        model.planner.predict.bias.fill_(-9.0)  # type: ignore[union-attr]
    samples = PlannedSampler(4, use="apart", longest=4).sample(
        model, TokenMasking(mask_id=VOCAB), hidden_rows(model, 7, 16), generator=generator
    )
    steps = samples.steps.view(7, 4, 4).sort(-1).values
    assert torch.equal(steps, torch.arange(4).expand_as(steps))


def test_joint_planned_spans_are_filled_whole(generator: torch.Generator) -> None:
    model = denoiser_of(AutoregressiveHead)
    samples = PlannedSampler(3, longest=3).sample(
        model, SPANS, hidden_rows(model, 9, 12), generator=generator
    )
    for row in range(9):
        for left, right in itertools.pairwise(range(12)):
            if samples.units[row, left] == samples.units[row, right]:
                assert samples.steps[row, left] == samples.steps[row, right]
    assert int(torch.bincount(samples.units[0]).max()) <= 3


def test_remasking_redraws_whole_spans_and_only_some(generator: torch.Generator) -> None:
    model = denoiser_of(AutoregressiveHead)
    pairs = SpanMasking(segmentation="random", lengths={2: 1.0}, mask_id=VOCAB)
    sampler = RemaskingSampler(5, rounds=2, checked=0.5, redrawn=0.5)
    samples = sampler.sample(model, pairs, hidden_rows(model, 8, 16), generator=generator)
    assert samples.nfe == 5
    late = samples.steps >= 3
    assert torch.equal(late[:, ::2], late[:, 1::2])
    assert int(late.sum(1).min()) > 0
    assert int(late.sum(1).max()) <= 8  # two rounds redraw a quarter of the text each


def test_cache_is_exact_where_nothing_visible_is_stale(generator: torch.Generator) -> None:
    """Of one layer, keys and values depend on a position's own input; of more, kept ones are stale."""
    torch.manual_seed(0)
    trunk = Trunk(WIDTH, depth=3, num_heads=2)
    hidden = torch.randn(2, 9, WIDTH, generator=generator)
    cache = trunk.fill_cache(hidden)
    assert torch.allclose(cache.output, trunk(hidden), atol=1e-6)
    changed = hidden.clone()
    changed[:, 4:6] = torch.randn(2, 2, WIDTH, generator=generator)
    everything = torch.ones(2, 9, dtype=torch.bool)
    assert torch.allclose(trunk.update(changed, cache, everything), trunk(changed), atol=1e-6)
    # With one layer keys and values depend on a position's own input only: a part is exact.
    shallow = Trunk(WIDTH, depth=1, num_heads=2)
    kept = shallow.fill_cache(hidden)
    active = torch.zeros(2, 9, dtype=torch.bool)
    active[:, 4:6] = True
    active[1, 7] = True
    output = shallow.update(changed, kept, active)
    assert torch.allclose(output[active], shallow(changed)[active], atol=1e-6)
    # With more layers it is not, which is why a cached sampler is scored as it runs.
    deep = trunk.fill_cache(hidden)
    assert not torch.allclose(trunk.update(changed, deep, active)[active], trunk(changed)[active], atol=1e-4)


def test_padding_stays_unseen_with_a_cache(generator: torch.Generator) -> None:
    model = denoiser_of(ProductHead)
    tokens = torch.randint(VOCAB, (2, 6), generator=generator)
    padded = torch.cat([tokens, torch.zeros(2, 3, dtype=torch.long)], 1)
    mask = torch.arange(9).expand(2, -1) < 6
    sampler = PlannedSampler(3, order="left_to_right", boundaries="likely", refresh=2)
    short = sampler.score(model, SPANS, Batch.of(tokens)).nats
    long = sampler.score(model, SPANS, Batch(padded, mask)).nats
    assert torch.allclose(short, long, atol=1e-5)


def test_shuffled_spans_keep_their_lengths_and_stretches(generator: torch.Generator) -> None:
    units = torch.tensor([[0, 1, 1, 1, 2, 3, 3, 4, 4, 4], [0, 0, 1, 2, 2, 2, 3, 4, 4, 5]])
    masked = torch.tensor([[1, 1, 1, 1, 1, 1, 1, 0, 1, 1], [1] * 10], dtype=torch.bool)
    units = cut(units, masked)

    def lengths(ids: Tensor, row: int, part: slice) -> list[int]:
        return torch.unique_consecutive(ids[row, part], return_counts=True)[1].tolist()

    seen = set()
    for _ in range(40):
        shuffled = shuffle_lengths(units, masked, generator=generator)
        for row, part in ((0, slice(0, 7)), (0, slice(8, 10)), (1, slice(0, 10))):
            assert sorted(lengths(shuffled, row, part)) == sorted(lengths(units, row, part))
        seen.add(tuple(lengths(shuffled, 0, slice(0, 7))))
    assert len(seen) > 6  # of 12 orders of 1, 3, 1, 2


def test_units_end_where_visible_tokens_begin() -> None:
    units = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2]])
    masked = torch.tensor([[1, 0, 1, 1, 1, 1, 1, 0]], dtype=torch.bool)
    assert cut(units, masked).tolist() == [[0, 1, 2, 3, 3, 4, 4, 5]]
    begins = torch.tensor([[0, 0, 0, 1, 0, 0, 0, 0]], dtype=torch.bool)
    assert limit(begins, masked, 2).tolist() == [[0, 1, 2, 3, 3, 4, 4, 5]]
    assert first_positions(units).tolist() == [[0, 0, 0, 3, 3, 5, 5, 5]]


def test_spans_of_the_sampler_take_the_place_of_the_units(generator: torch.Generator) -> None:
    model, tokens = denoiser_of(AutoregressiveHead), TokenMasking(mask_id=VOCAB)
    sampler = AncestralSampler(3, lengths={4: 1.0})
    samples = sampler.sample(model, tokens, hidden_rows(model, 3, 12), generator=generator)
    assert torch.equal(samples.units, (torch.arange(12) // 4 * 4).expand(3, -1))
    assert samples.nfe == 3


def test_spaced_groups_lie_apart(generator: torch.Generator) -> None:
    """Two steps of 16 tokens: never three neighbours in one step, while random orders have some."""
    model, tokens = denoiser_of(ProductHead), TokenMasking(mask_id=VOCAB)
    longest = {}
    for order in ("random", "spaced"):
        sampler = AncestralSampler(2, order=order)  # type: ignore[arg-type]
        steps = sampler.sample(model, tokens, hidden_rows(model, 50, 16), generator=generator).steps
        assert bool((steps.sum(1) == 8).all())
        runs = [len(list(group)) for row in steps.tolist() for _, group in itertools.groupby(row)]
        longest[order] = max(runs)
    assert longest["spaced"] == 2
    assert longest["random"] > 3


def test_impossible_requests_are_refused(generator: torch.Generator) -> None:
    model, tokens = denoiser_of(ProductHead), TokenMasking(mask_id=VOCAB)
    for make, message in [
        (lambda: ConfidenceSampler(threshold=0.0), "threshold is 0"),
        (lambda: ConfidenceSampler(threshold=None), "threshold, num_steps, or both"),
        (lambda: ConfidenceSampler(num_steps=0), "at least 1 step"),
        (lambda: EntropyBoundedSampler(-1.0), "gamma is -1"),
        (lambda: EntropyBoundedSampler(1.0, longest=0), "longest is 0"),
        (lambda: ConfidenceSampler(longest=0), "longest is 0"),
        (lambda: EntropyBoundedSampler(1.0, segmentation="parsed"), "segmentation is 'parsed'"),  # type: ignore[arg-type]
        (lambda: PlannedSampler(3, order="best"), "order is 'best'"),  # type: ignore[arg-type]
        (lambda: PlannedSampler(3, longest=0), "longest is 0"),
        (lambda: PlannedSampler(3, use="some"), "use is 'some'"),  # type: ignore[arg-type]
        (lambda: PlannedSampler(3, boundaries="best"), "boundaries is 'best'"),  # type: ignore[arg-type]
        (lambda: AncestralSampler(3, order="best"), "order is 'best'"),  # type: ignore[arg-type]
        (lambda: AncestralSampler(3, refresh=0), "refresh is 0"),
        (lambda: RemaskingSampler(3, rounds=3), "leave at least one step"),
        (lambda: RemaskingSampler(3, checked=0.0), "checked is 0"),
    ]:
        with pytest.raises(DataError, match=message):
            make()
    sampler = AncestralSampler(2)
    with pytest.raises(DataError, match="at least 1"):
        sampler.sample(model, tokens, hidden_rows(model, 0, 4))
    with pytest.raises(DataError, match="no token of the text is hidden"):
        sampler.sample(model, tokens, torch.zeros(1, 4, dtype=torch.long))
    with pytest.raises(DataError, match="at least one row"):
        sampler.sample(model, tokens, torch.zeros(0, 4, dtype=torch.long))
    plain = Denoiser(Trunk(WIDTH, depth=1, num_heads=2), ProductHead(VOCAB, WIDTH))
    with pytest.raises(DataError, match="no planner"):
        PlannedSampler(2).sample(plain, tokens, hidden_rows(plain, 1, 4))
    batch = Batch.of(torch.zeros(1, 4, dtype=torch.long))
    with pytest.raises(DataError, match="no likelihood bound"):
        RemaskingSampler(3).score(model, tokens, batch)
    with pytest.raises(DataError, match="no likelihood bound"):
        AncestralSampler(2, sampling=Sampling(top_k=2)).score(model, tokens, batch)
    assert not RemaskingSampler(3).has_bound
    assert not ConfidenceSampler(sampling=Sampling(temperature=0.7)).has_bound
    with pytest.raises(DataError, match="sampler of its own"):
        sampler.sample(model, TreeCascade(mask_id=VOCAB, levels=["phrase"]), hidden_rows(model, 1, 4))
