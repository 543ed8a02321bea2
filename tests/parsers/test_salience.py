"""InverseDocumentFrequency: rare content words score high."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdiff.errors import DataError
from hdiff.parsers import InverseDocumentFrequency, PlainParser
from hdiff.parsers.salience import POS_PRIOR
from hdiff.structure import Span, SpanTree

documents = st.lists(st.lists(st.sampled_from("abcdeF"), max_size=8).map(" ".join), max_size=8)


def fitted(texts: list[str]) -> InverseDocumentFrequency:
    return InverseDocumentFrequency.fit(PlainParser().parse(texts))


@given(documents, st.sampled_from([*POS_PRIOR, "?"]), st.sampled_from("abcdefg"))
def test_scores_lie_between_zero_and_the_prior(texts, pos, word):
    assert 0.0 <= fitted(texts).score(word, pos) <= InverseDocumentFrequency().score(word, pos) <= 1.0


@given(documents)
def test_a_copy_through_json_scores_the_same(texts):
    salience = fitted(texts)
    assert InverseDocumentFrequency.from_dict(json.loads(json.dumps(salience.to_dict()))) == salience


@given(documents)
def test_applying_keeps_text_and_spans(texts):
    for tree in PlainParser().parse(texts):
        scored = fitted(texts).apply(tree)
        assert scored == SpanTree.build(tree.text, tree.spans, scored.salience)


def test_a_document_counts_a_word_once_whatever_its_case():
    assert fitted(["Dog dog DOG", "dog cat", "cat", "bird"]).document_counts == {"dog": 2, "cat": 2}


def test_rarer_words_score_higher_and_unseen_ones_highest():
    salience = fitted(["the dog", "the dog", "the cat", "the bird"])
    scores = [salience.score(word, "NOUN") for word in ("the", "dog", "cat", "zebra")]
    assert scores[0] == pytest.approx(0.0)
    assert scores[0] < scores[1] < scores[2] == scores[3] == 1.0


def test_content_words_score_above_function_words_of_the_same_frequency():
    salience = fitted(["x y", "x y", "z"])
    assert salience.score("x", "NOUN") > salience.score("x", "DET") > salience.score("x", "PUNCT")


def test_without_documents_the_prior_alone_counts():
    tree = SpanTree.build("the dog", [Span(0, 3, "DET", "word"), Span(4, 7, "NOUN", "word")])
    assert InverseDocumentFrequency().apply(tree).salience == (POS_PRIOR["DET"], POS_PRIOR["NOUN"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "lacks"),
        ({"num_documents": 2, "document_counts": {"dog": 3}}, "'dog' in 3 of 2 documents"),
        ({"num_documents": -1, "document_counts": {}}, "-1 documents"),
    ],
)
def test_damaged_data_are_refused(data, message):
    with pytest.raises(DataError, match=message):
        InverseDocumentFrequency.from_dict(data)
