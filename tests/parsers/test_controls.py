"""Controls: nested trees over the same words that know nothing of the language, the same every time."""

from __future__ import annotations

from collections import Counter

import pytest

from hdiff.errors import ParserError
from hdiff.parsers import SpacyParser, load_parser
from hdiff.structure import SpanTree

TEXTS = [
    "The old dog that barked all night slept in the garden. When the rain came, it ran home to its house.",
    "Yes. No!",
    "",
]
CONTROLS = ["random", "balanced", "right_branching", "shuffled"]


def inner_spans(tree: SpanTree) -> list[tuple[int, str, str]]:
    """(words, label, level) of clauses and phrases."""
    starts = [word.start for word in tree.words]
    return [
        (sum(span.start <= start < span.end for start in starts), span.label, span.level)
        for span in tree.spans
        if span.level in ("clause", "phrase")
    ]


@pytest.mark.parametrize("name", CONTROLS)
def test_sentences_and_words_stay_and_trees_nest(name: str, spacy_parser: SpacyParser) -> None:
    control = load_parser(f"{name}:spacy")
    for tree, inner in zip(control.parse(TEXTS), spacy_parser.parse(TEXTS), strict=True):
        told = {"tags": inner.tags, "relations": inner.relations}
        assert SpanTree.build(tree.text, tree.spans, **told) == tree, "nested and in order"
        assert tree.words == inner.words
        assert tree.at("sentence") == inner.at("sentence")
        for span in tree.spans:
            assert sum(s.start <= span.start and span.end <= s.end for s in tree.at("sentence")) == 1


def test_shuffled_trees_have_the_same_spans_elsewhere(spacy_parser: SpacyParser) -> None:
    trees = list(load_parser("shuffled:spacy").parse(TEXTS))
    inner = list(spacy_parser.parse(TEXTS))
    for tree, given in zip(trees, inner, strict=True):
        assert Counter(inner_spans(tree)) == Counter(inner_spans(given))
    assert trees[0].spans != inner[0].spans


def test_random_trees_have_nearly_as_many_spans_of_the_same_sizes(spacy_parser: SpacyParser) -> None:
    (tree,) = load_parser("random:spacy").parse(TEXTS[:1])
    (inner,) = spacy_parser.parse(TEXTS[:1])
    assert not Counter(inner_spans(tree)) - Counter(inner_spans(inner)), "nothing is invented"
    assert len(inner_spans(tree)) >= 0.7 * len(inner_spans(inner))


def test_right_branches_end_with_the_sentence_and_balanced_ones_are_halves() -> None:
    (right,) = load_parser("right_branching:plain").parse(["a b c d e"])
    assert [right.text[s.start : s.end] for s in right.at("phrase")] == ["b c d e", "c d e", "d e"]
    (balanced,) = load_parser("balanced:plain").parse(["a b c d e"])
    assert [balanced.text[s.start : s.end] for s in balanced.at("phrase")] == ["a b c", "a b", "d e"]


@pytest.mark.parametrize("name", ["random", "shuffled"])
def test_the_same_text_has_the_same_tree_wherever_it_stands(name: str) -> None:
    control = load_parser(f"{name}:spacy")
    alone = list(control.parse(TEXTS[:1]))
    assert list(control.parse([TEXTS[1], TEXTS[0]]))[1] == alone[0]


def test_a_control_tells_of_words_what_its_inner_parser_tells() -> None:
    (tree,) = load_parser("random:spacy", annotations=("heads", "entities")).parse(TEXTS[:1])
    (inner,) = load_parser("spacy", annotations=("heads", "entities")).parse(TEXTS[:1])
    assert (tree.heads, tree.entities) == (inner.heads, inner.entities)
    assert tree.heads is not None
    with pytest.raises(ParserError, match="parser 'plain' gives no heads"):
        load_parser("random:plain", annotations=("heads",))


def test_a_control_needs_an_inner_parser_and_gives_its_levels() -> None:
    with pytest.raises(ParserError, match="write random:spacy"):
        load_parser("random")
    assert load_parser("shuffled:plain").levels == ("sentence", "word")
    assert load_parser("balanced:plain").levels == ("sentence", "phrase", "word")
    assert load_parser("random:spacy").fingerprint()["inner_name"] == "spacy"
