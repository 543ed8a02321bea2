"""Cascades: order of masking, equality with token masking, what types show, clear errors."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from hdiff.corruption import RateMatched, SoftMasking, TokenMasking, TreeCascade, sample_times
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.schedules import SCHEDULES

CLAUSES = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
PHRASES = [0, 0, 0, 1, 1, 2, 3, 3, 3, 3]
WORDS = [0, 1, 1, 2, 3, 4, 5, 6, 6, 7]
LEVELS = ("clause", "phrase", "word")


def tree_batch(num_rows: int = 64) -> Batch:
    def units(ids: list[int]) -> torch.Tensor:
        return torch.tensor(ids).expand(num_rows, -1)

    token_mask = torch.ones(num_rows, 10, dtype=torch.bool)
    token_mask[1::2, 6:] = False
    phrases, words = units(PHRASES).clone(), units(WORDS).clone()
    clauses = units(CLAUSES).clone()
    clauses[1::2] = torch.tensor([0, 0, 0, 0, 0, 1, 2, 3, 4, 5])
    phrases[1::2] = torch.tensor([0, 0, 0, 1, 1, 2, 3, 4, 5, 6])
    words[1::2] = torch.tensor([0, 1, 1, 2, 3, 4, 5, 6, 7, 8])
    ids = {"clause": clauses, "phrase": phrases, "word": words}
    labels = {level: (value * 7 + 1) % 5 for level, value in ids.items()}
    buckets = (torch.arange(10) % 3).expand(num_rows, -1)
    return Batch(torch.arange(10).expand(num_rows, -1), token_mask, ids, labels, buckets.float() / 4, buckets)


@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=list(SCHEDULES))
def test_no_levels_and_k_1_is_token_masking_to_the_same_random_numbers(schedule) -> None:
    batch = tree_batch()
    t = sample_times(batch, generator=torch.Generator().manual_seed(1))
    flat, cascade, rates = (
        corruption.corrupt(batch, t, generator=torch.Generator().manual_seed(7))
        for corruption in (
            TokenMasking(mask_id=99, schedule=schedule),
            TreeCascade(levels=(), mask_id=99, schedule=schedule),
            RateMatched(order="uniform", num_buckets=3, mask_id=99, schedule=schedule),
        )
    )
    for other in (cascade, rates):
        assert torch.equal(flat.x_t, other.x_t)
        assert torch.equal(flat.spans.token_index, other.spans.token_index)
        assert torch.allclose(flat.weight, other.weight, rtol=1e-5)


@pytest.mark.parametrize("unit", ["token", "node"])
@pytest.mark.parametrize("type_unit", ["token", "node"])
@pytest.mark.parametrize("count", ["exact", "bernoulli"])
def test_children_are_masked_before_their_parents(
    unit: str, type_unit: str, count: str, generator: torch.Generator
) -> None:
    batch = tree_batch()
    cascade = TreeCascade(
        levels=LEVELS, types=("boundary", "label"), num_labels=5, unit=unit, type_unit=type_unit,
        k={"clause": 3.0, "token": 0.5}, count=count, mask_id=99,
    )  # fmt: skip
    streams = cascade.streams(batch)
    times = cascade.log_times(batch, streams, generator=generator)
    for above, below in itertools.pairwise(times):
        assert bool((below <= above)[batch.token_mask].all())
    corrupted = cascade.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
    hidden = [corrupted.types_t[..., r] == size for r, size in enumerate(cascade.type_sizes)]
    hidden.append(corrupted.is_masked)
    for above, below in itertools.pairwise(hidden):
        assert bool((below | ~above)[batch.token_mask].all())  # hidden above, so hidden below


def test_types_stay_on_revealed_tokens_and_do_not_show_when_hidden(generator: torch.Generator) -> None:
    batch = tree_batch()
    cascade = TreeCascade(levels=("phrase",), types=("boundary", "label"), num_labels=4, mask_id=99)
    corrupted = cascade.corrupt(batch, torch.full((64,), 0.5), generator=generator)
    shown = corrupted.types_t[..., 0]
    begins = torch.ones_like(batch.input_ids)
    begins[:, 1:] = batch.unit_ids["phrase"].diff(dim=1)
    true = 2 * batch.labels["phrase"] + begins
    assert bool(((shown == true) | (shown == 10))[batch.token_mask].all())
    assert bool((shown == true)[~corrupted.is_masked & batch.token_mask].all())
    assert bool((shown[~batch.token_mask] == 10).all())


@pytest.mark.parametrize("count", ["exact", "bernoulli"])
@pytest.mark.parametrize("unit", ["token", "node"])
def test_every_token_and_every_type_weighs_one_on_average(
    unit: str, count: str, generator: torch.Generator
) -> None:
    batch = tree_batch(60_000)
    slow = 0.7 if count == "exact" else 1.5  # 1 / t weights have no variance for k <= 1
    cascade = TreeCascade(
        levels=("clause", "phrase"), k={"clause": 2.0, "phrase": slow, "token": [1.0, 3.0, 2.0]},
        types=("boundary", "salience"), num_buckets=3, unit=unit, type_unit=unit, count=count, mask_id=99,
    )  # fmt: skip
    corrupted = cascade.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
    terms = [(corrupted.spans, corrupted.weight), *((t.spans, t.weight) for t in corrupted.type_terms)]
    for spans, weight in terms:
        per_token = torch.zeros(batch.input_ids.numel()).index_add(
            0, spans.token_index, weight[spans.span_index]
        )
        mean = per_token.view_as(batch.input_ids)[::2].mean(0)
        assert torch.allclose(mean, torch.ones(10), atol=0.04 if count == "exact" else 0.25)


def test_masking_frequency_follows_the_chain_of_levels(generator: torch.Generator) -> None:
    """P(T <= t) for T = U_1^(1/a) U_2^(1/b): (b t^a - a t^b) / (b - a)."""
    batch = Batch(
        torch.zeros(20_000, 4, dtype=torch.long),
        torch.ones(20_000, 4, dtype=torch.bool),
        {"phrase": torch.tensor([0, 0, 1, 1]).expand(20_000, -1)},
    )
    cascade = TreeCascade(k={"phrase": 2.0, "token": 1.0}, count="bernoulli", mask_id=9)
    for t in (0.2, 0.5, 0.9):
        corrupted = cascade.corrupt(batch, torch.full((20_000,), t), generator=generator)
        hidden_types = (corrupted.types_t[..., 0] == 2).double().mean()
        assert float(hidden_types) == pytest.approx(t**2, abs=0.01)
        assert float(corrupted.is_masked.double().mean()) == pytest.approx(2 * t - t**2, abs=0.01)


def test_keywords_first_means_masked_last(generator: torch.Generator) -> None:
    batch = tree_batch(4000)
    for order, sign in (("keyword_first", 1), ("keyword_last", -1)):
        rates = RateMatched(order=order, ratio=16.0, num_buckets=3, count="bernoulli", mask_id=99)
        corrupted = rates.corrupt(batch, torch.full((4000,), 0.5), generator=generator)
        share = [
            float(corrupted.is_masked[(batch.salience_buckets == b) & batch.token_mask].double().mean())
            for b in range(3)
        ]
        assert sign * (share[0] - share[2]) > 0.3
        expected = [0.5**k for k in rates.speeds.k]
        assert share == pytest.approx(expected, abs=0.02)


def test_soft_masking_goes_through_the_class(generator: torch.Generator) -> None:
    batch = tree_batch()
    table = [token % 3 for token in range(99)]
    soft = SoftMasking(num_classes=3, table=table, mask_id=99)
    corrupted = soft.corrupt(batch, torch.full((64,), 0.6), generator=generator)
    shown = corrupted.types_t[..., 0]
    states = {
        (bool(hidden), bool(shown_class == 3))
        for hidden, shown_class in zip(
            corrupted.is_masked[batch.token_mask], shown[batch.token_mask], strict=True
        )
    }
    assert states == {(False, False), (True, False), (True, True)}
    visible = shown[(shown < 3) & batch.token_mask]
    assert bool((visible == (batch.input_ids % 3)[(shown < 3) & batch.token_mask]).all())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TreeCascade(levels=("phrases",)), "unknown level"),
        (lambda: TreeCascade(levels=("token",)), "name each once"),
        (lambda: TreeCascade(k=0.0), "number > 0"),
        (lambda: TreeCascade(k={"phrase": -1.0}), "number > 0"),
        (lambda: TreeCascade(k={"clause": 1.0}), "add it to levels"),
        (lambda: TreeCascade(k={"token": [1.0, 2.0]}), "add 'salience' to types"),
        (lambda: TreeCascade(k={"token": [1.0, 2.0]}, types=("salience",), num_buckets=3), "one per bucket"),
        (lambda: TreeCascade(types=("label",), unit="node"), "'boundary'"),
        (lambda: TreeCascade(direction="up"), "coarse_to_fine"),
        (
            lambda: TreeCascade(
                direction="fine_to_coarse", types=("salience",), num_buckets=2, k={"token": [1.0, 2.0]}
            ),
            "hidden while tokens are generated",
        ),
        (lambda: RateMatched(k=[1.0, 0.0]), "number > 0"),
        (lambda: RateMatched(ratio=0.5), ">= 1"),
        (lambda: RateMatched(order="keywords"), "keyword_first"),
        (lambda: RateMatched(k_inside=2.0), "give both"),
        (lambda: SoftMasking(num_classes=1), "at least 2"),
        (lambda: SoftMasking(classes="pos"), "'clusters'"),
        (lambda: SoftMasking(class_k=float("nan")), "number > 0"),
    ],
)
def test_impossible_options_are_refused(make, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def test_broken_structure_is_refused_by_name() -> None:
    batch = tree_batch(2)
    t = torch.ones(2)
    cascade = TreeCascade(levels=LEVELS, mask_id=99)
    cascade.corrupt(batch, t)

    def refused(message: str, **changes: object) -> None:
        with pytest.raises(DataError, match=message):
            cascade.corrupt(replace(batch, **changes), t)

    def units(level: str, ids: list[int]) -> dict[str, torch.Tensor]:
        return {**batch.unit_ids, level: torch.tensor([ids, ids])}

    refused("overlap or leave gaps", unit_ids=units("phrase", [0, 0, 1, 0, 1, 2, 3, 4, 5, 6]))
    refused("overlap or leave gaps", unit_ids=units("phrase", [0, 0, 2, 2, 3, 3, 4, 5, 6, 7]))
    refused("exceeds the text", unit_ids=units("word", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
    refused("crosses the border", unit_ids=units("phrase", [0, 0, 0, 1, 1, 1, 2, 3, 4, 5]))
    refused("have shape", unit_ids={**batch.unit_ids, "word": torch.zeros(2, 4, dtype=torch.long)})
    refused("needs level 'word'", unit_ids={k: v for k, v in batch.unit_ids.items() if k != "word"})
    refused(r"salience lies in \[2, 2\]", salience=torch.full((2, 10), 2.0))
    refused("all padding", token_mask=torch.zeros(2, 10, dtype=torch.bool))
    for wrong in (0.0, 1.5, float("nan")):
        with pytest.raises(DataError, match=r"\(0, 1\]"):
            cascade.corrupt(batch, torch.full((2,), wrong))


def test_missing_labels_and_buckets_are_named() -> None:
    batch = replace(tree_batch(2), labels={}, salience_buckets=None)
    t = torch.ones(2)
    for corruption, message in (
        (TreeCascade(types=("label",), mask_id=99), "labels of level 'phrase'"),
        (TreeCascade(types=("salience",), num_buckets=2, mask_id=99), "data.salience_buckets"),
        (RateMatched(mask_id=99), "data.salience_buckets"),
        (SoftMasking(classes="syntax", mask_id=99), "labels of level 'word'"),
        (SoftMasking(mask_id=99), "with_table"),
    ):
        with pytest.raises(DataError, match=message):
            corruption.corrupt(batch, t)
    with pytest.raises(DataError, match=r"give as many speeds, or use data\.salience_buckets=2"):
        RateMatched(num_buckets=2, mask_id=99).corrupt(tree_batch(2), t)
