"""Rewriting: the phrase is filled anew, everything else stays as it was."""

from __future__ import annotations

import pytest
import torch

from hdiff.control import Gap, rewrite, rewriting_pattern
from hdiff.corruption import SpanMasking
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.models.denoiser import Denoiser
from hdiff.samplers import AncestralSampler

TEXT = "the old dog sleeps in the park ."


@pytest.mark.parametrize("phrase", ["old dog", "the old", "park .", "sleeps", TEXT])
@pytest.mark.parametrize("gap", [None, Gap(1, 3)])
def test_only_the_phrase_changes(
    phrase: str,
    gap: Gap | None,
    denoiser: Denoiser,
    spans: SpanMasking,
    tokenizer: Tokenizer,
    generator: torch.Generator,
) -> None:
    made = rewrite(
        denoiser,
        spans,
        tokenizer,
        AncestralSampler(1),
        TEXT,
        phrase,
        gap=gap,
        num_samples=8,
        generator=generator,
    )
    before, after = (part.split() for part in TEXT.split(phrase))
    for text in made.texts:
        words = text.split()
        assert words[: len(before)] == before
        assert words[len(words) - len(after) :] == after
        written = len(words) - len(before) - len(after)
        assert written == len(phrase.split()) if gap is None else 1 <= written <= 3
    assert len(set(made.texts)) > 1, "it is filled anew, not copied"


def test_subword_tokens_are_hidden_with_their_space() -> None:
    subwords = Tokenizer.train(["the old dog sees the old cat"] * 9, "train:290")
    pattern = rewriting_pattern("the old dog sees", "old dog", subwords)
    given = [subwords.decode(part) for part in pattern.parts if not isinstance(part, Gap)]
    assert given == ["the", " sees"]


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        ("the", "occurs 2 times"),
        ("young", "occurs 0 times"),
        (" ", "occurs 0 times"),
        ("ld dog", "cuts the tokens of 'old dog'"),
        ("slee", "cuts the tokens of 'sleeps'"),
    ],
)
def test_bad_phrases_are_refused(phrase: str, message: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=message):
        rewriting_pattern(TEXT, phrase, tokenizer)


def test_overlapping_occurrences_count(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="occurs 2 times"):
        rewriting_pattern("dog dog dog", "dog dog", tokenizer)
