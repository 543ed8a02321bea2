"""Corrupted words: what a report shows of a corruption is what the corruption does."""

from dataclasses import replace

import pytest
import torch

from hdiff.corruption import (
    BlockMasking,
    Gaussian,
    RateMatched,
    SoftMasking,
    SpanMasking,
    TokenMasking,
    TreeCascade,
    UniformState,
)
from hdiff.pages.corrupted_words import corrupt_words
from hdiff.parsers import SpacyParser
from hdiff.parsers.buckets import Buckets
from hdiff.schedules import CosineSchedule

SENTENCE = "The old dog that barked all night slept in the garden."
BUCKETS = Buckets((0.3,))


@pytest.fixture(scope="module")
def tree():
    parsed = next(iter(SpacyParser().parse([SENTENCE])))
    return replace(parsed, salience=tuple(0.1 + 0.8 * (word % 2) for word in range(len(parsed.words))))


def draw(tree, corruption, *, seed=0):
    corruption.mask_id = 9
    generator = torch.Generator().manual_seed(seed)
    return corrupt_words(tree, corruption, buckets=BUCKETS, replacements=["cat", "hat"], generator=generator)


@pytest.mark.parametrize(
    "corruption",
    [
        TokenMasking(),
        TokenMasking(schedule=CosineSchedule()),
        SpanMasking(segmentation="parsed"),
        SpanMasking(segmentation="random", lengths=[0.4, 0.6]),
        TreeCascade(levels=["phrase", "word"], types=["boundary", "label", "salience"], num_buckets=2),
        TreeCascade(levels=["phrase"], direction="fine_to_coarse"),
        RateMatched(num_buckets=2),
        SoftMasking(classes="syntax", num_classes=8),
        UniformState(k=[1.0, 2.0]),
    ],
    ids=lambda corruption: type(corruption).__name__,
)
def test_every_word_has_a_time_and_units_share_theirs(tree, corruption):
    drawn = draw(tree, corruption)
    assert len(drawn.times) == len(drawn.units) == len(drawn.stages) == len(tree.words)
    assert all(0 <= time <= 1 for time in drawn.times)
    by_unit = {}
    for unit, time in zip(drawn.units, drawn.times, strict=True):
        assert by_unit.setdefault(unit, time) == time


def test_times_follow_the_schedule(tree):
    """P(hidden at t) is p_mask(t): a quarter of the draws of a schedule that is late."""
    schedule = CosineSchedule()
    t = 0.5
    hidden = [
        time < t
        for seed in range(300)
        for time in draw(tree, TokenMasking(schedule=schedule), seed=seed).times
    ]
    expected = float(schedule.p_mask(torch.tensor([t], dtype=torch.float64)))
    assert sum(hidden) / len(hidden) == pytest.approx(expected, abs=0.03)


def test_parsed_spans_are_hidden_whole(tree):
    drawn = draw(tree, SpanMasking(segmentation="parsed", level="phrase"))
    assert drawn.units[0] == drawn.units[1] == drawn.units[2]
    assert len(set(drawn.units)) < len(tree.words)


def test_types_of_a_cascade_are_hidden_after_the_word_and_coarse_ones_last(tree):
    drawn = draw(tree, TreeCascade(levels=["phrase", "word"], types=["label"]))
    for time, stages in zip(drawn.times, drawn.stages, strict=True):
        word, phrase = stages
        assert (word["level"], phrase["level"]) == ("word", "phrase")
        assert time <= word["time"] <= phrase["time"] <= 1
    shown = [[stage["text"] for stage in stages] for stages in drawn.stages]
    assert shown[0] == ["DET", "NP"]
    assert shown[2][0] == "NOUN"


def test_borders_and_salience_are_shown_as_the_cascade_shows_them(tree):
    drawn = draw(tree, TreeCascade(levels=["phrase"], types=["boundary", "salience"], num_buckets=2))
    texts = [stages[0]["text"] for stages in drawn.stages]
    assert texts[0][0] == "["
    assert {text[0] for text in texts} == {"[", "·"}
    buckets = BUCKETS.indexes(list(tree.salience)).tolist()
    assert [int(text[-1]) for text in texts] == buckets


def test_replaced_words_show_another_word(tree):
    drawn = draw(tree, UniformState())
    assert {stage["text"] for stages in drawn.stages for stage in stages} <= {"cat", "hat"}


def test_faster_buckets_are_masked_later(tree):
    """keyword_first: a token of greater k is masked later."""
    buckets = BUCKETS.indexes(list(tree.salience))
    assert len(set(buckets.tolist())) == 2
    times = torch.tensor(
        [draw(tree, RateMatched(num_buckets=2, ratio=9.0), seed=s).times for s in range(200)]
    )
    mean = times.mean(0)
    assert mean[torch.from_numpy(buckets == 1)].min() > mean[torch.from_numpy(buckets == 0)].max()


def test_noise_and_blocks_hide_no_word_at_a_time_of_its_own(tree):
    assert draw(tree, Gaussian()) is None
    assert draw(tree, BlockMasking(block_size=4)) is None
