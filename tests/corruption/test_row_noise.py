"""RowNoise: a row's numbers are its own, and random."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from hdiff.corruption import (
    BlockMasking,
    Corruption,
    Gaussian,
    RateMatched,
    RowNoise,
    SoftMasking,
    SpanMasking,
    TokenMasking,
    TreeCascade,
    UniformState,
)
from hdiff.corruption.row_noise import _mix, categorical, rand, randint, randn
from hdiff.data.batch import Batch
from hdiff.packed_spans import PackedSpans

CPU = torch.device("cpu")
V = 30

CORRUPTIONS: dict[str, Callable[[], Corruption]] = {
    "token_masking": lambda: TokenMasking(mask_id=V),
    "token_masking, independent": lambda: TokenMasking(mask_id=V, count="bernoulli"),
    "parsed and random spans": lambda: SpanMasking(segmentation="mixture", lengths=[1, 2, 1], mask_id=V),
    "blocks": lambda: BlockMasking(block_size=4, mask_id=V),
    "blocks, independent": lambda: BlockMasking(block_size=4, mask_id=V, count="bernoulli"),
    "cascade": lambda: TreeCascade(mask_id=V),
    "speeds": lambda: RateMatched(k=(0.5, 2.0), mask_id=V),
    "classes": lambda: SoftMasking(table=[i % 3 for i in range(V)], num_classes=3, mask_id=V),
    "replacement": lambda: UniformState(mask_id=V),
    "gaussian": lambda: Gaussian(embedding_width=4, mask_id=V),
}


def batch_of(num_rows: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, V, (num_rows, 12), generator=generator)
    starts = torch.rand(num_rows, 12, generator=generator) < 0.4
    starts[:, 0] = False
    buckets = torch.randint(0, 2, ids.shape, generator=generator)
    return Batch(
        ids,
        torch.ones_like(ids, dtype=torch.bool),
        unit_ids={"phrase": starts.long().cumsum(1)},
        labels={"phrase": torch.zeros_like(ids)},
        salience=buckets.float(),
        salience_buckets=buckets,
        sample_ids=torch.arange(num_rows) * 7 + 3,
    )


def some_rows(batch: Batch, rows: list[int]) -> Batch:
    def take(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[rows]
        return {key: tensor[rows] for key, tensor in value.items()} if isinstance(value, dict) else value

    return Batch(**{field.name: take(getattr(batch, field.name)) for field in fields(batch)})


def tensors_of(corrupted: Any, num_rows: int) -> dict[str, Tensor]:
    """What a corruption gave each row; the weights of spans by the places of their tokens."""
    found = {}
    for field in fields(corrupted):
        value = getattr(corrupted, field.name)
        if isinstance(value, Tensor) and len(value) == num_rows and value.ndim > 1:
            found[field.name] = value
    spans: PackedSpans = corrupted.spans
    weights = torch.zeros(corrupted.x_t.shape, dtype=corrupted.weight.dtype)
    weights.view(-1)[spans.token_index] = corrupted.weight[spans.span_index]
    return {**found, "weight of spans": weights}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_row_is_corrupted_alike_in_every_batch(name: str) -> None:
    corruption, batch = CORRUPTIONS[name](), batch_of(9)
    assert batch.sample_ids is not None
    t = torch.linspace(0.1, 1.0, 9)
    whole = tensors_of(corruption.corrupt(batch, t, generator=RowNoise(5, batch.sample_ids)), 9)
    for rows in ([0], [4, 2, 7], [8, 0]):
        part = some_rows(batch, rows)
        assert part.sample_ids is not None
        alone = tensors_of(
            corruption.corrupt(part, t[rows], generator=RowNoise(5, part.sample_ids)), len(rows)
        )
        assert alone.keys() >= {"x_t", "is_masked", "weight of spans"}
        for key, value in alone.items():
            assert torch.equal(value, whole[key][rows]), key


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_other_steps_and_other_samples_have_other_noise(name: str) -> None:
    corruption, batch = CORRUPTIONS[name](), batch_of(9)
    assert batch.sample_ids is not None
    t = torch.full((9,), 0.5)
    states = [
        corruption.corrupt(batch, t, generator=RowNoise(seed, batch.sample_ids + shift))
        for seed, shift in ((5, 0), (6, 0), (5, 1))
    ]
    seen = [getattr(state, "noise", state.x_t) for state in states]
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_the_mixer_is_that_of_splitmix64() -> None:
    def by_hand(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    numbers = [0, 1, 2, 12345, 2**62, -7, -(2**63)]
    assert [int(z) % 2**64 for z in _mix(torch.tensor(numbers))] == [by_hand(z % 2**64) for z in numbers]


def test_numbers_are_uniform_over_rows_places_and_calls() -> None:
    noise = RowNoise(1, torch.arange(1000))
    calls = torch.stack(
        [rand((1000, 40), generator=noise, device=CPU, dtype=torch.float64) for _ in range(25)]
    )
    cells = calls.mul(100).long().flatten().bincount(minlength=100).double()
    expected = calls.numel() / 100
    chi_squared = float(((cells - expected) ** 2 / expected).sum())
    assert abs(chi_squared - 99) < 5 * math.sqrt(2 * 99)
    for dim in range(3):  # along each of them neighbours know nothing of each other
        before, after = calls.narrow(dim, 0, calls.shape[dim] - 1), calls.narrow(dim, 1, calls.shape[dim] - 1)
        pairs = torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1]
        assert abs(float(pairs)) < 5 / math.sqrt(before.numel())
    assert len(calls.flatten().unique()) == calls.numel()


def test_every_bit_is_a_fair_coin_and_flips_with_its_neighbours() -> None:
    bits = RowNoise(2, torch.arange(200)).bits((200, 500)).flatten()
    flips = bits[1:] ^ bits[:-1]
    for place in range(64):
        for numbers in (bits, flips):
            share = float(((numbers >> place) & 1).double().mean())
            assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(len(numbers))


def test_normal_whole_and_weighted_numbers_have_their_distributions() -> None:
    ids = torch.arange(400)
    normal = randn((400, 500), generator=RowNoise(3, ids), device=CPU).double()
    assert float(normal.mean()) == pytest.approx(0, abs=0.01)
    assert float(normal.std()) == pytest.approx(1, abs=0.01)
    assert float((normal.abs() > 2).double().mean()) == pytest.approx(0.0455, abs=0.002)
    whole = randint(7, (400, 500), generator=RowNoise(4, ids), device=CPU).flatten()
    assert torch.allclose(whole.bincount(minlength=7) / whole.numel(), torch.tensor(1 / 7), atol=0.005)
    weights = torch.tensor([0.0, 0.5, 0.3, 0.2, 0.0])
    drawn = categorical(weights, (400, 500), generator=RowNoise(5, ids)).flatten()
    assert torch.allclose(drawn.bincount(minlength=5) / drawn.numel(), weights, atol=0.005)
    assert drawn.bincount(minlength=5)[[0, 4]].tolist() == [0, 0]


def test_other_code_may_use_it_as_a_plain_generator() -> None:
    numbers = torch.rand(5, generator=RowNoise(6, torch.arange(3)))
    assert torch.equal(numbers, torch.rand(5, generator=torch.Generator().manual_seed(6)))


def test_a_shape_of_other_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 4\): noise of 3 rows"):
        RowNoise(0, torch.arange(3)).bits((2, 4))


def test_plain_generators_draw_what_torch_draws(generator: torch.Generator) -> None:
    first = rand((2, 3), generator=generator, device=CPU)
    assert torch.equal(first, torch.rand(2, 3, generator=torch.Generator().manual_seed(0)))
