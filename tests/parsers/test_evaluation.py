"""Span scores: what was counted by hand; the targets on gold trees; the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hdiff.cli import run
from hdiff.errors import ParserError
from hdiff.parsers import PlainParser
from hdiff.parsers.evaluation import evaluate, extents, sentence_boundaries
from hdiff.structure import Span, SpanTree

TEXT = "The dog ran ."
WORDS = [
    Span(start, end, pos, "word")
    for start, end, pos in [(0, 3, "DET"), (4, 7, "NOUN"), (8, 11, "VERB"), (12, 13, "PUNCT")]
]


def tree(*spans: Span) -> SpanTree:
    return SpanTree.build(TEXT, [Span(0, 13, "S", "sentence"), *WORDS, *spans])


def test_extents_are_words_between_punctuation_each_once() -> None:
    found = extents(tree(Span(0, 7, "NP", "phrase"), Span(8, 11, "VP", "phrase"), Span(0, 11, "S", "clause")))
    assert found == {(0, 3): ("clause", "clause"), (0, 2): ("NP", "phrase")}


def test_scores_are_those_counted_by_hand() -> None:
    gold = tree(Span(0, 7, "NP", "phrase"))
    found = tree(Span(4, 11, "NP", "phrase"))
    scores = evaluate([gold, gold], [gold, found])
    assert scores["unlabelled"]["matched"] == 3  # the sentence twice, [The dog] once
    assert scores["unlabelled"]["precision"] == scores["unlabelled"]["recall"] == 3 / 4
    relabelled = evaluate([gold], [tree(Span(0, 7, "VP", "phrase"))])
    assert relabelled["unlabelled"]["f1"] == 1.0
    assert relabelled["labelled"]["f1"] == 0.5
    assert relabelled["by_label"]["NP"]["recall"] == 0.0
    assert relabelled["by_level"]["phrase"]["f1"] == 1.0
    failed = evaluate([gold, gold], [gold, ParserError("too long")])
    assert (failed["failed"], failed["sentences"]) == (1, 1)


def test_sentence_ends_are_compared_in_raw_text() -> None:
    scores = sentence_boundaries(PlainParser(), [["One two.", "Three."]])
    assert (scores["precision"], scores["recall"]) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("name", "parser", "target"),
    [("gum_open", "dependencies", 0.85), ("craft", "dependencies", 0.85), ("gum_open", "spacy", 0.80)],
)
def test_targets_on_gold_trees(
    shared_data: Path, capsys: pytest.CaptureFixture[str], name: str, parser: str, target: float
) -> None:
    assert run(["parser", "eval", str(shared_data / name / "dev.ptb"), "--parser", parser, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["unlabelled"]["f1"] >= target
    assert result["failed"] == 0
    assert {"labelled", "by_level", "by_label", "tokens_per_second", "sentences"} <= set(result)


def test_eval_prints_a_table_and_refuses_other_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gold.ptb"
    file.write_text("(S (NP (DT The) (NN dog)) (VP (VBD ran)) (. .))\n", encoding="utf-8")
    assert run(["parser", "eval", str(file), "--parser", f"treebank:{file}"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["unlabelled", "100.0", "100.0", "100.0", "2", "2"] in rows
    assert run(["parser", "eval", str(file), "--parser", "plain"]) == 2
    assert "cannot take given words" in capsys.readouterr().err
    assert run(["parser", "eval", str(tmp_path / "none.ptb")]) == 2
    assert "give a .ptb or .mrg file" in capsys.readouterr().err
