"""Packing: the same units as `hdiff.structure.segment`, in rows of one length."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.errors import DataError, ParserError
from hdiff.structure import LEVELS, segment

KEPT = ("clause", "phrase", "word")


def expected_stream(
    data: PreparedData, level: str, max_length: int | None, separator: bool
) -> tuple[list[int], list[bool], list[float]]:
    """Tokens, unit starts and salience of the training split, by the plain definition."""
    tokens: list[int] = []
    starts: list[bool] = []
    salience: list[float] = []
    for row in data.split("train"):
        levels = [LEVELS[rank] for rank in row["span_level"]]
        length = len(row["input_ids"])
        ids = segment(row["span_start"], row["span_end"], levels, length, level=level, max_length=max_length)
        tokens += row["input_ids"]
        starts += [i == 0 or ids[i] != ids[i - 1] for i in range(length)]
        salience += row["salience"]
        if separator:
            tokens.append(data.tokenizer.eos_id)
            starts.append(True)
            salience.append(0.0)
    return tokens, starts, salience


@pytest.mark.parametrize("separator", [True, False])
@pytest.mark.parametrize("max_length", [None, 1, 3, 8])
@pytest.mark.parametrize("level", KEPT)
def test_units_are_those_of_segment(
    prepared: PreparedData, level: str, max_length: int | None, separator: bool
) -> None:
    blocks = PackedBlocks.build(
        prepared, "train", sequence_length=16, separator=separator, levels=KEPT, max_unit_tokens=max_length
    )
    tokens, starts, salience = expected_stream(prepared, level, max_length, separator)
    assert blocks.tokens.tolist() == tokens
    assert blocks.unit_starts[level].tolist() == starts
    np.testing.assert_array_equal(blocks.salience, np.asarray(salience, dtype=np.float32))


@pytest.mark.parametrize("sequence_length", [1, 7, 64, 10_000])
def test_rows_hold_the_stream_and_pad_its_end(prepared: PreparedData, sequence_length: int) -> None:
    blocks = PackedBlocks.build(prepared, "train", sequence_length=sequence_length, levels=KEPT)
    assert len(blocks) == -(-blocks.num_tokens // sequence_length)
    batch = blocks.batch(range(len(blocks)))
    assert batch.input_ids.shape == batch.token_mask.shape == (len(blocks), sequence_length)
    assert batch.input_ids[batch.token_mask].tolist() == blocks.tokens.tolist()
    assert int(batch.num_tokens) == blocks.num_tokens
    assert (batch.input_ids[~batch.token_mask] == blocks.eos_id).all()
    mask = batch.token_mask.long()
    assert (mask.diff(dim=1) <= 0).all(), "padding is a suffix"
    assert batch.sample_ids is not None
    assert batch.sample_ids.tolist() == list(range(len(blocks)))


def test_unit_ids_are_contiguous_and_padding_stands_alone(prepared: PreparedData) -> None:
    blocks = PackedBlocks.build(prepared, "train", sequence_length=50, levels=KEPT)
    batch = blocks.batch([len(blocks) - 1, 0, 1])
    for level in KEPT:
        ids = batch.units(level)
        assert ids.dtype == torch.long
        assert (ids[:, 0] == 0).all()
        steps = ids.diff(dim=1)
        assert ((steps == 0) | (steps == 1)).all()
        assert (steps[0][~batch.token_mask[0][1:]] == 1).all()
        is_separator = batch.input_ids == blocks.eos_id
        assert (steps[is_separator[:, 1:]] == 1).all()


def test_a_batch_does_not_depend_on_its_other_rows(prepared: PreparedData) -> None:
    blocks = PackedBlocks.build(prepared, "train", sequence_length=20, levels=("phrase",))
    together = blocks.batch([3, 1])
    alone = blocks.batch([1])
    assert torch.equal(together.input_ids[1], alone.input_ids[0])
    assert torch.equal(together.units("phrase")[1], alone.units("phrase")[0])


def test_coarser_units_are_longer(prepared: PreparedData) -> None:
    blocks = PackedBlocks.build(prepared, "train", sequence_length=32, levels=KEPT)
    means = []
    for level in ("token", "word", "phrase", "clause"):
        histogram = blocks.unit_length_histogram(level)
        assert sum(histogram) == pytest.approx(1)
        means.append(sum(length * share for length, share in enumerate(histogram, start=1)))
    assert means == sorted(means)
    assert means[0] == 1 < means[2] < means[3]


def test_max_unit_tokens_bounds_the_units(prepared: PreparedData) -> None:
    blocks = PackedBlocks.build(prepared, "train", sequence_length=32, levels=KEPT, max_unit_tokens=4)
    for level in KEPT:
        assert len(blocks.unit_length_histogram(level)) <= 4


def test_buckets_are_about_equally_full_and_ordered_by_salience(prepared: PreparedData) -> None:
    blocks = PackedBlocks.build(prepared, "train", sequence_length=32, salience_buckets=3)
    batch = blocks.batch(range(len(blocks)))
    assert batch.salience is not None
    assert batch.salience_buckets is not None
    text = batch.input_ids != blocks.eos_id
    buckets, salience = batch.salience_buckets[text], batch.salience[text]
    shares = torch.bincount(buckets, minlength=3) / len(buckets)
    assert len(shares) == 3
    assert shares.min() > 0.15
    for low, high in ((0, 1), (1, 2)):
        assert salience[buckets == low].max() < salience[buckets == high].min()
    given = PackedBlocks.build(prepared, "train", sequence_length=32, salience_buckets=(0.5,)).batch([0])
    assert given.salience is not None
    assert given.salience_buckets is not None
    assert torch.equal(given.salience_buckets, (given.salience >= 0.5).long())


def test_lexical_salience_is_a_function_of_the_token_alone(prepared: PreparedData) -> None:
    options = {"sequence_length": 32, "lexical_salience": True, "salience_buckets": 2}
    train = PackedBlocks.build(prepared, "train", **options)  # type: ignore[arg-type]
    validation = PackedBlocks.build(prepared, "validation", **options)  # type: ignore[arg-type]
    assert train.buckets == validation.buckets
    table: dict[int, set[float]] = {}
    for blocks in (train, validation):
        for token, score in zip(blocks.tokens.tolist(), blocks.salience.tolist(), strict=True):
            if token != blocks.eos_id:
                table.setdefault(token, set()).add(score)
    assert all(len(scores) == 1 for scores in table.values())
    tokens, _, salience = expected_stream(prepared, "word", None, False)
    mean = np.mean([score for token, score in zip(tokens, salience, strict=True) if token == tokens[0]])
    assert list(table[tokens[0]]) == [pytest.approx(mean, abs=1e-6)]


def test_more_buckets_than_scores_are_refused(prepared: PreparedData) -> None:
    with pytest.raises(DataError, match=r"fills \d+ buckets, 1025 are asked for"):
        PackedBlocks.build(prepared, "train", sequence_length=32, salience_buckets=1025)
    with pytest.raises(ParserError, match="give increasing numbers between 0 and 1"):
        PackedBlocks.build(prepared, "train", sequence_length=32, salience_buckets=(0.5, 0.5))


def test_levels_that_were_not_kept_are_refused(prepared: PreparedData) -> None:
    with pytest.raises(
        DataError, match=r"needs level 'sentence', the data set keeps \['clause', 'phrase', 'word'\]"
    ):
        PackedBlocks.build(prepared, "train", sequence_length=8, levels=("sentence",))
    blocks = PackedBlocks.build(prepared, "train", sequence_length=8, levels=("word",))
    with pytest.raises(DataError, match=r"needs level 'phrase', the data set keeps .*--levels word,phrase"):
        blocks.batch([0]).units("phrase")
    assert blocks.batch([0]).units("token").tolist() == [list(range(8))]
    with pytest.raises(DataError, match="sequence length is 0"):
        PackedBlocks.build(prepared, "train", sequence_length=0)
    with pytest.raises(DataError, match="has no split 'test'"):
        PackedBlocks.build(prepared, "test", sequence_length=8)


def test_batches_are_made_without_a_loop_over_tokens(prepared: PreparedData) -> None:
    blocks = PackedBlocks.build(prepared, "train", sequence_length=256, levels=KEPT)
    rows = [0, 1] * 32
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        blocks.batch(rows)
        seconds.append(time.perf_counter() - start)
    assert len(rows) * 256 / min(seconds) > 300_000
