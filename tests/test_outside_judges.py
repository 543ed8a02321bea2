"""Judges from other packages: the n-gram model is normalised and prefers its text; sentences are counted."""

from __future__ import annotations

import math
import random

import pytest

from hdiff.errors import DataError
from hdiff.evaluation.outside_judges import NgramJudge, has_link_grammar, link_grammar_rate, whole_sentences

pytest.importorskip("nltk")


def rows_of(seed: int, count: int = 60) -> list[list[int]]:
    """A language in which 2 k + 1 always follows 2 k."""
    generator = random.Random(seed)
    drawn = [[generator.randrange(3) for _ in range(10)] for _ in range(count)]
    return [[v for k in row for v in (2 * k, 2 * k + 1)] for row in drawn]


def test_ngram_probabilities_sum_to_one() -> None:
    judge = NgramJudge.fit(rows_of(0), vocab_size=8)
    for context in ([0], [0, 1], [2, 5], [7, 7]):
        nats = [judge.nats_per_token([[*context, token]]) * (len(context) + 1) for token in range(8)]
        before = judge.nats_per_token([context]) * len(context)
        assert sum(math.exp(before - total) for total in nats) == pytest.approx(1.0, abs=1e-6)


def test_ngram_judge_knows_its_language() -> None:
    judge = NgramJudge.fit(rows_of(0), vocab_size=8)
    own = judge.nats_per_token(rows_of(1, 10))
    entropy = math.log(3) / 2
    assert entropy < own < entropy + 0.15
    generator = random.Random(2)
    shuffled = [generator.sample(row, len(row)) for row in rows_of(1, 10)]
    assert judge.nats_per_token(shuffled) > own + 0.5
    assert judge.nats_per_token([[7, 7, 7]]) < 12  # unseen tokens cost much, not infinitely much


def test_sentences_at_the_ends_of_a_sample_are_left_out() -> None:
    text = 'ended here. The dog ran home. "Stop now!" He said no.\nIt was late and dark. Then the'
    assert whole_sentences(text) == ["The dog ran home.", "He said no.", "It was late and dark."]
    assert whole_sentences("no end") == []


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(DataError, match="order 1"):
        NgramJudge.fit([[0]], vocab_size=2, order=1)
    with pytest.raises(DataError, match="0 rows"):
        NgramJudge.fit([], vocab_size=2)


def test_link_grammar_tells_sentences_from_word_salad() -> None:
    if not has_link_grammar():
        assert link_grammar_rate(["A. The dog ran home. B"]) is None
        pytest.skip("link-parser is not installed")
    good = "x. The dog runs in the park. She likes the old house. He gave me a book. y"
    bad = "x. The dogs runs in the park. Of house the likes old she. Book me a gave he. y"
    assert link_grammar_rate([good]) == 1.0
    rate = link_grammar_rate([bad])
    assert rate is not None
    assert rate < 0.5
