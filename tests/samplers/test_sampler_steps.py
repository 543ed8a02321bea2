"""What steps of samplers cost, and what they fill: passes, thresholds, caches, spans."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest
import torch
from sampler_cases import SPANS, VOCAB, WIDTH, denoiser_of
from torch import Tensor

from hdiff.corruption import SpanMasking, TokenMasking, TreeCascade
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads import AutoregressiveHead, CRFHead, Head, MixtureHead, ProductHead, Sampling
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
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
from hdiff.samplers.selection import cut, first_positions, limit, shuffle_lengths


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


@pytest.mark.parametrize("given", [None, (0,), (3, 4), (1, 7, 13), (0, 15)])
def test_long_units_come_first(given: tuple[int, ...] | None, generator: torch.Generator) -> None:
    """Also where given words cut units into shorter ones; equally long units come from left to right."""
    model, tokens = denoiser_of(AutoregressiveHead), TokenMasking(mask_id=VOCAB)
    rows = hidden_rows(model, 6, 16)
    rows[:, list(given or ())] = 1
    sampler = AncestralSampler(16, order="longest_first", lengths={1: 2.0, 2: 1.0, 5: 1.0})
    samples = sampler.sample(model, tokens, rows, generator=generator)
    for steps, units in zip(samples.steps.tolist(), samples.units.tolist(), strict=True):
        filled = sorted((step, unit) for step, unit in set(zip(steps, units, strict=True)) if step >= 0)
        assert [step for step, _ in filled] == list(range(len(filled)))  # one unit a step
        order = [(-units.count(unit), unit) for _, unit in filled]
        assert order == sorted(order)


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
