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
    words = [text[word.start : word.end] for word in tree.words]
    assert "".join(words) == "".join(text.split())
    assert all(word == "".join(word.split()) for word in words)
    if text.isascii():
        assert words == text.split()


SPACELESS = {
    "老狗在花园里睡觉,梦见它年轻的时候。": "老 狗 在 花 园 里 睡 觉 , 梦 见 它 年 轻 的 时 候 。",
    "おいしいラーメンを毎日": "お い し い ラーメン を 毎 日",
    "「東京」は3,000km²だ": "「 東 京 」 は 3,000km² だ",
    "iPhone15を買う。OK": "iPhone15 を 買 う 。 OK",
    "แก่และเก่า": "แก่ และ เก่า",
    "ສະບາຍດີ": "ສະ ບາ ຍ ດີ",
    "မင်္ဂလာပါ": "မ င်္ ဂ လာ ပါ",
    "សួស្តី": "សួ ស្ តី",
    "བོད་སྐད": "བོད ་ སྐད",
    "한국어는 띄어쓰기": "한국어는 띄어쓰기",
    "क्या हाल है?": "क्या हाल है?",
    "naïve café, ½ Ω": "naïve café, ½ Ω",
}


@pytest.mark.parametrize(("text", "words"), SPACELESS.items(), ids=SPACELESS.values())
def test_scripts_without_spaces_are_cut_into_small_words(text, words):
    (tree,) = PlainParser().parse([text])
    assert " ".join(text[word.start : word.end] for word in tree.words) == words


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
