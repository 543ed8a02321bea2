"""Marginal trap: pairs with known answers, agreement of an exact model, which neighbours are chosen."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from toy_masked_models import Everywhere, Pairs, Sentences, subject_of

from hdiff.data.tokenizer import Tokenizer
from hdiff.diagnosis import MaskedSubject, measure_pairs
from hdiff.diagnosis.adjacent_words import AdjacentPair, choose_pairs, whole_word_flags
from hdiff.diagnosis.agreement import frames_of, measure_agreement
from hdiff.diagnosis.marginal_trap import first_tokens
from hdiff.errors import DataError
from hdiff.evaluation.agreement_pairs import agreement_pairs


def table_of(size: int, seed: int = 0, sharpness: float = 2.0) -> Tensor:
    """A random table p(a, b), float64 (V, V)."""
    generator = torch.Generator().manual_seed(seed)
    scores = sharpness * torch.randn(size, size, generator=generator, dtype=torch.float64)
    return scores.flatten().softmax(-1).view(size, size)


def pairs_of(size: int, count: int = 6) -> list[AdjacentPair]:
    rows = [tuple((3 * row + 5 * place) % size for place in range(6)) for row in range(count)]
    return [AdjacentPair(row, 2 * (number % 3)) for number, row in enumerate(rows)]


def test_figures_of_known_pairs_are_exact() -> None:
    p = table_of(7)
    product = p.sum(1, keepdim=True) * p.sum(0, keepdim=True)
    pairs = pairs_of(7)
    found, _ = measure_pairs(subject_of(Pairs(p), joint=True), pairs)
    assert found.total_correlation == pytest.approx(float((p * (p / product).log()).sum()))
    assert found.excess_surprise == pytest.approx(float((product * (product / p).log()).sum()))
    is_far_less = p < product / 10
    assert is_far_less.any()
    assert found.trapped == pytest.approx(float(product[is_far_less].sum()))
    assert found.trapped_in_turn == pytest.approx(float(p[is_far_less].sum()))
    assert found.stderr == pytest.approx(0, abs=1e-9)
    true = [(pair.row[pair.place], pair.row[pair.place + 1]) for pair in pairs]
    assert found.true_pairs.product_nats == pytest.approx(-sum(float(product[t].log()) for t in true) / 6)
    assert found.true_pairs.chain_nats == pytest.approx(-sum(float(p[t].log()) for t in true) / 6)
    # The joint of this head is the chain: one pass loses nothing.
    assert found.true_pairs.head_nats == pytest.approx(found.true_pairs.chain_nats)
    assert found.head_joint_recovers == pytest.approx(found.true_pairs.gain)


def test_tokens_that_are_apart_have_no_trap() -> None:
    for model in (
        Everywhere(table_of(7).sum(0).log()),
        Pairs(torch.full((7, 7), 1 / 49, dtype=torch.float64)),
    ):
        found, _ = measure_pairs(subject_of(model), pairs_of(7))
        figures = (found.total_correlation, found.excess_surprise, found.true_pairs.gain)
        assert figures == pytest.approx((0, 0, 0), abs=1e-12)
        assert (found.trapped, found.trapped_in_turn) == (0, 0)
        assert (found.head_joint_recovers, found.head_on_chain, found.true_pairs.head_nats) == (None,) * 3


def test_pairs_that_determine_each_other_have_their_entropy_as_correlation() -> None:
    """Filled at once nearly all of them are wrong, which the chain finds impossible."""
    found, _ = measure_pairs(subject_of(Pairs(torch.eye(8).double() / 8)), pairs_of(8))
    assert found.total_correlation == pytest.approx(math.log(8))
    assert found.excess_surprise == math.inf
    assert found.trapped == pytest.approx(7 / 8)
    assert found.trapped_in_turn == 0


def test_many_first_tokens_are_estimated_without_bias() -> None:
    p = table_of(40, sharpness=1.0)
    exact = float((p * (p / (p.sum(1, keepdim=True) * p.sum(0, keepdim=True))).log()).sum())
    found, _ = measure_pairs(subject_of(Pairs(p), joint=True), pairs_of(40, 60))
    assert found.stderr > 0
    assert abs(found.total_correlation - exact) < 4 * found.stderr
    assert found.head_on_chain is not None
    assert abs(found.head_on_chain - exact) < 0.1 * exact


def test_first_tokens_weigh_what_they_stand_for() -> None:
    p = table_of(40).sum(1)
    generator = torch.Generator().manual_seed(0)
    values = torch.arange(40, dtype=torch.float64)
    means = []
    for _ in range(400):
        tokens, weights = first_tokens(p.log(), generator)
        assert float(weights.sum()) == pytest.approx(1)
        means.append(float(weights @ values[tokens]))
    mean, spread = sum(means) / 400, torch.tensor(means).std()
    assert abs(mean - float(p @ values)) < 4 * float(spread) / 20


@pytest.mark.parametrize("seed", range(5))
def test_filling_in_turn_is_trapped_in_a_tenth_at_most(seed: int) -> None:
    found, _ = measure_pairs(subject_of(Pairs(table_of(12, seed, sharpness=5.0))), pairs_of(12))
    assert found.trapped_in_turn < 0.1
    assert found.trapped_in_turn < found.trapped


def test_examples_are_the_worst_of_the_drawn_and_repeat() -> None:
    subject, pairs = subject_of(Pairs(table_of(7, sharpness=4.0))), pairs_of(7, 30)
    _, examples = measure_pairs(subject, pairs, seed=1)
    assert len(examples) == 8
    assert [e.log_ratio for e in examples] == sorted(e.log_ratio for e in examples)
    assert examples[0].log_ratio < -2
    assert all(e.product.split()[0] == e.chain.split()[0] for e in examples)
    assert all(e.context.count("[ ][ ]") == 1 for e in examples)
    assert measure_pairs(subject, pairs, seed=1)[1] == examples
    assert measure_pairs(subject, pairs, seed=2)[1] != examples


def test_one_pair_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2"):
        measure_pairs(subject_of(Pairs(table_of(7))), pairs_of(7, 1))


# --- agreement ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    """One token per word."""
    return Tokenizer.train([text for pair in agreement_pairs() for text in (pair.good, pair.bad)], "words")


def test_pairs_give_frames_of_two_words_that_agree(words: Tokenizer) -> None:
    frames = frames_of(agreement_pairs(), words)
    assert len(frames) == 100
    good = {pair.good for pair in agreement_pairs()}
    bad = {pair.bad for pair in agreement_pairs()}
    for frame in frames:
        for left in (0, 1):
            for right in (0, 1):
                tokens = list(frame.tokens)
                tokens[frame.places[0]] = frame.words[left][0]
                tokens[frame.places[1]] = frame.words[right][1]
                assert words.decode(tokens) in (good if left == right else bad)


def test_who_knows_agreement_exactly_still_disagrees_if_filled_at_once(words: Tokenizer) -> None:
    sentences = [tuple(words.encode(pair.good)[0]) for pair in agreement_pairs()]
    model = Sentences(list(dict.fromkeys(sentences)), words.vocab_size)
    found = measure_agreement(MaskedSubject("exact", model, words, 64))
    assert (found["count"], found["left_out"]) == (100, 0)
    assert found["disagreement_chain"] == pytest.approx(0, abs=1e-12)
    assert found["disagreement_product"] == pytest.approx(0.5, abs=1e-9)
    assert found["total_correlation"] == pytest.approx(math.log(2))
    assert (found["head_count"], found["head_joint_recovers"]) == (0, None)
    assert sum(figures["count"] for figures in found["paradigms"].values()) == 100


def test_who_knows_nothing_disagrees_half_of_the_time_either_way(words: Tokenizer) -> None:
    uniform = torch.full((words.vocab_size,), -math.log(words.vocab_size), dtype=torch.float64)
    found = measure_agreement(MaskedSubject("uniform", Everywhere(uniform), words, 64))
    assert found["disagreement_product"] == pytest.approx(0.5)
    assert found["disagreement_chain"] == pytest.approx(0.5)
    assert found["total_correlation"] == pytest.approx(0, abs=1e-12)


def test_frames_of_words_in_several_tokens_are_left_out_and_counted() -> None:
    letters = Tokenizer.train(["ab"], "train:257")
    found = measure_agreement(MaskedSubject("bytes", Everywhere(torch.zeros(257).double()), letters, 64))
    assert (found["count"], found["left_out"]) == (0, 100)
    assert found["total_correlation"] is None


# --- neighbours -----------------------------------------------------------------------------------


def test_words_are_whole_where_no_letter_touches_them() -> None:
    pieces = ["The", " old", " dog", "s", " don", "'t", " like", " cats", ".", " He", " ran", " ", "far"]
    flags = dict(zip(pieces, whole_word_flags(pieces), strict=True))
    assert [piece for piece, is_whole in flags.items() if is_whole] == [
        " old",
        " like",
        " cats",
        " He",
        " ran",
    ]


def test_pairs_are_neighbours_of_whole_words_one_a_row() -> None:
    text = "Once upon a time there was a little girl who liked to play. " * 20
    tokenizer = Tokenizer.train([text], "train:300")
    tokens = tokenizer.encode(text)[0]
    rows = [tokens[start : start + 40] for start in range(0, len(tokens) - 40, 40)]
    pairs = choose_pairs(rows, tokenizer, seed=0)
    assert 2 <= len(pairs) <= len(rows)
    for pair in pairs:
        both = tokenizer.decode(pair.row[pair.place : pair.place + 2]).split()
        assert len(both) == 2
        assert set(both) <= set(text.replace(".", "").split())
    assert choose_pairs(rows, tokenizer, seed=0) == pairs
    assert choose_pairs(rows, tokenizer, seed=1) != pairs


def test_text_without_words_has_no_pairs() -> None:
    tokenizer = Tokenizer.train(["...!!!"], "train:257")
    rows = [tokenizer.encode("...!!!...")[0]]
    assert choose_pairs(rows, tokenizer, seed=0) == []
    assert len(choose_pairs(rows, tokenizer, seed=0, whole_words=False)) == 1
