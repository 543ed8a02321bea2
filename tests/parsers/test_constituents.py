"""Dependency trees become nested constituents, whatever the dependency tree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdiff.errors import ParserError
from hdiff.parsers.constituents import constituents, nest
from hdiff.parsers.dependency import ROOT, DependencyTree
from hdiff.parsers.pairs import paired, pairs
from hdiff.parsers.projection import Candidate, candidates
from hdiff.structure import SpanTree

POS = ("NOUN", "VERB", "AUX", "ADP", "ADJ", "ADV", "PRON", "DET", "NUM", "PUNCT", "CCONJ", "SCONJ", "X")
DEPS = (
    "nsubj",
    "dobj",
    "conj",
    "cc",
    "prep",
    "pobj",
    "relcl",
    "advcl",
    "aux",
    "mark",
    "amod",
    "case",
    "punct",
)
WORDS = ("dog", "which", "that", "ran", ",", "(", ")", "[", "]", "“", "”", '"', "-", "f(x")


@st.composite
def dependency_trees(draw: st.DrawFn) -> DependencyTree:
    """Any forest over up to 14 words: crossing, gapped, with odd labels."""
    count = draw(st.integers(1, 14))
    order = draw(st.permutations(range(count)))
    heads = [ROOT] * count
    for place, word in enumerate(order):
        heads[word] = order[draw(st.integers(0, place - 1))] if place and draw(st.integers(0, 9)) else ROOT
    words = [draw(st.sampled_from(WORDS)) for _ in range(count)]
    offsets, text = [], ""
    for word in words:
        offsets.append((len(text), len(text) + len(word)))
        text += word + draw(st.sampled_from(("", " ")))
    deps = ["ROOT" if head == ROOT else draw(st.sampled_from(DEPS)) for head in heads]
    return DependencyTree.build(text, offsets, heads, deps, [draw(st.sampled_from(POS)) for _ in heads])


def tree_of(sentence: str, rows: str) -> DependencyTree:
    """A tree from words separated by spaces and `head:dep:POS` rows; heads count from 0."""
    offsets, position = [], 0
    for word in sentence.split():
        offsets.append((position, position + len(word)))
        position += len(word) + 1
    heads, deps, pos = zip(*(row.split(":") for row in rows.split()), strict=True)
    return DependencyTree.build(sentence, offsets, [int(head) for head in heads], deps, pos)


def texts_at(tree: DependencyTree, level: str) -> dict[str, str]:
    """Text -> label of the spans of a level."""
    spans = SpanTree.build(tree.text, constituents(tree)).at(level)
    return {tree.text[span.start : span.end]: span.label for span in spans}


@given(dependency_trees())
@settings(max_examples=300, deadline=None)
def test_spans_of_any_dependency_tree_are_nested(tree):
    SpanTree.build(tree.text, constituents(tree))  # raises DataError if two cross


@given(dependency_trees())
@settings(max_examples=100, deadline=None)
def test_every_word_and_one_sentence_are_kept(tree):
    spans = SpanTree.build(tree.text, constituents(tree))
    assert [(word.start, word.end) for word in spans.words] == list(tree.offsets)
    assert [(s.start, s.end) for s in spans.at("sentence")] == [(tree.offsets[0][0], tree.offsets[-1][1])]


@given(dependency_trees())
@settings(max_examples=100, deadline=None)
def test_no_extent_is_used_twice_above_the_words(tree):
    extents = [(span.start, span.end) for span in constituents(tree) if span.level != "word"]
    assert len(extents) == len(set(extents))


def extents(tree: DependencyTree, **options: bool) -> list[tuple[int, int]]:
    """First and last word of clauses and phrases."""
    starts = {start: word for word, (start, _) in enumerate(tree.offsets)}
    ends = {end: word for word, (_, end) in enumerate(tree.offsets)}
    return [
        (starts[span.start], ends[span.end])
        for span in constituents(tree, **options)
        if span.level in ("clause", "phrase")
    ]


@given(dependency_trees(), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_span_holds_half_a_pair_or_outer_punctuation_without_its_partner(tree, single_words, own_labels):
    found = pairs(tree)
    halves = {mark for pair in found for mark in pair[:2]}
    for first, last in extents(tree, single_words=single_words, own_labels=own_labels):
        assert last >= first if single_words else last > first
        for pair in found:
            assert (first <= pair.first <= last) == (first <= pair.last <= last)
        for edge in (first, last):
            assert tree.pos[edge] != "PUNCT" or edge in halves


def test_punctuation_behind_a_mark_that_goes_goes_too():
    tree = tree_of(
        "it “ - big cat dog ”",
        "-1:ROOT:NOUN 0:nsubj:NOUN 1:nsubj:PUNCT 1:nsubj:NOUN 1:nsubj:NOUN 0:nsubj:NOUN 0:nsubj:NOUN",
    )
    assert texts_at(tree, "phrase") == {"big cat": "NP"}


@given(dependency_trees())
@settings(max_examples=100, deadline=None)
def test_a_subtree_with_gaps_projects_nothing(tree):
    whole = {(span.first, span.last) for span in candidates(tree)}
    if not any(tree.is_contiguous):
        assert not whole
    assert tree.num_discontinuous == sum(not contiguous for contiguous in tree.is_contiguous)


def test_of_two_crossing_spans_the_longer_stays():
    long, short = Candidate(0, 4, "NP", "phrase"), Candidate(3, 5, "VP", "phrase")
    assert nest([short, long], 6) == [long]


def test_of_two_crossing_spans_the_coarser_level_stays():
    phrase, clause = Candidate(0, 4, "NP", "phrase"), Candidate(3, 5, "relcl", "clause")
    assert nest([phrase, clause], 6) == [clause]


def test_the_coarsest_level_keeps_an_extent():
    clause, phrase = Candidate(0, 2, "acl", "clause"), Candidate(0, 2, "VP", "phrase")
    assert nest([phrase, clause], 4) == [clause]


def test_relative_clause_noun_phrases_and_verb_phrase_are_found():
    tree = tree_of(
        "The dog that barked will sleep .",
        "1:det:DET 5:nsubj:NOUN 3:nsubj:PRON 1:relcl:VERB 5:aux:AUX -1:ROOT:VERB 5:punct:PUNCT",
    )
    assert texts_at(tree, "clause") == {"The dog that barked will sleep": "S", "that barked": "SBAR"}
    assert texts_at(tree, "phrase") == {"The dog that barked": "NP", "The dog": "NP", "will sleep": "VP"}


def test_conjuncts_that_share_a_subject_are_inside_one_verb_phrase():
    tree = tree_of(
        "She came home and ate fish .",
        "1:nsubj:PRON -1:ROOT:VERB 1:advmod:ADV 1:cc:CCONJ 1:conj:VERB 4:dobj:NOUN 1:punct:PUNCT",
    )
    assert texts_at(tree, "phrase") == {"came home and ate fish": "VP", "came home": "VP", "ate fish": "VP"}
    assert texts_at(tree, "clause") == {"She came home and ate fish": "S"}


def test_conjuncts_with_subjects_of_their_own_are_clauses():
    tree = tree_of(
        "She came home and he left early .",
        "1:nsubj:PRON -1:ROOT:VERB 1:advmod:ADV 1:cc:CCONJ "
        "5:nsubj:PRON 1:conj:VERB 5:advmod:ADV 1:punct:PUNCT",
    )
    clauses = texts_at(tree, "clause")
    assert clauses == {
        "She came home and he left early": "S",
        "She came home": "S",
        "he left early": "S",
    }
    assert texts_at(tree, "phrase") == {"came home": "VP", "left early": "VP"}


def test_a_chain_of_bare_conjuncts_is_one_flat_phrase():
    tree = tree_of(
        "the cats , dogs and birds",
        "1:det:DET -1:ROOT:NOUN 1:punct:PUNCT 1:conj:NOUN 3:cc:CCONJ 3:conj:NOUN",
    )
    assert texts_at(tree, "phrase") == {}  # the whole is the sentence's extent, parts are single words
    assert texts_at(tree, "sentence") == {"the cats , dogs and birds": "NP"}


def test_a_possessor_keeps_its_case_marker():
    tree = tree_of(
        "the man 's old dog barked", "1:det:DET 4:poss:NOUN 1:case:PART 4:amod:ADJ 5:nsubj:NOUN -1:ROOT:VERB"
    )
    assert set(texts_at(tree, "phrase")) == {"the man 's old dog", "the man 's"}


def test_a_subordinate_clause_is_split_from_its_subordinator():
    tree = tree_of("Sleep because it rains", "-1:ROOT:VERB 3:mark:SCONJ 3:nsubj:PRON 0:advcl:VERB")
    assert texts_at(tree, "clause") == {"because it rains": "SBAR", "it rains": "S"}


@pytest.mark.parametrize("heads", [(1, 0), (0,), (1, 2, 0)])
def test_cyclic_heads_are_refused(heads):
    words = [(i, i + 1) for i in range(len(heads))]
    with pytest.raises(ParserError, match="cycle"):
        DependencyTree.build("abc", words, heads, ["dep"] * len(heads), ["X"] * len(heads))


def test_a_head_out_of_range_is_refused():
    with pytest.raises(ParserError, match="word 1 has head 7"):
        DependencyTree.build("ab", [(0, 1), (1, 2)], [ROOT, 7], ["ROOT", "dep"], ["X", "X"])


def test_a_chain_of_three_thousand_words_does_not_exhaust_the_stack():
    count = 3000
    words = [(i, i + 1) for i in range(count)]
    heads = [ROOT, *range(count - 1)]
    tree = DependencyTree.build("a" * count, words, heads, ["ccomp"] * count, ["VERB"] * count)
    assert len(constituents(tree)) > count


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a ( b ) c", ["( b )"]),
        ("( a [ b ] )", ["[ b ]", "( a [ b ] )"]),
        ("( a [ b )", ["( a [ b )"]),
        ("a ) b", []),
        ("( a", []),
        ("“ a ‘ b ’ ”", ["‘ b ’", "“ a ‘ b ’ ”"]),
        ("„ a “ b", ["„ a “"]),
        ("» a « b", ["» a «"]),
        ("« a » b", ["« a »"]),
        ('" a " b " c', ['" a "']),
        ('" a ( b " c ) "', ['( b " c )', '" a ( b " c ) "']),
        ("`` a '' b", ["`` a ''"]),
        ("「 a 『 b 』 」", ["『 b 』", "「 a 『 b 』 」"]),
        ("《 a 》 【 b 】", ["《 a 》", "【 b 】"]),
        ("⟨ a ⟩ ⟦ b ⟧", ["⟨ a ⟩", "⟦ b ⟧"]),
        ("⸨ a ⸩", ["⸨ a ⸩"]),
        ("﴿ a ﴾", []),
        ("༺ a ༻", ["༺ a ༻"]),
        ("f(x y) z", ["f(x y)"]),
        (":-) a ( b", []),
    ],
)
def test_marks_are_paired(words: str, expected: list[str]) -> None:
    split = words.split()
    pos = ["NOUN" if word.isalnum() else "PUNCT" for word in split]
    assert [" ".join(split[pair.first : pair.last + 1]) for pair in paired(split, pos)] == expected


def test_an_apostrophe_is_no_quote() -> None:
    assert paired(["dogs", "'", "and", "cats", "'"], ["NOUN", "PART", "CCONJ", "NOUN", "PART"]) == []


def test_a_parenthesis_stays_whole_wherever_its_words_hang() -> None:
    tree = tree_of(
        "chronic leukemia ( CLL ) spreads",
        "1:amod:ADJ 5:nsubj:NOUN 1:punct:PUNCT 1:appos:NOUN 5:punct:PUNCT -1:ROOT:VERB",
    )
    assert texts_at(tree, "phrase") == {
        "chronic leukemia ( CLL )": "NP",
        "chronic leukemia": "NP",
        "( CLL )": "PRN",
    }


def test_single_words_are_phrases_if_asked_for() -> None:
    tree = tree_of("She slept here .", "1:nsubj:PRON -1:ROOT:VERB 1:advmod:ADV 1:punct:PUNCT")
    assert texts_at(tree, "phrase") == {"slept here": "VP"}
    spans = SpanTree.build(tree.text, constituents(tree, single_words=True)).at("phrase")
    found = {(tree.text[span.start : span.end], span.label) for span in spans}
    assert found == {("She", "NP"), ("slept here", "VP"), ("here", "ADVP")}
