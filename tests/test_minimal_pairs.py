"""Minimal pairs: scores are likelihoods computed by hand, the set is balanced, knowing agreement shows."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from hdiff.corruption import (
    Gaussian,
    RateMatched,
    SoftMasking,
    SpanMasking,
    TokenMasking,
    TreeCascade,
    UniformState,
)
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.evaluation.agreement_pairs import agreement_pairs
from hdiff.evaluation.minimal_pair_files import MinimalPair
from hdiff.evaluation.minimal_pairs import score_pairs
from hdiff.heads import AutoregressiveHead, ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.autoregressive import Autoregressive
from hdiff.models.denoiser import Denoiser
from hdiff.models.gaussian_denoiser import GaussianDenoiser
from hdiff.models.uniform_denoiser import UniformDenoiser
from hdiff.samplers import AncestralSampler, ConfidenceSampler

PAIRS = agreement_pairs()


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    """One token per word: the sentences of a pair are equally long."""
    return Tokenizer.train([pair.good for pair in PAIRS] + [pair.bad for pair in PAIRS], "words")


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    """Pieces of words: many sentences of a pair differ in length."""
    return Tokenizer.train([pair.good for pair in PAIRS], "train:300")


def trunk(*, width: int = 16, depth: int = 1, causal: bool = False) -> Trunk:
    return Trunk(width, depth=depth, num_heads=2, causal=causal)


def model_and_corruption(family: str, size: int):
    """A random model of a family, in evaluation mode, and its corruption."""
    torch.manual_seed(0)
    head = ProductHead(size, 16)
    if family == "token_masking":
        return Denoiser(trunk(), head).eval(), TokenMasking(mask_id=size)
    if family == "span_masking":
        joint = AutoregressiveHead(size, 16, num_heads=2)
        spans = SpanMasking(segmentation="random", lengths={1: 0.5, 2: 0.5}, mask_id=size)
        return Denoiser(trunk(), joint).eval(), spans
    if family == "soft_masking":
        table = [token % 4 for token in range(size)]
        types = [ProductHead(4, 16)]
        model = Denoiser(trunk(), head, type_heads=types, token_classes=torch.tensor(table))
        return model.eval(), SoftMasking(num_classes=4, table=table, mask_id=size)
    if family == "uniform_state":
        return UniformDenoiser(trunk(), head).eval(), UniformState(mask_id=size)
    if family == "gaussian":
        return GaussianDenoiser(trunk(), head, embedding_width=4).eval(), Gaussian(
            embedding_width=4, mask_id=size
        )
    return Autoregressive(trunk(causal=True), head).eval(), None


FAMILIES = [
    "token_masking",
    "span_masking",
    "soft_masking",
    "uniform_state",
    "gaussian",
    "autoregressive",
]


def surprise(bias: torch.Tensor, tokens: list[int]) -> float:
    return float(-bias.log_softmax(0)[tokens].sum())


def test_autoregressive_scores_follow_the_chain_rule_by_hand(pieces):
    model, _ = model_and_corruption("autoregressive", pieces.vocab_size)
    pairs = PAIRS[::40]
    scores = score_pairs(model, None, pieces, pairs)
    assert scores.likelihood == "exact -log p"
    for pair, found in zip(pairs, scores.nats, strict=True):
        for sentence, nats in zip((pair.good, pair.bad), found, strict=True):
            row = [pieces.eos_id, *pieces.encode(sentence)[0], pieces.eos_id]
            expected = 0.0
            for place in range(1, len(row)):
                before = torch.tensor([[pieces.vocab_size, *row[:place]]])  # begin of row, then what is given
                logits = model.head.logits(model.trunk(model.head.embed(before)))[0, -1]
                expected -= float(logits.log_softmax(-1)[row[place]].detach())
            assert nats == pytest.approx(expected, rel=1e-5)


def test_a_masked_sentence_scores_as_one_of_its_two_orders_and_their_mean(words):
    """Two tokens between two visible ends of text: every number can be computed by hand."""
    model, corruption = model_and_corruption("token_masking", words.vocab_size)
    pair = MinimalPair("She hurt", "He hurt", "p", "f")
    row = torch.tensor([[words.eos_id, *words.encode(pair.good)[0], words.eos_id]])
    assert row.shape == (1, 4)

    def nats(place: int, hidden: list[int]) -> float:
        x_t = row.clone()
        x_t[0, hidden] = model.mask_id
        logits = model.head.logits(model.hidden(x_t))[0, place]
        return float(-logits.log_softmax(-1)[row[0, place]].detach())

    orders = (nats(1, [1, 2]) + nats(2, [2]), nats(2, [1, 2]) + nats(1, [1]))
    assert abs(orders[0] - orders[1]) > 1e-3
    for seed in range(4):
        single = score_pairs(model, corruption, words, [pair], draws=1, seed=seed).nats[0][0]
        assert min(abs(single - order) for order in orders) < 1e-5
    many = score_pairs(model, corruption, words, [pair], draws=256).nats[0][0]
    assert many == pytest.approx(sum(orders) / 2, abs=0.15 * abs(orders[0] - orders[1]))


@pytest.mark.parametrize(("family", "counted_ends"), [("token_masking", 0), ("autoregressive", 1)])
def test_ends_of_text_are_given_and_padding_costs_nothing(family, counted_ends, pieces):
    """A model of frequencies alone: the sum over the sentence, however long its twin is."""
    model, corruption = model_and_corruption(family, pieces.vocab_size)
    with torch.no_grad():
        model.head.embedding.weight.zero_()
        model.head.output_bias.normal_(generator=torch.Generator().manual_seed(1))
    scores = score_pairs(model, corruption, pieces, PAIRS, draws=1)
    ends = [pieces.eos_id] * counted_ends
    lengths = Counter()
    for pair, found in zip(PAIRS, scores.nats, strict=True):
        tokens = [pieces.encode(sentence)[0] for sentence in (pair.good, pair.bad)]
        lengths[len(tokens[0]) - len(tokens[1])] += 1
        bias = model.head.output_bias.detach()
        assert found == pytest.approx([surprise(bias, [*part, *ends]) for part in tokens], rel=1e-5)
    assert len(lengths) > 1, "the tokenizer must cut some pairs into different numbers of tokens"


def test_states_bound_the_whole_row(words):
    """Uniform heads: each position pays its class among 4 and its token among those of the class."""
    model, corruption = model_and_corruption("soft_masking", words.vocab_size)
    with torch.no_grad():
        for head in (model.head, *model.type_heads):
            head.embedding.weight.zero_()
    pair = PAIRS[0]
    row = [words.eos_id, *words.encode(pair.good)[0], words.eos_id]
    sizes = Counter(corruption.table)
    expected = sum(math.log(4) + math.log(sizes[corruption.table[token]]) for token in row)
    scores = score_pairs(model, corruption, words, [pair], draws=200)
    assert scores.nats[0][0] == pytest.approx(expected, rel=0.03)
    assert "both ends of text" in scores.likelihood


@pytest.mark.parametrize("family", FAMILIES)
def test_identical_sentences_tie_exactly(family, words):
    model, corruption = model_and_corruption(family, words.vocab_size)
    pairs = [replace(pair, bad=pair.good) for pair in PAIRS[::9]]
    scores = score_pairs(model, corruption, words, pairs, draws=2)
    assert all(good == bad for good, bad in scores.nats)
    assert scores.accuracy == 0.5
    assert sum(accuracy.ties for accuracy in scores.paradigms.values()) == len(pairs)


@pytest.mark.parametrize("family", FAMILIES)
def test_reversed_pairs_give_one_minus_the_accuracy(family, pieces):
    model, corruption = model_and_corruption(family, pieces.vocab_size)
    pairs = PAIRS[::7]
    scores = score_pairs(model, corruption, pieces, pairs, draws=2, seed=3)
    swapped = [replace(pair, good=pair.bad, bad=pair.good) for pair in pairs]
    reverse = score_pairs(model, corruption, pieces, swapped, draws=2, seed=3)
    assert reverse.nats == tuple((bad, good) for good, bad in scores.nats)
    assert reverse.accuracy == pytest.approx(1 - scores.accuracy, abs=1e-12)
    assert scores.accuracy != 0.5


def test_seed_decides_the_orders_and_nothing_else_does(words):
    model, corruption = model_and_corruption("token_masking", words.vocab_size)
    one, again, other = (
        score_pairs(model, corruption, words, PAIRS[:10], draws=1, seed=s) for s in (0, 0, 1)
    )
    assert one.nats == again.nats
    assert one.nats != other.nats


def test_the_default_is_one_unit_per_step_and_another_sampler_is_named(words):
    model, corruption = model_and_corruption("token_masking", words.vocab_size)
    pairs = PAIRS[:10]
    default = score_pairs(model, corruption, words, pairs, draws=2)
    slow = score_pairs(model, corruption, words, pairs, draws=2, sampler=AncestralSampler(1000))
    at_once = score_pairs(model, corruption, words, pairs, draws=2, sampler=AncestralSampler(1))
    sure = score_pairs(model, corruption, words, pairs, draws=2, sampler=ConfidenceSampler(threshold=0.9))
    assert slow.nats == default.nats
    assert at_once.nats != default.nats
    assert sure.nats != default.nats
    assert default.likelihood == "upper bound on -log p, mean of 2 orders"
    assert "ConfidenceSampler" in sure.likelihood


def test_accuracy_counts_ties_half_and_paradigms_equally(words):
    """A model of frequencies alone makes every outcome known."""
    model, corruption = model_and_corruption("token_masking", words.vocab_size)
    with torch.no_grad():
        model.head.embedding.weight.zero_()
        model.head.output_bias.zero_()
        model.head.output_bias[words.encode("She")[0]] = 1.0
    win, tie = ("She hurt", "He hurt"), ("He hurt", "He hurt")
    pairs = [MinimalPair(*win, "one", "f"), MinimalPair(*win[::-1], "one", "f")]
    pairs += [MinimalPair(*win, "one", "f"), MinimalPair(*tie, "one", "f"), MinimalPair(*win, "two", "f")]
    scores = score_pairs(model, corruption, words, pairs)
    one = scores.paradigms["one"]
    assert (one.share, one.pairs, one.ties) == (2.5 / 4, 4, 1)
    assert one.stderr == pytest.approx(torch.tensor([1.0, 0.0, 1.0, 0.5]).std().item() / 2)
    assert scores.accuracy == pytest.approx((2.5 / 4 + 1.0) / 2)
    assert math.isnan(scores.paradigms["two"].stderr)


def test_a_model_of_word_frequencies_is_right_in_half_of_the_pairs(words):
    model, corruption = model_and_corruption("token_masking", words.vocab_size)
    with torch.no_grad():
        model.head.embedding.weight.zero_()
        model.head.output_bias.normal_(generator=torch.Generator().manual_seed(2))
    scores = score_pairs(model, corruption, words, PAIRS, draws=1)
    assert {accuracy.share for accuracy in scores.paradigms.values()} == {0.5}


def test_hidden_speeds_are_scored_as_tokens_filled_in_any_order(words):
    size = words.vocab_size
    model, tokens = model_and_corruption("token_masking", size)
    one, other = (score_pairs(model, c, words, PAIRS[:4]) for c in (RateMatched(mask_id=size), tokens))
    assert one == other


def test_what_has_no_legal_likelihood_is_refused_with_a_remedy(words):
    size = words.vocab_size
    model, corruption = model_and_corruption("token_masking", size)
    pairs = PAIRS[:2]

    def refuses(message: str, model, corruption, pairs=pairs, **options) -> None:
        with pytest.raises(DataError, match=message):
            score_pairs(model, corruption, words, pairs, **options)

    refuses("use corruption.unconditional", model, SpanMasking(mask_id=size))
    refuses("texts that nobody parsed have none", model, TreeCascade(levels=["phrase"], mask_id=size))
    refuses("with a corruption", model, None)
    refuses("no pairs", model, corruption, [])
    refuses("draws is 0", model, corruption, draws=0)
    refuses("has no tokens", model, corruption, [MinimalPair("", "a", "p", "f")])
    uniform, uniform_state = model_and_corruption("uniform_state", size)
    refuses("samplers score masked units", uniform, uniform_state, sampler=AncestralSampler(4))
    autoregressive, _ = model_and_corruption("autoregressive", size)
    refuses("no use for AncestralSampler", autoregressive, None, sampler=AncestralSampler(4))
