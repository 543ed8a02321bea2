"""SpacyParser on a real model."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdiff.errors import ParserError
from hdiff.parsers import SpacyParser
from hdiff.parsers.spacy_parser import pieces
from hdiff.structure import SpanTree

FIXTURE = Path(__file__).parents[1] / "fixtures" / "gum_academic"
SENTENCE = "The old man who came in likes his very big dog."
PUNCTUATION_TAGS = {"``", "''", ",", ".", ":", "-LRB-", "-RRB-", "HYPH", "NFP"}
ESCAPES = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "``": '"', "''": '"'}


def gold_spans(brackets: str, text: str) -> set[tuple[int, int]]:
    """Character spans of two words or more, without outer punctuation, of a bracketed sentence."""
    tokens: list[tuple[int, int, str]] = []
    open_brackets: list[tuple[str, int]] = []
    extents: list[tuple[int, int]] = []
    position = 0
    for match in re.finditer(r"\(([^\s()]+)|([^\s()]+)\)|\)", brackets):
        if match[1]:
            open_brackets.append((match[1], len(tokens)))
        elif match[2]:
            tag, _ = open_brackets.pop()
            word = match[2] if text.startswith(match[2], position) else ESCAPES.get(match[2], match[2])
            position = text.index(word, position)
            tokens.append((position, position + len(word), tag))
            position += len(word)
        else:
            extents.append((open_brackets.pop()[1], len(tokens)))
    return {
        (tokens[first][0], tokens[last][1])
        for first, last in (_strip([tag for _, _, tag in tokens], *extent) for extent in extents)
        if last > first
    }


def _strip(tags: list[str], start: int, end: int) -> tuple[int, int]:
    last = end - 1
    while start < last and tags[start] in PUNCTUATION_TAGS:
        start += 1
    while last > start and tags[last] in PUNCTUATION_TAGS:
        last -= 1
    return start, last


def parsed_spans(tree: SpanTree) -> set[tuple[int, int]]:
    """Extents of all spans above the words, outer punctuation stripped, two words or more."""
    found = set()
    for span in tree.spans:
        inside = [word for word in tree.words if span.contains(word)]
        tags = ["," if word.label == "PUNCT" else word.label for word in inside]
        first, last = _strip(tags, 0, len(inside))
        if last > first:
            found.add((inside[first].start, inside[last].end))
    return found


def bracket_f1(parser: SpacyParser, texts: list[str], brackets: list[str]) -> float:
    """Unlabelled F1 of the spans of all levels against gold brackets."""
    hits = proposed = wanted = 0
    for text, tree, gold in zip(texts, parser.parse(texts), brackets, strict=True):
        found, expected = parsed_spans(tree), gold_spans(gold, text)
        hits, proposed, wanted = hits + len(found & expected), proposed + len(found), wanted + len(expected)
    return 2 * hits / (proposed + wanted)


def test_every_text_gives_one_tree_in_order(spacy_parser):
    texts = ["", SENTENCE, "  \n\t ", "Go!", "\x00", "e\u0301 \U0001f600 \u200b"]
    trees = list(spacy_parser.parse(texts))
    assert [tree.text for tree in trees] == texts
    assert [bool(tree.spans) for tree in trees] == [False, True, False, True, True, True]


def test_all_levels_are_found(spacy_parser):
    (tree,) = spacy_parser.parse([SENTENCE])
    phrases = {SENTENCE[span.start : span.end]: span.label for span in tree.at("phrase")}
    assert phrases["The old man"] == "NP"
    assert phrases["likes his very big dog"] == "VP"
    assert phrases["very big"] == "ADJP"
    clauses = {SENTENCE[span.start : span.end]: span.label for span in tree.at("clause")}
    assert clauses["who came in"] == "SBAR"
    assert clauses[SENTENCE[:-1]] == "S"
    assert [(span.start, span.end, span.label) for span in tree.at("sentence")] == [(0, len(SENTENCE), "S")]
    assert [word.label for word in tree.words[:3]] == ["DET", "ADJ", "NOUN"]


@given(st.lists(st.text(st.sampled_from(" \n\tab.,'\"()-A1é中\u00a0"), max_size=60), max_size=3))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_words_cover_every_character_that_is_not_space(spacy_parser, texts):
    for text, tree in zip(texts, spacy_parser.parse(texts), strict=True):
        uncovered = list(text)
        for word in tree.words:
            uncovered[word.start : word.end] = " " * len(word)
        assert not "".join(uncovered).strip()
        assert tree == SpanTree.build(text, tree.spans, tags=tree.tags, relations=tree.relations)


def test_a_tree_does_not_depend_on_the_texts_around_it(spacy_parser):
    texts = (FIXTURE / "sentences.txt").read_text(encoding="utf-8").splitlines()[:12]
    together = list(spacy_parser.parse(texts))
    assert together == [next(iter(spacy_parser.parse([text]))) for text in texts]


def test_parsing_streams(spacy_parser):
    endless = (f"Dog number {i} barks." for i in itertools.count())
    assert [tree.text for tree in itertools.islice(spacy_parser.parse(endless), 2)] == [
        "Dog number 0 barks.",
        "Dog number 1 barks.",
    ]


def test_a_lone_surrogate_is_named(spacy_parser):
    with pytest.raises(ParserError, match=r"character 4 .* lone surrogate U\+D800"):
        list(spacy_parser.parse(["bad \ud800"]))


@given(st.text(st.sampled_from("ab .!\n"), max_size=80), st.integers(1, 20))
def test_pieces_put_together_are_the_text(text, max_length):
    parts = list(pieces(text, max_length))
    assert "".join(piece for _, piece in parts) == text
    assert all(len(piece) <= max_length for _, piece in parts)
    assert all(text[offset : offset + len(piece)] == piece for offset, piece in parts)


def test_a_long_text_is_cut_at_the_coarsest_border_there_is():
    assert [piece for _, piece in pieces("One. Two\nx.\n\nThree. Four", 16)] == [
        "One. Two\nx.\n\n",
        "Three. Four",
    ]
    assert [piece for _, piece in pieces("One two. Three four five", 16)] == ["One two. ", "Three four five"]
    assert [piece for _, piece in pieces("one two three", 9)] == ["one two ", "three"]


def test_a_text_in_pieces_parses_like_its_paragraphs(spacy_parser, monkeypatch):
    paragraphs = [f"The dog likes the old man number {i}.\n\n" for i in range(6)]
    monkeypatch.setattr("hdiff.parsers.spacy_parser.pieces", lambda text: pieces(text, 90))
    (whole,) = spacy_parser.parse(["".join(paragraphs)])
    monkeypatch.undo()
    words = []
    for offset, tree in zip(range(0, 999, len(paragraphs[0])), spacy_parser.parse(paragraphs), strict=False):
        words += [(word.start + offset, word.end + offset, word.label) for word in tree.words]
    assert [(word.start, word.end, word.label) for word in whole.words] == words
    assert len(whole.at("sentence")) == 6


def test_the_fingerprint_is_json_and_names_what_matters(spacy_parser):
    fingerprint = spacy_parser.fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint == SpacyParser(spacy_parser.model).fingerprint()
    assert {"name", "model", "model_version", "model_sha256", "spacy", "rules_sha256"} <= set(fingerprint)


def test_a_model_can_be_given_by_path(spacy_parser, tmp_path):
    spacy.load(spacy_parser.model).to_disk(tmp_path)
    parser = SpacyParser(str(tmp_path))
    assert list(parser.parse([SENTENCE])) == list(spacy_parser.parse([SENTENCE]))


def test_a_missing_model_is_named_with_a_remedy():
    with pytest.raises(ParserError, match=r"'en_core_web_xxl' cannot be loaded.*pip install 'spacy"):
        SpacyParser("en_core_web_xxl")


def test_a_model_for_another_spacy_is_named(spacy_parser, tmp_path):
    spacy_parser._pipeline.to_disk(tmp_path)
    meta, config = tmp_path / "meta.json", tmp_path / "config.cfg"
    described = json.loads(meta.read_text(encoding="utf-8"))
    meta.write_text(json.dumps({**described, "spacy_version": ">=2.3.0,<2.4.0"}), encoding="utf-8")
    with pytest.raises(ParserError, match=r"was made for spaCy >=2\.3\.0,<2\.4\.0, this is spaCy 3"):
        SpacyParser(str(tmp_path))
    meta.write_text(json.dumps(described), encoding="utf-8")
    changed = config.read_text(encoding="utf-8").replace(
        "TransitionBasedParser.v2", "TransitionBasedParser.v9"
    )
    config.write_text(changed, encoding="utf-8")
    with pytest.raises(ParserError, match=r"cannot be loaded by spaCy 3.*in the version made for this spaCy"):
        SpacyParser(str(tmp_path))


def test_a_model_folder_runs_no_code_of_its_own(spacy_parser, tmp_path):
    spacy_parser._pipeline.to_disk(tmp_path)
    (tmp_path / "__init__.py").write_text("raise SystemExit('was run')\n", encoding="utf-8")
    assert next(SpacyParser(str(tmp_path)).parse(["It runs."])).at("sentence")


def test_a_model_without_a_dependency_parser_is_refused(tmp_path):
    import spacy

    spacy.blank("en").to_disk(tmp_path)
    with pytest.raises(ParserError, match="a dependency parser is needed"):
        SpacyParser(str(tmp_path))


def test_missing_spacy_is_named_with_a_remedy():
    code = (
        "import sys; sys.modules['spacy'] = None\n"
        "from hdiff.errors import ParserError\nfrom hdiff.parsers import load_parser\n"
        "try: load_parser('spacy')\nexcept ParserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'spacy" in done.stdout


def test_a_batch_of_no_texts_is_refused():
    with pytest.raises(ParserError, match="batch_size is 0"):
        SpacyParser(batch_size=0)


def test_constituents_agree_with_gold_brackets(spacy_parser):
    texts, brackets = (
        (FIXTURE / name).read_text(encoding="utf-8").splitlines()
        for name in ("sentences.txt", "brackets.ptb")
    )
    assert bracket_f1(spacy_parser, texts, brackets) > 0.80


def test_constituents_agree_with_four_of_five_gold_brackets_of_gum(spacy_parser, shared_data):
    text = (shared_data / "gum_open" / "dev.txt").read_text(encoding="utf-8")
    brackets = (shared_data / "gum_open" / "dev.ptb").read_text(encoding="utf-8").splitlines()
    assert bracket_f1(spacy_parser, [line for line in text.splitlines() if line.strip()], brackets) > 0.80


def test_a_pipeline_that_has_seen_too_many_strings_is_loaded_anew_and_parses_the_same(monkeypatch):
    monkeypatch.setattr("hdiff.parsers.spacy_parser.MAX_NEW_STRINGS", 5)
    parser = SpacyParser(batch_size=2)
    first = parser._pipeline
    texts = [
        f"The {word}ly {word}s saw a {word}ish dog." for word in ("glorp", "snarf", "blick", "wug", "dax")
    ] * 2
    found = list(parser.parse(texts))
    assert parser._pipeline is not first
    assert found == list(SpacyParser().parse(texts))


def test_a_pipeline_of_another_language_with_universal_dependencies_can_be_used(tmp_path):
    """A small German pipeline, trained here on two sentences until it knows them."""
    from spacy.training import Example

    nlp = spacy.blank("de")
    parser, morphologizer = (
        nlp.add_pipe("parser", config={"min_action_freq": 1}),
        nlp.add_pipe("morphologizer"),
    )
    gold = {
        "Der alte Hund schläft im Garten .": (
            [2, 2, 3, 3, 5, 3, 3],
            ["det", "amod", "nsubj", "ROOT", "case", "obl", "punct"],
            ["DET", "ADJ", "NOUN", "VERB", "ADP", "NOUN", "PUNCT"],
        ),
        "Sie liebt den Hund .": (
            [1, 1, 3, 1, 1],
            ["nsubj", "ROOT", "det", "obj", "punct"],
            ["PRON", "VERB", "DET", "NOUN", "PUNCT"],
        ),
    }
    examples = [
        Example.from_dict(
            nlp.make_doc(text),
            {"words": text.split(), "heads": heads, "deps": deps, "pos": pos, "morphs": [""] * len(pos)},
        )
        for text, (heads, deps, pos) in gold.items()
    ]
    spacy.util.fix_random_seed(0)
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    assert {parser.name, morphologizer.name} == {"parser", "morphologizer"}
    nlp.to_disk(tmp_path)
    (tree,) = SpacyParser(str(tmp_path)).parse(["Der alte Hund schläft im Garten ."])
    found = {(span.label, tree.text[span.start : span.end]) for span in tree.spans if span.level != "word"}
    assert {("NP", "Der alte Hund"), ("PP", "im Garten"), ("VP", "schläft im Garten")} <= found


def test_words_have_the_tags_and_relations_of_the_pipeline(spacy_parser: SpacyParser) -> None:
    (tree,) = spacy_parser.parse(["The dogs that barked  have slept."])
    assert tree.tags == ("DT", "NNS", "WDT", "VBD", "VBP", "VBN", ".")
    assert tree.relations == ("det", "nsubj", "nsubj", "relcl", "aux", "ROOT", "punct")
