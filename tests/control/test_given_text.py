"""The law of given text: it stands in the result, character by character, or the request is refused."""

from __future__ import annotations

import random

import pytest
from filled_text import fill, filled, holds
from generated_tokenizers import ALPHABET, generated_tokenizers
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hdiff.control import Keywords, Pattern
from hdiff.control.literal import Given
from hdiff.control.rewrite import rewriting_pattern
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError

MANY = settings(deadline=None, max_examples=200)
CODE = [
    ("def f(a):\n    ", "return", " a\n"),
    ("if a:\n\t", "b", "\n\tc = 1\n"),
    ("if a:\n\tif b:\n\t\t", "c", "\n"),
    ("x = 1\n\n", "y", " = 2"),
    ("x = 1\n\n\n", "y", " = 2"),
    ("x = 1\n    \n    ", "y", " = 2"),
    ("class A:\n\n    x = 1\n\n    ", "y", " = 2\n\n"),
    ("f(", "a", ", b)"),
    ("f(a,\n  ", "b", ")"),
    ("x = [1, ", "a", "]\n"),
    ("x  =  ", "a", "\n"),
    ("x = 'a ", "b", " c'"),
    ("# a\n", "a", "\n# b"),
    ("a.", "b", "()\n"),
    ("@a\n", "b", "\n"),
    ("\n", "a", "\n"),
]


@pytest.mark.parametrize(("before", "word", "after"), CODE)
def test_text_around_a_gap_is_cut_as_it_is_in_text(before: str, word: str, after: str) -> None:
    """White space, line ends and indentation give the tokens that the model has seen."""
    lines = ["".join(parts) for parts in CODE] * 4
    tokenizer = Tokenizer.train(lines, "train:330")
    pattern = Pattern.parse(before.replace("[", "[[") + "[1]" + after, tokenizer)
    first, last = pattern.parts[0], pattern.parts[-1]
    assert isinstance(first, Given)
    assert isinstance(last, Given)
    ids, offsets = tokenizer.encode(before + word + after)
    cut = len(before) - before.endswith(" ")
    assert list(first) == [token for token, (_, end) in zip(ids, offsets, strict=True) if end <= cut]
    assert list(last) == [
        token for token, (start, _) in zip(ids, offsets, strict=True) if start >= len(before) + len(word)
    ]
    assert "".join(first.pieces) == before


@MANY
@given(
    generated_tokenizers(),
    st.lists(
        st.one_of(st.text(ALPHABET, max_size=6), st.sampled_from(["the dog ", " is ", " (", ")."])),
        min_size=2,
        max_size=4,
    ),
    st.integers(0, 9),
)
def test_given_text_of_a_pattern_is_in_the_result(
    tokenizer: Tokenizer, stretches: list[str], seed: int
) -> None:
    stretches = [stretch.replace("[", "").replace("]", "") for stretch in stretches]
    try:
        pattern = Pattern.parse("[2]".join(stretches), tokenizer)
    except DataError:
        return
    made = fill(pattern, tokenizer, seed)
    spaceless = [stretch for stretch in stretches if stretch.strip()]
    if all(stretch.strip() or not stretch for stretch in stretches):
        assert holds(stretches, made.texts[0]), (stretches, made.texts[0])
    assert holds(["", *spaceless, ""], made.texts[0])
    assert "".join(made.pieces[0]) == made.texts[0]


@MANY
@given(
    generated_tokenizers(),
    st.lists(st.text(ALPHABET, min_size=1, max_size=5), min_size=1, max_size=3),
    st.integers(0, 9),
)
def test_keywords_are_in_the_result(tokenizer: Tokenizer, words: list[str], seed: int) -> None:
    assume(all(word.strip() for word in words))
    try:
        keywords = Keywords.of(words, 40, tokenizer)
    except DataError:
        return
    rows = keywords.place(1, mask_id=tokenizer.vocab_size, eos_id=tokenizer.eos_id)
    made = filled(rows[0].tolist(), tokenizer, keywords.given, random.Random(seed))
    assert holds(["", *(word.strip() for word in words), ""], made.texts[0]), made.texts[0]


@MANY
@given(
    generated_tokenizers(),
    st.text(ALPHABET, max_size=8),
    st.text("abcde", min_size=1, max_size=3),
    st.integers(0, 9),
)
def test_what_is_not_rewritten_is_in_the_result(
    tokenizer: Tokenizer, around: str, phrase: str, seed: int
) -> None:
    before, after = f"{around} ", f" {around[::-1]}"
    try:
        pattern = rewriting_pattern(f"{before}{phrase}{after}", phrase, tokenizer)
    except DataError:
        return
    made = fill(pattern, tokenizer, seed)
    assert holds([before if before.strip() else "", after if after.strip() else ""], made.texts[0])


@MANY
@given(generated_tokenizers(), st.text(ALPHABET, min_size=1, max_size=8))
def test_what_the_refusal_says_to_write_is_accepted(tokenizer: Tokenizer, text: str) -> None:
    try:
        Given.of(text, tokenizer)
    except DataError as error:
        said = str(error)
        if "; write '" in said and "\n" not in said:
            Given.of(said.split("; write '")[1].rpartition("', or train with")[0], tokenizer)
