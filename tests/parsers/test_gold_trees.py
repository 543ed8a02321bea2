"""Gold trees: brackets and CoNLL-U are read as they are written, and refused by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdiff.errors import ParserError
from hdiff.parsers import TreebankParser, from_nltk, load_parser, to_nltk
from hdiff.parsers.brackets import (
    clean,
    parse_brackets,
    read_brackets,
    to_span_tree,
)
from hdiff.parsers.conllu import read_conllu
from hdiff.parsers.constituents import constituents
from hdiff.parsers.treebank import gold_sentences
from hdiff.parsers.universal import function_headed, is_universal
from hdiff.structure import SpanTree

TREE = (
    "( (S (NP-SBJ-1 (DT The) (JJ old) (NN dog)) (VP (VBD was) (VP (VBN seen) (NP (-NONE- *-1)) "
    "(PRN (-LRB- -LRB-) (NP (CD 1\\/2)) (-RRB- -RRB-)))) (. .)))"
)

CONLLU = """# newdoc id = one
# text = I can't in rain
1\tI\tI\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\t_
2\tca\tcan\tAUX\tMD\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_
4\tin\tin\tADP\tIN\t_\t5\tcase\t_\t_
5\train\train\tNOUN\tNN\t_\t2\tobl\t_\tSpaceAfter=No

# text = Go
1\tGo\tgo\tVERB\tVB\t_\t0\troot\t_\t_

