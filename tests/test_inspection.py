"""Inspection: what one sentence looks like parsed, weighted and corrupted."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from hdiff.errors import DataError
from hdiff.pages.inspection import cuts, explore, inspect_sentence
from hdiff.pages.inspection_drawing import draw
from hdiff.pages.page import inspection_page
from hdiff.parsers import InverseDocumentFrequency, PlainParser, SpacyParser
from hdiff.structure import LEVELS

SENTENCE = "The old dog that barked didn't sleep (well)."


@pytest.fixture(scope="module")
def parser() -> SpacyParser:
    return SpacyParser()


def drawn(exploration, **options) -> str:
    console = Console(file=io.StringIO(), **options)
    draw(exploration, console=console)
    return console.file.getvalue()


@pytest.mark.parametrize("level", LEVELS)
def test_words_of_a_unit_share_their_masking_time(parser, level):
    exploration = inspect_sentence(SENTENCE, parser=parser, level=level, seed=0)
    times = {}
    for word in exploration["words"]:
        assert times.setdefault(word["unit"], word["time"]) == word["time"]
        assert 0.0 <= word["time"] <= 1.0
    assert len(set(times.values())) == len(times)


def test_units_grow_with_the_level(parser):
    counts = [
        len(
            {word["unit"] for word in inspect_sentence(SENTENCE, parser=parser, level=level, seed=0)["words"]}
        )
        for level in LEVELS
    ]
    assert counts == sorted(counts)
    assert counts[0] == 1 < counts[2] < counts[3] == counts[4]


def test_the_seed_decides_the_times(parser):
    def times(seed):
        words = inspect_sentence(SENTENCE, parser=parser, level="word", seed=seed)["words"]
        return [word["time"] for word in words]

    assert times(1) == times(1) != times(2)


def test_the_words_give_the_text_back(parser):
    exploration = inspect_sentence(SENTENCE, parser=parser, level="phrase", seed=0)
    words = exploration["words"]
    assert "".join((" " if word["space_before"] else "") + word["text"] for word in words) == SENTENCE
    texts = {" ".join(w["text"] for w in words[span["start"] : span["end"]]) for span in exploration["spans"]}
    assert {"The old dog", "that barked"} <= texts


def test_an_exploration_is_json_that_the_page_takes(parser):
    exploration = inspect_sentence(
        SENTENCE, parser=parser, level="phrase", seed=0, salience=InverseDocumentFrequency()
    )
    assert json.loads(json.dumps(exploration)) == exploration
    assert "barked" in inspection_page(exploration)
    assert exploration["words"][2]["salience"] > exploration["words"][0]["salience"]


@given(st.text(st.sampled_from("ab \n"), max_size=30), st.sampled_from(["sentence", "word", "token"]))
@settings(max_examples=50, deadline=None)
def test_any_text_can_be_explored_and_drawn(text, level):
    exploration = inspect_sentence(text, parser=PlainParser(), level=level, seed=0)
    assert [word["text"] for word in exploration["words"]] == text.split()
    assert drawn(exploration, width=30)


def test_a_level_the_parser_does_not_give_is_refused():
    with pytest.raises(DataError, match="level 'phrase' is not produced by parser 'plain'"):
        inspect_sentence("a b", parser=PlainParser(), level="phrase", seed=0)


def test_too_few_masking_times_are_refused():
    (tree,) = PlainParser().parse(["a b c"])
    with pytest.raises(DataError, match="2 masking times for 3 words"):
        explore(tree, [0.1, 0.2], level="word", title="t")


def test_a_drawing_hides_words_whose_time_has_come():
    (tree,) = PlainParser().parse(["alpha beta"])
    lines = drawn(explore(tree, [0.35, 0.75], level="word", title="t"), width=80).splitlines()
    rows = [line.split(None, 1)[1].strip() for line in lines if line.strip()[:2] == "0."]
    assert rows == ["alpha beta"] * 3 + ["░░░░░ beta"] * 4 + ["░░░░░ ░░░░"] * 2


def test_a_drawing_has_colours_in_a_terminal_and_none_in_a_pipe(parser):
    exploration = inspect_sentence(SENTENCE, parser=parser, level="phrase", seed=0)
    assert "\x1b[" not in drawn(exploration, width=80)
    assert "\x1b[" in drawn(exploration, width=80, force_terminal=True, color_system="standard")


@pytest.mark.parametrize("width", [24, 40, 120])
def test_a_drawing_fits_the_terminal_and_loses_no_word(parser, width):
    exploration = inspect_sentence(SENTENCE, parser=parser, level="phrase", seed=0)
    text = drawn(exploration, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert all(word["text"] in text for word in exploration["words"])


def test_square_brackets_in_the_text_are_drawn_as_they_are():
    exploration = inspect_sentence("see [bold] here", parser=PlainParser(), level="word", seed=0)
    assert drawn(exploration, width=80).count("[bold]") >= 3


def test_the_hierarchy_comes_apart_from_coarse_to_fine() -> None:
    spans = [
        {"start": 0, "end": 4, "label": "S", "level": "sentence"},
        {"start": 0, "end": 2, "label": "NP", "level": "phrase"},
        {"start": 2, "end": 4, "label": "VP", "level": "phrase"},
    ]
    assert cuts(spans, 4) == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 2, 3]]
    assert cuts([], 2) == [[0, 1]]
