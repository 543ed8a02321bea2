"""Keywords: they occur in their order, anywhere, in a text of the length asked for."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from hdiff.control import Keywords, with_keywords
from hdiff.corruption import SpanMasking
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.models.denoiser import Denoiser
from hdiff.samplers import AncestralSampler


@pytest.mark.parametrize("words", [["dog"], ["dog", "park"], ["the old dog", "in", "."], ["dog", "dog"]])
def test_keywords_occur_in_their_order(
    words: list[str], denoiser: Denoiser, spans: SpanMasking, tokenizer: Tokenizer, generator: torch.Generator
) -> None:
    keywords = Keywords.of(words, 9, tokenizer)
    made = with_keywords(
        denoiser, spans, tokenizer, AncestralSampler(2), keywords, num_samples=6, tries=3, generator=generator
    )
    assert len(made.texts) == 6
    for text, tokens, score in zip(made.texts, made.tokens, made.scores, strict=True):
        assert len(text.split()) == 9
        position = 0
        for word in words:
            assert word in text[position:], (words, text)
            position = text.index(word, position) + len(word)
        assert tokenizer.eos_id not in tokens.tolist()
        assert score is not None


def test_every_placement_in_order_is_equally_likely(tokenizer: Tokenizer, generator: torch.Generator) -> None:
    """Keywords of two tokens and of one among three free places: C(5, 2) = 10 placements."""
    keywords = Keywords.of(["old dog", "park"], 6, tokenizer)
    rows = keywords.place(5000, mask_id=99, eos_id=0, generator=generator)
    counts = Counter(tuple(row) for row in rows.tolist())
    assert len(counts) == 10
    statistic = sum((count - 500) ** 2 / 500 for count in counts.values())
    assert statistic < 35  # 9 degrees of freedom: mean 9, sd 4.2
    assert bool((rows[:, [0, -1]] == 0).all())


def test_more_tries_find_likelier_texts(
    denoiser: Denoiser, spans: SpanMasking, tokenizer: Tokenizer, generator: torch.Generator
) -> None:
    keywords = Keywords.of(["park"], 6, tokenizer)

    def mean_score(tries: int) -> float:
        made = with_keywords(
            denoiser,
            spans,
            tokenizer,
            AncestralSampler(1),
            keywords,
            num_samples=24,
            tries=tries,
            generator=generator,
        )
        return sum(score for score in made.scores if score is not None) / 24

    assert mean_score(6) < mean_score(1)


@pytest.mark.parametrize(
    ("words", "length", "message"),
    [
        (["dog", ""], 9, "none that is empty"),
        ([], 9, "at least one"),
        (["the old dog", "park"], 4, "take 4 tokens and do not fit into 4"),
        (["the old dog", "park"], 3, "take 4 tokens and do not fit into 3"),
        (["zebra"], 9, "'zebra' is not a word"),
    ],
)
def test_bad_keywords_are_refused(words: list[str], length: int, message: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=message):
        Keywords.of(words, length, tokenizer)


def test_impossible_requests_are_refused(
    denoiser: Denoiser, spans: SpanMasking, tokenizer: Tokenizer
) -> None:
    keywords = Keywords.of(["dog"], 9, tokenizer)
    given = (denoiser, spans, tokenizer, AncestralSampler(1), keywords)
    with pytest.raises(DataError, match="rows 10"):
        with_keywords(*given, longest=10)
    with pytest.raises(DataError, match="0 tries"):
        with_keywords(*given, tries=0)