"""


def words(tree: SpanTree) -> list[str]:
    return [tree.text[word.start : word.end] for word in tree.words]


def spans(tree: SpanTree) -> list[tuple[str, str]]:
    return [(span.label, tree.text[span.start : span.end]) for span in tree.spans if span.level != "word"]


def test_traces_function_tags_and_escapes_are_gone() -> None:
    (node,) = parse_brackets([TREE], where="here")
    tree = to_span_tree(clean(node))  # type: ignore[arg-type]
    assert tree.text == "The old dog was seen ( 1/2 ) ."
    assert spans(tree) == [
        ("S", tree.text),
        ("NP", "The old dog"),
        ("VP", "was seen ( 1/2 )"),
        ("VP", "seen ( 1/2 )"),
        ("PRN", "( 1/2 )"),
        ("NP", "1/2"),
    ]
    assert [word.label for word in tree.words][:4] == ["DET", "ADJ", "NOUN", "VERB"]


def test_trees_may_be_deeper_than_any_stack_and_go_over_lines() -> None:
    depth = 30_000
    (node,) = parse_brackets(["(NP " * depth, "(NN a)", ")" * depth], where="here")
    tree = to_span_tree(clean(node))  # type: ignore[arg-type]
    assert len(tree.spans) == depth + 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["(S (NN a)"], r"here: the tree that begins in line 1 lacks 1 '\)'"),
        (["(S (NN a))", ")"], r"line 2: a '\)' without '\('"),
        (["", "word"], r"line 2: 'word' outside of brackets"),
        (["(S (NN a) b)"], r"line 1: 'b' is a second word in \(S \.\.\.\)"),
        (["(S (NN a b))"], r"line 1: 'b' is a second word in \(NN"),
        (["(S (NP))"], r"line 1: \(NP\) has neither word nor children"),
        (["(S a (NN b))"], r"line 1: a word and a bracket in one node"),
    ],
)
def test_malformed_brackets_are_named_by_line(lines: list[str], message: str) -> None:
    with pytest.raises(ParserError, match=message):
        list(parse_brackets(lines, where="here"))


@pytest.mark.parametrize("name", ["gum_open/dev", "gum_open/train", "craft/dev", "craft/train"])
def test_every_gold_tree_keeps_its_words(shared_data: Path, name: str) -> None:
    count = 0
    for node in read_brackets(shared_data / f"{name}.ptb"):
        cleaned = clean(node)
        assert cleaned is not None
        tree = to_span_tree(cleaned)
        words = [tree.text[word.start : word.end] for word in tree.words]
        assert words == [leaf.word for leaf in cleaned.leaves()]
        count += 1
    assert count > 400


def test_conllu_ranges_share_their_characters_and_empty_nodes_vanish(tmp_path: Path) -> None:
    file = tmp_path / "a.conllu"
    file.write_text(CONLLU, encoding="utf-8")
    first, second = read_conllu(file)
    assert first.tree.text == "I can't in rain"
    assert [first.tree.text[start:end] for start, end in first.tree.offsets] == [
        "I",
        "ca",
        "n't",
        "in",
        "rain",
    ]
    assert first.tree.heads == (1, -1, 1, 4, 1)
    assert (first.document, second.document, second.line) == ("one", "one", 12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("3\tn't", "x\tn't"), r"a\.conllu, line 6: 'x' is no word id"),
        (("3\tn't", "9\tn't"), r"a\.conllu, line 6: word 9 follows word 2"),
        (("\tPART\tRB", "\tPART"), r"a\.conllu, line 6: 9 columns, CoNLL-U has 10"),
        *(
            (("\t0\troot", f"\t{head}\troot"), r"sentence at line 3: HEAD \(column 7\) of word 2 is '")
            for head in ("zero", "0.0", "-1", "+0", "6", "2-3", "٢", "1.1", "0 ", "1e0", "9" * 5000)
        ),
        (("\t0\troot\t_\t_\n3\t", "\t3\troot\t_\t_\n3\t"), r"sentence at line 3: the heads form a cycle"),
        (("\t5\tcase", "\t77\tcase"), r"sentence at line 3: HEAD \(column 7\) of word 4 is '77'"),
    ],
)
def test_malformed_conllu_is_named_by_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    file = tmp_path / "a.conllu"
    assert change[0] in CONLLU
    file.write_text(CONLLU.replace(*change, 1), encoding="utf-8")
    with pytest.raises(ParserError, match=message):
        list(read_conllu(file))


def test_function_words_head_what_content_words_head_in_ud(tmp_path: Path) -> None:
    file = tmp_path / "a.conllu"
    rows = [
        ("She", "PRON", 4, "nsubj"), ("is", "AUX", 4, "cop"), ("in", "ADP", 4, "case"),
        ("Rome", "PROPN", 0, "root"), ("and", "CCONJ", 7, "cc"), ("in", "ADP", 7, "case"),
        ("love", "NOUN", 4, "conj"),
    ]  # fmt: skip
    lines = [f"{i}\t{w}\t_\t{p}\t_\t_\t{h}\t{d}\t_\t_" for i, (w, p, h, d) in enumerate(rows, start=1)]
    file.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    (sentence,) = read_conllu(file)
    assert is_universal(sentence.tree)
    tree = function_headed(sentence.tree)
    assert not is_universal(tree)
    head = {tree.word(word) + str(word): tree.heads[word] for word in range(len(tree))}
    assert head["is1"] == -1
    assert head["she0"] == 1
    assert head["in2"] == 1
    assert head["rome3"] == 2
    assert head["in5"] == 2, "the second preposition hangs on the first"
    assert head["love6"] == 5
    found = spans(SpanTree.build(sentence.tree.text, constituents(sentence.tree)))
    assert ("PP", "in Rome and in love") in found
    assert ("PP", "in Rome") in found


def test_trees_go_to_nltk_and_come_back() -> None:
    nltk = pytest.importorskip("nltk", reason="pip install '.[nltk]'")
    (node,) = parse_brackets([TREE], where="here")
    tree = to_span_tree(clean(node))  # type: ignore[arg-type]
    assert from_nltk(nltk.Tree.fromstring(TREE)) == tree
    out = to_nltk(tree)
    assert out.leaves() == words(tree)
    assert [sub.label() for sub in out.subtrees()][:4] == ["TOP", "S", "NP", "DET"]
    assert [(s.label, s.level) for s in from_nltk(out, tree.text).spans] == [
        (s.label, s.level) for s in tree.spans
    ]
    with pytest.raises(ParserError, match=r"'b' of \(S \.\.\.\) has no tag"):
        from_nltk(nltk.Tree.fromstring("(S (NN a) b)"))
    with pytest.raises(ParserError, match="the tree has no word"):
        from_nltk(nltk.Tree("S", []))


def test_a_treebank_parses_its_own_texts(tmp_path: Path) -> None:
    file = tmp_path / "gold.ptb"
    file.write_text(TREE + "\n", encoding="utf-8")
    parser = load_parser(f"treebank:{file}")
    assert isinstance(parser, TreebankParser)
    texts = list(parser.texts())
    assert [" ".join(words(tree)) for tree in parser.parse(texts)] == ["The old dog was seen ( 1/2 ) ."]
    with pytest.raises(ParserError, match="has no tree for 'Another text'"):
        list(parser.parse(["Another text"]))
    with pytest.raises(ParserError, match="is no treebank"):
        load_parser("treebank:nowhere.ptb")
    with pytest.raises(ParserError, match="needs a file"):
        load_parser("treebank")


def test_a_conllu_treebank_has_a_text_per_document(tmp_path: Path) -> None:
    file = tmp_path / "gold.conllu"
    file.write_text(CONLLU, encoding="utf-8")
    parser = TreebankParser(str(file))
    assert list(parser.texts()) == ["I can't in rain\nGo"]
    (tree,) = parser.parse(parser.texts())
    assert len(tree.at("sentence")) == 2
    assert tree.heads == (1, -1, 1, 4, 1, -1)
    assert load_parser(f"treebank:{file}", annotations=("heads",)).parse(parser.texts())
    (tmp_path / "gold.ptb").write_text(TREE, encoding="utf-8")
    with pytest.raises(ParserError, match="has brackets and no heads"):
        load_parser(f"treebank:{tmp_path / 'gold.ptb'}", annotations=("heads",))


def test_files_side_by_side_must_be_aligned(tmp_path: Path) -> None:
    (tmp_path / "a.ptb").write_text(TREE + "\n", encoding="utf-8")
    (tmp_path / "a.conllu").write_text(CONLLU, encoding="utf-8")
    with pytest.raises(ParserError, match=r"has more sentences than the 1 trees"):
        list(gold_sentences(tmp_path / "a.ptb"))
    (tmp_path / "a.ptb").write_text((TREE + "\n") * 3, encoding="utf-8")
    with pytest.raises(ParserError, match=r"ends before tree 3"):
        list(gold_sentences(tmp_path / "a.ptb"))


def test_gold_text_has_the_spacing_of_the_dependencies(shared_data: Path) -> None:
    trees = list(gold_sentences(shared_data / "gum_open" / "dev.ptb"))
    assert len(trees) == 438
    assert any("adult-learned" in tree.text for tree in trees)
