"""Corruptions: whole units, right frequencies, clear errors."""

from __future__ import annotations

import pytest
import torch

from hdiff.corruption import SpanMasking, TokenMasking, sample_times
from hdiff.corruption.unit_masking import exact_count
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.schedules import SCHEDULES, LinearSchedule, LogLinearSchedule, PolynomialSchedule


def parsed_batch(num_rows: int = 64) -> Batch:
    units = torch.tensor([0, 0, 0, 1, 2, 2, 3, 3, 3, 3]).expand(num_rows, -1)
    token_mask = torch.ones(num_rows, 10, dtype=torch.bool)
    token_mask[1::2, 6:] = False
    return Batch(torch.arange(10).expand(num_rows, -1), token_mask, {"phrase": units})


@pytest.mark.parametrize("segmentation", ["parsed", "random", "mixture"])
@pytest.mark.parametrize("count", ["exact", "bernoulli"])
def test_spans_are_masked_whole(segmentation: str, count: str, generator: torch.Generator) -> None:
    batch = parsed_batch()
    corruption = SpanMasking(segmentation=segmentation, lengths={2: 1.0, 3: 1.0}, mask_id=99, count=count)
    t = sample_times(batch, generator=generator)
    state = generator.get_state()
    units = corruption.units(batch, generator=generator)
    generator.set_state(state)
    corrupted = corruption.corrupt(batch, t, generator=generator)
    for row in range(len(units)):
        for unit in units[row].unique():
            inside = (units[row] == unit) & batch.token_mask[row]
            assert corrupted.is_masked[row][inside].unique().numel() <= 1


def test_padding_is_never_masked_nor_scored(generator: torch.Generator) -> None:
    batch = parsed_batch()
    for corruption in (
        TokenMasking(mask_id=99),
        SpanMasking(mask_id=99),
        SpanMasking(segmentation="random", lengths={4: 1.0}, mask_id=99),
    ):
        corrupted = corruption.corrupt(batch, torch.ones(64), generator=generator)
        assert torch.equal(corrupted.is_masked, batch.token_mask)
        assert int(corrupted.spans.length.sum()) == int(batch.token_mask.sum())
        assert bool((corrupted.x_t[~batch.token_mask] == batch.input_ids[~batch.token_mask]).all())


@pytest.mark.parametrize("count", ["exact", "bernoulli"])
@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=list(SCHEDULES))
def test_masking_frequency_is_one_minus_alpha(schedule, count: str, generator: torch.Generator) -> None:
    """Exact counts round p N up to whole units, so they may exceed alpha's complement by 1 / N."""
    num_units = 50
    batch = Batch.of(torch.zeros(4000, num_units, dtype=torch.long))
    if count == "bernoulli" and isinstance(schedule, LogLinearSchedule):
        with pytest.raises(DataError, match="eps: 0"):
            TokenMasking(mask_id=1, schedule=schedule, count=count)
        schedule = LogLinearSchedule(eps=0.0)
    for time in (0.2, 0.5, 0.9):
        t = torch.full((4000,), time)
        corrupted = TokenMasking(mask_id=1, schedule=schedule, count=count).corrupt(
            batch, t, generator=generator
        )
        excess = float(corrupted.is_masked.float().mean()) - float(schedule.p_mask(t)[0])
        assert -0.005 < excess < 0.005 + (1 / num_units if count == "exact" else 0)


def test_every_token_weighs_one_on_average(generator: torch.Generator) -> None:
    """E[weight of the span a token is in, if masked] = 1: what makes the sum a bound."""
    batch = parsed_batch(20_000)
    for schedule in (LinearSchedule(), PolynomialSchedule(2.0)):
        corruption = SpanMasking(mask_id=99, schedule=schedule)
        corrupted = corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
        spans = corrupted.spans
        weight = torch.zeros(batch.input_ids.numel()).index_add(
            0, spans.token_index, corrupted.weight[spans.span_index]
        )
        mean = weight.view_as(batch.input_ids)[::2].mean(0)  # rows without padding
        assert torch.allclose(mean, torch.ones(10), atol=0.05)


@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=list(SCHEDULES))
def test_exact_count_weights_invert_their_probability(schedule) -> None:
    t = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    n, weight = exact_count(schedule, t, torch.full(t.shape, 7))
    assert n.min() == 1
    assert n.max() == 7
    for count in range(1, 8):
        frequency = float((n == count).double().mean())
        assert float(weight[n == count][0]) * count * frequency == pytest.approx(1.0, rel=1e-2)


