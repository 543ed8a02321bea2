"""Salience: each method on texts counted by hand, all of them on the gold keywords of E2E, and buckets."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdiff.cli import run
from hdiff.errors import DataError, ParserError
from hdiff.parsers import (
    Buckets,
    Collocations,
    Combination,
    InverseDocumentFrequency,
    PlainParser,
    WordStatistics,
    load_parser,
    salience_class,
    salience_from_dict,
    salience_to_dict,
)
from hdiff.parsers.combination import NEVER_NEGATIVE
from hdiff.parsers.keyword_evaluation import are_keywords, keyword_auc, read_keywords, roc_auc
from hdiff.parsers.salience import POS_PRIOR
from hdiff.parsers.salience_base import SALIENCES
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


NEEDS = ("heads", "entities")


@pytest.fixture(scope="module")
def e2e(shared_data):
    """Every 20th held-out text of E2E with its keywords, parsed, and counts over these texts."""
    gold = read_keywords(shared_data / "e2e" / "valid.jsonl", every=20)
    trees = list(load_parser("spacy", annotations=NEEDS).parse(text.text for text in gold))
    return gold, trees, WordStatistics.of(trees, pairs=True)


def auc(gold, trees, salience):
    return keyword_auc(gold, trees, [salience.scores(tree) for tree in trees])


def test_the_combination_finds_the_keywords_of_e2e_better_than_any_single_cue(e2e):
    gold, trees, statistics = e2e
    found = {name: auc(gold, trees, salience_class(name).of(statistics)) for name in SALIENCES}
    assert found["combined"] >= 0.90
    assert max(found, key=found.__getitem__) == "combined"
    assert found["idf"] < 0.8


def test_fitting_gives_weights_that_are_as_good_and_never_count_rarity_against_a_word(e2e):
    gold, trees, statistics = e2e
    flags = [are_keywords(text, tree) for text, tree in zip(gold, trees, strict=True)]
    fitted = Combination.fit(trees, flags, statistics)
    assert all(fitted.weights[name] >= 0 for name in NEVER_NEGATIVE)
    assert auc(gold, trees, fitted) >= 0.90
    swapped = Combination.fit(trees, [[not flag for flag in row] for row in flags], statistics)
    assert auc(gold, trees, swapped) <= 0.2


def test_every_method_scores_every_word_between_zero_and_one_and_comes_back_from_json(e2e):
    _, trees, statistics = e2e
    for name in SALIENCES:
        method = salience_class(name).of(statistics)
        copy = salience_from_dict(json.loads(json.dumps(salience_to_dict(method))))
        for tree in trees[:20]:
            scores = method.scores(tree)
            assert len(scores) == len(tree.words)
            assert all(0 <= score <= 1 for score in scores)
            assert copy.scores(tree) == scores


def test_equal_scores_count_half():
    assert roc_auc([1.0, 0.0, 1.0, 0.0], [True, False, False, True]) == 0.5
    assert roc_auc([0.9, 0.8, 0.1], [True, True, False]) == 1.0
    with pytest.raises(ParserError, match="only one kind"):
        roc_auc([1.0], [True])


@pytest.mark.parametrize(
    "line", ["{", '{"text": "a b"}', '{"text": 3, "spans": []}', '{"text": "a", "spans": [[0, 1]]}']
)
def test_malformed_keywords_are_named_by_line(tmp_path, line):
    file = tmp_path / "gold.jsonl"
    file.write_text('{"text": "a b", "spans": [[0, 1, 0]]}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ParserError, match=r"gold\.jsonl, line 2: .*expected \{'text'"):
        read_keywords(file)
    assert read_keywords(file, limit=1)[0].keywords == ((0, 1),)


def test_the_command_scores_one_method_or_all_that_the_parser_serves(tmp_path, capsys):
    file = tmp_path / "gold.jsonl"
    rows = [
        {"text": f"The {n} dogs saw Rome .", "spans": [[1, 2, 0], [4, 5, 3], [5, 6, 8]]} for n in range(30)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert run(["parser", "eval", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["texts"], found["keywords"]) == (30, 60)
    assert set(found["saliences"]) == set(SALIENCES)
    assert run(["parser", "eval", str(file), "--parser", "plain", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["saliences"]) == {"idf", "pos", "collocation"}
    assert run(["parser", "eval", str(file), "--salience", "combned"]) == 2
    assert "did you mean 'combined'" in capsys.readouterr().err


COLLOCATED = [
    "New York is big.",
    "New York sleeps.",
    "He saw New York.",
    "Is New York old?",
    "A new New York.",
] * 2


def test_words_that_stick_together_score_high_and_make_units():
    trees = list(
        PlainParser().parse([*COLLOCATED, "The big old cat is new.", "He sleeps a lot in the big park."])
    )
    collocations = Collocations.of(WordStatistics.of(trees, pairs=True))
    text = "He is in New York again."
    (tree,) = PlainParser().parse([text])
    scores = dict(zip(text.rstrip(".").split(), collocations.scores(tree), strict=False))
    assert scores["New"] == scores["York"] > 0.5
    assert scores["again"] == 0.0
    units = collocations.multi_word_units(tree)
    assert [(unit.label, unit.level, text[unit.start : unit.end]) for unit in units] == [
        ("MWU", "phrase", "New York")
    ]
    crossed = SpanTree.build(text, [*tree.spans, Span(0, 12, "X", "phrase")])
    assert collocations.multi_word_units(crossed) == []


def test_strength_is_normalised_mutual_information_counted_by_hand():
    statistics = WordStatistics.of(PlainParser().parse(COLLOCATED), pairs=True)
    total, both = sum(statistics.word_counts.values()), statistics.pair_counts["new york"]
    left, right = statistics.word_counts["new"], statistics.word_counts["york"]
    expected = math.log2(both * total / (left * right)) / -math.log2(both / total)
    assert Collocations.of(statistics).strengths["new york"] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ParserError, match="collocations need pairs"):
        Collocations.of(WordStatistics.of(PlainParser().parse(COLLOCATED)))


@given(st.lists(st.integers(0, 50), min_size=4, max_size=40), st.integers(1, 6))
def test_buckets_of_a_histogram_are_never_emptier_than_their_scores_allow(histogram, count):
    if not sum(histogram):
        with pytest.raises(ParserError, match="give at least one of each"):
            Buckets.of_histogram(histogram, count)
        return
    buckets = Buckets.of_histogram(histogram, count)
    assert 1 <= len(buckets) <= count
    filled = [0] * len(buckets)
    for position, number in enumerate(histogram):
        filled[buckets.index((position + 0.5) / len(histogram))] += number
    assert all(filled)
    largest = max(histogram)
    assert (
        all(number <= sum(histogram) / count * 2 + 2 * largest for number in filled) or len(buckets) < count
    )


def test_scores_on_a_border_are_in_the_upper_bucket():
    buckets = Buckets((0.25, 0.5))
    assert [buckets.index(score) for score in (0.0, 0.2, 0.25, 0.5, 1.0)] == [0, 0, 1, 2, 2]
    assert buckets.indexes([[0.25, 0.1]]).tolist() == [[1, 0]]


@pytest.mark.parametrize("word", ["not", "n't", "No", "never", "nobody", "without", "hardly"])
@pytest.mark.parametrize("name", ["idf", "pos", "combined"])
def test_negation_is_never_lost(name: str, word: str) -> None:
    """However frequent it is, a word that turns a sentence into its opposite outranks function words."""
    text = f"The {word} of the"
    tags = ("DET", "PART", "ADP", "DET")
    words, start = [], 0
    for form, tag in zip(text.split(), tags, strict=True):
        words.append(Span(start, start + len(form), tag, "word"))
        start += len(form) + 1
    tree = SpanTree.build(
        text, [Span(0, len(text), "S", "sentence"), *words], heads=[1, -1, 1, 2], entities=["", "", "", ""]
    )
    statistics = WordStatistics(1000, Counter({"the": 1000, "of": 990, word.lower(): 900}))
    scores = salience_class(name).of(statistics).apply(tree).salience
    assert scores[1] >= (0.19 if name == "combined" else 0.6)
    assert scores[1] > max(scores[0], scores[3])


@pytest.mark.parametrize(
    ("word", "floor"), [("all", 0.5), ("few", 0.5), ("every", 0.5), ("must", 0.35), ("may", 0.35)]
)
def test_quantifiers_and_modals_have_a_floor(word: str, floor: float) -> None:
    fitted = InverseDocumentFrequency(1000, {word: 999})
    assert fitted.score(word, "DET") == floor
    assert fitted.score(word.upper(), "AUX") == floor


@pytest.mark.parametrize(
    ("form", "prior"),
    [
        ("😀", 0.5), ("👍🏽", 0.5), ("❤️", 0.5), ("→", 0.4), ("https://example.org/a?b", 0.5),
        ("www.example.org", 0.5), ("ann@example.org", 0.5), ("@ann", 0.5), ("example.org/page", 0.5),
        ("1984", 0.9), ("3.5%", 0.9), ("$5.50", 0.9), ("12:30", 0.9), ("1,000", 0.9),
        ("house", 0.4), ("e.g.", 0.4), ("R2D2", 0.4), ("-", 0.4),
    ],
)  # fmt: skip
def test_emoji_addresses_and_numbers_have_a_value_whatever_their_part_of_speech(
    form: str, prior: float
) -> None:
    assert InverseDocumentFrequency().score(form, "SYM") == prior
