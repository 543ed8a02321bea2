"""Infilling: given words stay, gaps have the lengths asked for, the likeliest length is kept."""

from __future__ import annotations

import random

import pytest
import torch

from hdiff.control import Controlled, Gap, Pattern, infill
from hdiff.control.candidates import one_by_one
from hdiff.corruption import SpanMasking, TokenMasking, TreeCascade
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.heads import AutoregressiveHead, Sampling
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.packed_spans import PackedSpans
from hdiff.samplers import AncestralSampler, ConfidenceSampler, RemaskingSampler, Sampler, hidden_rows

WORDS = ["the", "old", "dog", "sleeps", "in", "park", "."]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_given_words_stay_and_every_gap_has_a_length_it_may_have(
    denoiser: Denoiser, spans: SpanMasking, tokenizer: Tokenizer
) -> None:
    """Random patterns: any number of gaps anywhere, at both ends too."""
    dice = random.Random(0)
    for seed in range(20):
        parts = [dice.choice([*WORDS, "[1]", "[2]", "[1-3]"]) for _ in range(dice.randint(1, 8))]
        parts.insert(dice.randint(0, len(parts)), "[2-3]")
        if sum(part in ("[1-3]", "[2-3]") for part in parts) > 3:
            continue
        made = infill(
            denoiser,
            spans,
            tokenizer,
            AncestralSampler(1),
            " ".join(parts),
            num_samples=2,
            generator=seeded(seed),
        )
        for text, tokens in zip(made.texts, made.tokens, strict=True):
            assert matches(parts, text.split()), (parts, text)
            assert tokenizer.eos_id not in tokens.tolist()
            assert int(tokens.max()) < tokenizer.vocab_size, "no mask is left"


def matches(parts: list[str], words: list[str]) -> bool:
    """Whether words can be read as given words and gaps of allowed lengths."""
    if not parts:
        return not words
    if not parts[0].startswith("["):
        return bool(words) and words[0] == parts[0] and matches(parts[1:], words[1:])
    shortest, _, longest = parts[0].strip("[]").partition("-")
    lengths = range(int(shortest), int(longest or shortest) + 1)
    return any(len(words) >= n and matches(parts[1:], words[n:]) for n in lengths)


def test_the_kept_length_is_the_one_with_the_fewest_nats_per_token(
    spans: SpanMasking, tokenizer: Tokenizer
) -> None:
    """The same randomness, length by length: no candidate that was tried beats the one kept."""
    torch.manual_seed(0)
    denoiser = Denoiser(Trunk(16, depth=1, num_heads=2), AutoregressiveHead(tokenizer.vocab_size, 16))
    torch.nn.init.normal_(denoiser.head.output_bias, std=2.0)
    kept_lengths = set()
    for seed in range(12):
        one, every = seeded(seed), seeded(seed)
        alone = [
            infill(denoiser, spans, tokenizer, AncestralSampler(1), f"the [{n}] .", generator=one)
            for n in (1, 2, 3)
        ]
        kept = infill(denoiser, spans, tokenizer, AncestralSampler(1), "the [1-3] .", generator=every)
        scores = [made.scores[0] for made in alone]
        assert kept.scores[0] == min(scores)
        assert kept.texts == alone[scores.index(min(scores))].texts
        kept_lengths.add(len(kept.texts[0].split()))
    assert len(kept_lengths) > 1, "otherwise one length always wins and the test says little"


def test_the_score_is_the_bound_per_token_of_what_was_filled(
    denoiser: Denoiser, tokenizer: Tokenizer
) -> None:
    """A gap of one token has no order, so its bound is exact: -log p of that token."""
    corruption = TokenMasking(mask_id=tokenizer.vocab_size)
    made = infill(denoiser, corruption, tokenizer, AncestralSampler(1), "the old [1] .", generator=seeded())
    row = torch.tensor([[tokenizer.eos_id, *made.tokens[0].tolist(), tokenizer.eos_id]])
    with torch.no_grad():
        hidden = denoiser.hidden(row.index_fill(1, torch.tensor([3]), denoiser.mask_id))
    is_gap = torch.arange(6)[None] == 3
    gap = PackedSpans.from_units(torch.arange(6)[None], is_gap)
    log_prob = denoiser.head.log_prob(gap.gather(hidden), gap.gather(row), gap).detach()
    assert made.scores[0] == pytest.approx(-float(log_prob), rel=1e-5)


def test_same_seed_same_texts(denoiser: Denoiser, spans: SpanMasking, tokenizer: Tokenizer) -> None:
    def draw(seed: int) -> Controlled:
        sampler = AncestralSampler(2)
        return infill(denoiser, spans, tokenizer, sampler, "[4-6] dog", num_samples=3, generator=seeded(seed))

    assert draw(1).texts == draw(1).texts
    assert draw(1).texts != draw(2).texts


@pytest.mark.parametrize("sampler", [ConfidenceSampler(threshold=0.5), RemaskingSampler(2)])
def test_any_sampler_of_masked_units_fills_a_fixed_gap(
    sampler: Sampler, denoiser: Denoiser, spans: SpanMasking, tokenizer: Tokenizer
) -> None:
    made = infill(denoiser, spans, tokenizer, sampler, "the [3] .", num_samples=2, generator=seeded())
    assert all(matches(["the", "[3]", "."], text.split()) for text in made.texts)
    assert [score is None for score in made.scores] == [not sampler.has_bound] * 2


