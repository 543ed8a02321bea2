"""BeneparParser: real models, made here, that plain benepar loads; what they cannot take is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("benepar", reason="pip install '.[benepar]'")

from benepar_trees import SMALL, trees
from nltk.tree import Tree

from hdiff.data.prepare.run import prepare
from hdiff.parsers import BeneparParser, load_parser
from hdiff.parsers.base import Words
from hdiff.parsers.benepar_repairs import import_benepar
from hdiff.parsers.benepar_settings import TrainingSettings
from hdiff.parsers.benepar_training import train
from hdiff.structure import SpanTree


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("benepar")
    best = train(trees(range(300)), trees(range(1000, 1060)), folder, TrainingSettings(**SMALL))
    return folder / "model.pt", best


@pytest.fixture(scope="module")
def parser(trained: tuple[Path, dict[str, float]]) -> BeneparParser:
    return BeneparParser(str(trained[0]), annotations=("heads", "entities"))


def labels(tree: SpanTree) -> list[tuple[str, str, str]]:
    return [(s.level, s.label, tree.text[s.start : s.end]) for s in tree.spans if s.level != "word"]


def test_training_learns_the_grammar(trained: tuple[Path, dict[str, float]]) -> None:
    assert trained[1]["f1"] >= 0.9
    assert 1 <= trained[1]["epoch"] <= SMALL["epochs"]


def test_plain_benepar_loads_and_runs_what_was_trained(trained: tuple[Path, dict[str, float]]) -> None:
    benepar = import_benepar()
    found = benepar.Parser(str(trained[0])).parse(
        benepar.InputSentence(words=["the", "dog", "saw", "a", "cat", "."])
    )
    assert isinstance(found, Tree)
    assert [subtree.label() for subtree in found.subtrees(lambda t: t.height() > 2)] == [
        "TOP", "S", "NP", "VP", "NP"
    ]  # fmt: skip


def test_trees_have_its_constituents_over_the_words_of_spacy(parser: BeneparParser) -> None:
    (tree,) = parser.parse(["the old dog saw a cat."])
    assert labels(tree) == [
        ("sentence", "S", "the old dog saw a cat."),
        ("phrase", "NP", "the old dog"),
        ("phrase", "VP", "saw a cat"),
        ("phrase", "NP", "a cat"),
    ]
    assert [word.label for word in tree.words][:3] == ["DET", "ADJ", "NOUN"]
    assert tree.heads is not None
    assert tree.entities is not None
    told = {name: getattr(tree, name) for name in ("heads", "entities", "tags", "relations")}
    assert SpanTree.build(tree.text, tree.spans, **told) == tree


def test_every_text_gives_one_tree_in_order_and_words_can_be_given(parser: BeneparParser) -> None:
    texts = ["", "the dog saw a cat. a cat liked the dog.", " \n ", "go."]
    found = list(parser.parse(texts))
    assert [tree.text for tree in found] == texts
    assert [len(tree.at("sentence")) for tree in found] == [0, 2, 0, 1]
    (tree,) = parser.parse_words([Words("go .", ((0, 2), (3, 4)))])
    assert labels(tree) == [("sentence", "S", "go ."), ("phrase", "VP", "go")]


def test_a_sentence_over_the_limit_of_the_encoder_keeps_other_spans_and_is_counted(
    parser: BeneparParser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="hdiff.parsers.benepar_parser")
    before = parser.num_fallbacks
    long = "The old dog saw " + "the big red tree and " * 10 + "a cat."
    short = "the dog saw a cat."
    first, second = parser.parse([long, short])
    assert parser.num_fallbacks == before + 1
    assert first.spans == next(iter(load_parser("spacy").parse([long]))).spans
    assert "a sentence of 57 words keeps the spans of parser spacy" in caplog.text
    assert labels(second) == labels(next(iter(parser.parse([short]))))
    assert parser.num_fallbacks == before + 1


def test_fallbacks_are_in_the_manifest(trained: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    long = "The old dog saw " + "the big red tree and " * 10 + "a cat."
    source = tmp_path / "text.txt"
    source.write_text("\n\n".join([long, *(f"the dog saw {n} cats." for n in range(40))]), encoding="utf-8")
    manifest = prepare(str(source), tmp_path / "out", parser=f"benepar:{trained[0]}", tokenizer="words")
    assert manifest["fallbacks"] == 1
    assert manifest["rejected"] == {}
    assert manifest["parser"]["model"] == str(trained[0])
    assert len(manifest["parser"]["model_sha256"]) == 64
