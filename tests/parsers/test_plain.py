"""PlainParser and the choice of a parser by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdiff.errors import ParserError
from hdiff.parsers import PARSERS, Parser, PlainParser, load_parser


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_words_are_what_whitespace_separates(text):
    (tree,) = PlainParser().parse([text])
    assert [text[word.start : word.end] for word in tree.words] == text.split()


def test_each_line_is_a_sentence():
    (tree,) = PlainParser().parse([" a b\r\n\n  c \n"])
    assert [tree.text[span.start : span.end] for span in tree.at("sentence")] == ["a b", "c"]
    assert {word.label for word in tree.words} == {"X"}


def test_a_lone_surrogate_is_refused():
    with pytest.raises(ParserError, match="surrogate"):
        list(PlainParser().parse(["\udfff"]))


NEED_A_MODEL = {name: f"{name}:spacy" for name in ("random", "balanced", "right_branching", "shuffled")}


@pytest.mark.parametrize("name", [name for name in PARSERS if name not in ("treebank", "benepar")])
def test_every_parser_loads_by_name_and_keeps_its_word(name):
    parser = load_parser(NEED_A_MODEL.get(name, name))
    assert isinstance(parser, Parser)
    assert parser.name == name == parser.fingerprint()["name"]
    (tree,) = parser.parse(["dog.bark(sleep)" if name == "python" else "The dog that barked will sleep."])
    assert {span.level for span in tree.spans} <= set(parser.levels)


def test_an_unknown_parser_is_answered_with_the_nearest():
    with pytest.raises(ParserError, match="unknown parser 'spacey'; did you mean 'spacy'"):
        load_parser("spacey")


def test_a_model_for_a_parser_that_takes_none_is_refused():
    with pytest.raises(ParserError, match="'plain' takes no model, got 'x'"):
        load_parser("plain:x")


def test_an_empty_model_name_is_refused():
    with pytest.raises(ParserError, match="names no model"):
        load_parser("spacy:")


def test_using_the_plain_parser_loads_neither_spacy_nor_torch():
    code = (
        "import sys; from hdiff.parsers import load_parser, InverseDocumentFrequency\n"
        "InverseDocumentFrequency.fit(load_parser('plain').parse(['a b']))\n"
        "assert not {'spacy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