def test_the_samplers_own_way_to_draw_is_kept(
    denoiser: Denoiser, spans: SpanMasking, tokenizer: Tokenizer
) -> None:
    """Greedy draws do not depend on the seed of the draws, for one gap of one token."""
    greedy = AncestralSampler(1, sampling=Sampling(top_k=1))
    texts = {
        infill(denoiser, spans, tokenizer, greedy, "the [1] .", generator=seeded(seed)).texts
        for seed in range(8)
    }
    assert len(texts) == 1
    assert greedy.sampling.banned == (), "the caller's sampler is left alone"


def test_history_tells_given_from_filled(
    denoiser: Denoiser, spans: SpanMasking, tokenizer: Tokenizer
) -> None:
    made = infill(denoiser, spans, tokenizer, AncestralSampler(2), "the [4] dog", generator=seeded())
    (samples,) = made.samples
    assert samples.steps[0, [0, 5]].tolist() == [-1, -1]
    assert set(samples.steps[0, 1:5].tolist()) <= {0, 1}
    assert torch.equal(samples.tokens[0], made.tokens[0])


def test_brackets_and_gaps_are_told_apart(tokenizer: Tokenizer) -> None:
    bracket = tokenizer.backend.token_to_id("[")
    parts = Pattern.parse("cat [[ [2] ] [1-3]", tokenizer).parts
    assert parts[0] == (tokenizer.backend.token_to_id("cat"), bracket)
    assert parts[1] == Gap(2, 2)
    assert parts[3] == Gap(1, 3)


def test_white_space_before_a_gap_belongs_to_the_gap() -> None:
    """Subword tokenizers put the space of a word into its token, which the gap fills."""
    subwords = Tokenizer.train(["the dog sees the dog and the cat"] * 9, "train:280")
    pattern = Pattern.parse("the dog [2] the", subwords)
    given = [part for part in pattern.parts if not isinstance(part, Gap)]
    assert [subwords.decode(part) for part in given] == ["the dog", " the"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("the old dog", "has no gap"),
        ("the [[ dog", "has no gap"),
        ("the [x] dog", "is no gap"),
        ("the [2 dog", "is no gap"),
        ("the [] dog", "is no gap"),
        ("the [-2] dog", "is no gap"),
        ("the [0] dog", "gap of 0 to 0"),
        ("the [0-3] dog", "gap of 0 to 3"),
        ("the [3-2] dog", "gap of 3 to 2"),
        ("the [9] dog", "up to 11 tokens and two ends, the model's rows 12"),
        ("[1-9] [1-9]", "rows 12"),
        ("[1-3] [1-3] [1-3] dog [1-2] [1-2]", "108 combinations"),
        ("the [2] zebra", "'zebra' is not a word the model knows"),
        ("<eos> [2]", "'<' is not a word"),
    ],
)
def test_bad_patterns_are_refused(
    pattern: str, message: str, denoiser: Denoiser, spans: SpanMasking, tokenizer: Tokenizer
) -> None:
    longest = 99 if "combinations" in message else 12
    with pytest.raises(DataError, match=message):
        infill(denoiser, spans, tokenizer, AncestralSampler(1), pattern, longest=longest)


def test_64_combinations_are_the_most(tokenizer: Tokenizer) -> None:
    assert len(Pattern.parse("[1-8] dog [1-8]", tokenizer).lengths()) == 64
    with pytest.raises(DataError, match="65 combinations"):
        Pattern.parse("[1-13] dog [1-5]", tokenizer).lengths()


def test_impossible_requests_are_refused(
    denoiser: Denoiser, spans: SpanMasking, tokenizer: Tokenizer
) -> None:
    given = (denoiser, spans, tokenizer)
    with pytest.raises(DataError, match="3 steps for 2 tokens to fill"):
        infill(*given, AncestralSampler(3), "the [2-5]")
    with pytest.raises(DataError, match="0 samples"):
        infill(*given, AncestralSampler(1), "the [2]", num_samples=0)
    with pytest.raises(DataError, match="no bound to compare them"):
        infill(*given, RemaskingSampler(2), "the [2-3]")
    cascade = TreeCascade(levels=[], mask_id=denoiser.mask_id)
    with pytest.raises(DataError, match="need a model of masked units"):
        infill(denoiser, cascade, tokenizer, AncestralSampler(1), "the [2]")


def test_a_batch_of_samples_is_taken_apart_row_by_row(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = Denoiser(Trunk(16, depth=1, num_heads=2), AutoregressiveHead(5, 16))
    sampler = AncestralSampler(2, sampling=Sampling(temperature=0.5))
    drawn = sampler.sample(model, TokenMasking(mask_id=5), hidden_rows(model, 3, 4), generator=generator)
    rows = one_by_one(drawn)
    assert torch.equal(torch.cat([row.tokens for row in rows]), drawn.tokens)
    assert [row.nfe for row in rows] == drawn.calls.tolist()
