"""Span scores: what was counted by hand; the targets on gold trees; the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hdiff.cli import run
from hdiff.errors import ParserError
from hdiff.parsers import PlainParser
from hdiff.parsers.balance import Balance
from hdiff.parsers.evaluation import evaluate, extents, sentence_boundaries
from hdiff.parsers.gold import read_gold
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
    scores = sentence_boundaries(PlainParser(), [[["One two.", "Three."]]])
    assert (scores["precision"], scores["recall"]) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("name", "parser", "target"),
    [("gum_open", "dependencies", 0.85), ("craft", "dependencies", 0.85), ("gum_open", "spacy", 0.815)],
)
def test_targets_on_gold_trees(
    shared_data: Path, capsys: pytest.CaptureFixture[str], name: str, parser: str, target: float
) -> None:
    assert run(["parser", "eval", str(shared_data / name / "dev.ptb"), "--parser", parser, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["unlabelled"]["f1"] >= target
    assert result["failed"] == 0
    balance = result["unbalanced"]
    assert balance["parser"]["share"] <= 1.5 * balance["gold"]["share"]
    if parser == "spacy":
        assert result["sentence_boundaries"]["f1"] >= 0.93
        assert result["sentence_boundaries_without_layout"]["f1"] < result["sentence_boundaries"]["f1"]
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
    assert "give a .ptb, .mrg or .conllu file" in capsys.readouterr().err


CONLLU = """\
# newdoc id = GUM_news_one
# newpar
1\tHeading\theading\tNOUN\t_\t_\t0\troot\t_\t_

# newpar
1\tThe\tthe\tDET\t_\t_\t2\tdet\t_\t_
2\tdog\tdog\tNOUN\t_\t_\t3\tnsubj\t_\t_
3\tran\trun\tVERB\t_\t_\t0\troot\t_\tSpaceAfter=No
4\t.\t.\tPUNCT\t_\t_\t3\tpunct\t_\t_

1\tHe\the\tPRON\t_\t_\t2\tnsubj\t_\t_
2\tslept\tsleep\tVERB\t_\t_\t0\troot\t_\t_
3\twell\twell\tADV\t_\t_\t2\tadvmod\t_\t_

# newdoc id = weblog-two
1\tYes\tyes\tINTJ\t_\t_\t0\troot\t_\t_

"""


def test_conllu_is_gold_with_its_paragraphs_and_genres(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gold.conllu"
    file.write_text(CONLLU, encoding="utf-8")
    gold = read_gold(file)
    assert list(gold.documents()) == [[["Heading"], ["The dog ran.", "He slept well"]], [["Yes"]]]
    assert gold.genres() == ["GUM_news", "GUM_news", "GUM_news", "weblog"]
    assert run(["parser", "eval", str(file), "--by", "prefix", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["unlabelled"]["f1"] == 1.0
    assert {name: scores["sentences"] for name, scores in result["by_group"].items()} == {
        "GUM_news": 3,
        "weblog": 1,
    }
    assert result["sentence_boundaries"]["f1"] == 1.0
    assert result["errors"] == []


def test_errors_are_listed_and_figures_given_by_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "a.ptb", tmp_path / "b.ptb"]
    for file in files:
        file.write_text("(S (NP (DT The) (NN dog)) (X (VBD ran) (RB off)) (. .))\n", encoding="utf-8")
    arguments = ["parser", "eval", *map(str, files), "--by", "file", "--show", "1", "--json"]
    assert run(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["by_group"]) == set(map(str, files))
    assert len(result["errors"]) == 1
    assert result["errors"][0]["sentence"] == "The dog ran off ."
    assert run(["parser", "eval", str(files[0]), "--by", "prefix"]) == 2
    assert "leave out --by prefix" in capsys.readouterr().err


def test_a_half_bracket_is_counted() -> None:
    text = "leukemia ( CLL )"
    words = [Span(0, 8, "NOUN", "word"), Span(9, 10, "PUNCT", "word"), Span(11, 14, "NOUN", "word")]
    words.append(Span(15, 16, "PUNCT", "word"))
    balance = Balance()
    balance.add(SpanTree.build(text, [*words, Span(0, 16, "NP", "phrase"), Span(9, 14, "PRN", "phrase")]))
    assert balance.to_dict() == {"share": 0.5, "unbalanced": 1, "spans": 2}