@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=list(SCHEDULES))
def test_schedules_run_from_clean_to_masked_and_invert(schedule) -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    p = schedule.p_mask(t)
    assert float(p[0]) == pytest.approx(0.0, abs=1e-12)
    assert float(p[-1]) == pytest.approx(1 - getattr(schedule, "eps", 0.0))
    assert bool((p.diff() > 0).all())
    assert torch.allclose(schedule.time(p), t, atol=1e-7)
    inner = t[1:-1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(schedule.p_mask(inner).sum(), inner)
    assert torch.allclose(slope, schedule.derivative(inner.detach()))


def test_random_spans_have_the_wanted_lengths_and_do_not_look_at_the_text(generator: torch.Generator) -> None:
    corruption = SpanMasking(segmentation="random", lengths={1: 0.5, 4: 0.5}, mask_id=99)
    batch = Batch.of(torch.randint(0, 50, (500, 200), generator=generator))
    other = Batch.of(torch.zeros(500, 200, dtype=torch.long))
    units = corruption.units(batch, generator=torch.Generator().manual_seed(3))
    assert torch.equal(units, corruption.units(other, generator=torch.Generator().manual_seed(3)))
    lengths = torch.cat([torch.bincount(row)[:-1] for row in units])  # the last span may be cut
    assert set(lengths.tolist()) == {1, 4}
    assert float((lengths == 1).double().mean()) == pytest.approx(0.5, abs=0.02)


def test_masking_times_agree_within_units_and_are_uniform(generator: torch.Generator) -> None:
    batch = parsed_batch(20_000)
    times = SpanMasking().masking_times(batch, generator=generator)
    assert torch.equal(times[:, 0], times[:, 2])
    assert float(times[::2, 4].mean()) == pytest.approx(0.5, abs=0.01)
    assert bool((times[1::2, 6:] == 1).all())


def test_times_are_stratified_over_all_batches_of_an_update() -> None:
    batch = Batch.of(torch.zeros(8, 4, dtype=torch.long))
    parts = [
        sample_times(batch, generator=torch.Generator().manual_seed(5), rows=range(rank, 32, 4), num_rows=32)
        for rank in range(4)
    ]
    cells = torch.cat(parts).mul(32).ceil().long()
    assert sorted(cells.tolist()) == list(range(1, 33))


def test_conditional_bounds_are_labelled(generator: torch.Generator) -> None:
    parsed = SpanMasking(segmentation="mixture", lengths={2: 1.0}, mask_id=99)
    t = torch.full((64,), 0.5)
    assert parsed.corrupt(parsed_batch(), t, generator=generator).conditional_on_structure
    assert not parsed.unconditional().corrupt(parsed_batch(), t, generator=generator).conditional_on_structure


def test_missing_level_is_an_error_and_no_fall_back() -> None:
    corruption = SpanMasking(level="clause", mask_id=99)
    with pytest.raises(
        DataError,
        match=r"needs level 'clause', the data set keeps .*--levels phrase,clause",
    ):
        corruption.corrupt(parsed_batch(), torch.full((64,), 0.5))


@pytest.mark.parametrize("t", [0.0, -0.1, 1.01, float("nan")])
def test_times_outside_are_refused(t: float) -> None:
    with pytest.raises(DataError, match=r"\(0, 1\]"):
        TokenMasking(mask_id=99).corrupt(parsed_batch(), torch.full((64,), t))


def test_rows_of_padding_are_refused() -> None:
    batch = Batch(torch.zeros(2, 4, dtype=torch.long), torch.tensor([[True] * 4, [False] * 4]))
    with pytest.raises(DataError, match="all padding"):
        TokenMasking(mask_id=9).corrupt(batch, torch.ones(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segmentation": "random"}, "needs lengths"),
        ({"segmentation": "random", "lengths": {0: 1.0}}, ">= 1"),
        ({"segmentation": "random", "lengths": [0.0, -1.0]}, ">= 0"),
        ({"segmentation": "phrases"}, "use 'parsed', 'random' or 'mixture'"),
        ({"level": "phrases"}, "unknown level 'phrases'"),
        ({"segmentation": "mixture", "lengths": {2: 1.0}, "parsed_fraction": 1.5}, "share in"),
        ({"lengths": "corpora"}, "'corpus'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SpanMasking(**options)  # type: ignore[arg-type]


def test_parsed_spans_alone_give_no_unconditional_bound() -> None:
    with pytest.raises(DataError, match="no bound on -log p"):
        SpanMasking(mask_id=9).unconditional()


def test_log_linear_schedules_need_fewer_units_than_1_over_eps() -> None:
    batch = Batch.of(torch.zeros(2, 20, dtype=torch.long))
    corruption = TokenMasking(mask_id=9, schedule=LogLinearSchedule(eps=0.05))
    with pytest.raises(DataError, match="never masked; set its eps below"):
        corruption.corrupt(batch, torch.ones(2))
