"""Alignment: a token belongs to a span exactly if its first non-space character does."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdiff.data.alignment import align, token_anchors
from hdiff.data.tokenizer import Tokenizer
from hdiff.structure import LEVELS, Span, SpanTree

WORDS = st.one_of(
    st.sampled_from(
        ["dog", "don't", "naïve", "e\u0301\u0323", "👩‍👩‍👧", "🇩🇪", "漢字", "ﬁn", "3.14", "“", "\u302e", "क्षि"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from([" ", "", "\n", "  ", "\u00a0"])), max_size=12).map(
    lambda parts: "".join(word + space for word, space in parts)
)
ANY_TOKENIZER = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def trees(draw: st.DrawFn) -> SpanTree:
    """A text with random nested spans, down to words."""
    text = draw(TEXTS)
    spans: list[Span] = []

    def split(start: int, end: int, depth: int) -> None:
        if end <= start:
            return
        spans.append(Span(start, end, f"L{depth}", LEVELS[min(depth, 3)]))
        if depth >= 3:
            return
        borders = sorted(draw(st.lists(st.integers(start, end), min_size=2, max_size=5)))
        for left, right in pairwise(borders):
            split(left, right, depth + 1)

    split(0, len(text), 0)
    num_words = sum(span.level == "word" for span in spans)
    salience = draw(st.lists(st.floats(0, 1), min_size=num_words, max_size=num_words))
    return SpanTree.build(text, spans, salience)


@ANY_TOKENIZER
@given(tree=trees())
def test_spans_hold_exactly_the_tokens_anchored_in_them(tokenizer: Tokenizer, tree: SpanTree) -> None:
    _, offsets = tokenizer.encode(tree.text)
    anchors = token_anchors(tree.text, offsets)
    aligned = align(tree, offsets)
    expected = [
        (span.level, span.label, inside)
        for span in tree.spans
        if (inside := [i for i, anchor in enumerate(anchors) if span.start <= anchor < span.end])
    ]
    found = [
        (level, label, list(range(start, end)))
        for start, end, level, label in zip(
            aligned.starts, aligned.ends, aligned.levels, aligned.labels, strict=True
        )
    ]
    assert found == expected


@ANY_TOKENIZER
@given(tree=trees())
def test_aligned_spans_stay_nested(tokenizer: Tokenizer, tree: SpanTree) -> None:
    aligned = align(tree, tokenizer.encode(tree.text)[1])
    open_ends: list[int] = []
    last_start = 0
    for start, end in zip(aligned.starts, aligned.ends, strict=True):
        assert start >= last_start
        while open_ends and open_ends[-1] <= start:
            open_ends.pop()
        assert start < end
        assert not open_ends or end <= open_ends[-1]
        open_ends.append(end)
        last_start = start


@ANY_TOKENIZER
@given(tree=trees())
def test_tokens_have_the_salience_of_their_word(tokenizer: Tokenizer, tree: SpanTree) -> None:
    _, offsets = tokenizer.encode(tree.text)
    aligned = align(tree, offsets)
    for anchor, salience in zip(token_anchors(tree.text, offsets), aligned.salience, strict=True):
        words = zip(tree.words, tree.salience, strict=True)
        assert salience == next((s for word, s in words if word.start <= anchor < word.end), 0.0)


@ANY_TOKENIZER
@given(text=TEXTS)
def test_anchors_are_the_first_character_in_the_token(tokenizer: Tokenizer, text: str) -> None:
    _, offsets = tokenizer.encode(text)
    anchors = token_anchors(text, offsets)
    assert anchors == sorted(anchors)
    for position, ((start, end), anchor) in enumerate(zip(offsets, anchors, strict=True)):
        inside = [i for i in range(start, end) if not text[i].isspace()]
        if inside:
            assert anchor == max([inside[0], *anchors[:position]]) or anchors[0] == anchor
        elif position:
            assert anchor == anchors[position - 1]
        same = [other for other, offset in zip(anchors, offsets, strict=True) if offset == (start, end)]
        assert not inside or len(set(same)) == 1, "pieces of one character stay together"


def test_leading_spaces_belong_to_the_word_that_follows() -> None:
    tree = SpanTree.build(
        "a  b", [Span(0, 4, "S", "sentence"), Span(0, 1, "X", "word"), Span(3, 4, "X", "word")]
    )
    aligned = align(tree, [(0, 1), (1, 2), (2, 4)])  # "a", " ", " b"
    assert list(zip(aligned.starts, aligned.ends, strict=True)) == [(0, 3), (0, 2), (2, 3)]
    assert aligned.snapped == 0


def test_spans_with_a_border_inside_a_token_are_counted() -> None:
    tree = SpanTree.build(
        "don't go", [Span(0, 2, "AUX", "word"), Span(2, 5, "PART", "word"), Span(6, 8, "VERB", "word")]
    )
    aligned = align(tree, [(0, 5), (5, 8)])
    assert aligned.labels == ("AUX", "VERB")
    assert aligned.snapped == 2


def test_text_without_a_character_to_anchor_has_no_spans() -> None:
    tree = SpanTree.build("  ", [Span(0, 2, "SPACE", "word")])
    assert len(align(tree, [(0, 1), (1, 2)]).starts) == 0
    assert len(align(SpanTree.build("", []), []).salience) == 0


@pytest.mark.slow
def test_alignment_holds_on_texts_of_every_corpus(shared_data: Path) -> None:
    script = Path(__file__).parents[2] / "recipes" / "benchmarks" / "alignment.py"
    command = [sys.executable, str(script), str(shared_data), "--every", "400", "--characters", "20000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    corpora = json.loads(done.stdout)
    assert {"wikitext2", "gutenberg", "gum_open", "craft", "ud_ewt", "e2e", "blimp"} <= set(corpora)
    for name, counts in corpora.items():
        assert set(counts) == {"bpe", "unigram", "gpt2", "bert-base-uncased"}
        for kind, row in counts.items():
            assert row["tokens"] > 100
            assert row["mismatches"] == 0, (name, kind)
