"""Layout: lines tell where sentences end, and no character moves."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdiff.parsers import load_parser
from hdiff.parsers.layout import blocks, without_breaks

WRAPPED = (
    "It was the best of times, it was the worst of times, it was the age\n"
    "of wisdom, it was the age of foolishness, it was the epoch of belief,\n"
    "it was the epoch of incredulity, it was the season of Light."
)
VERSE = "Tyger Tyger, burning bright,\nIn the forests of the night;"
CASES = {
    "plain": ("One. Two.", ["One. Two."]),
    "blank lines": ("One\n\nTwo", ["One", "Two"]),
    "blank lines of Windows": ("One\r\n\r\nTwo\r\nThree", ["One", "Two", "Three"]),
    "hard-wrapped": (f"{WRAPPED}\n\nCHAPTER I\n\nThe Period", [WRAPPED, "CHAPTER I", "The Period"]),
    "heading": (
        "Introduction\nThis page shows what we found.",
        ["Introduction", "This page shows what we found."],
    ),
    "Markdown": ("# Title\nText.\n## Part\n* a b\n* c d", ["# Title", "Text.", "## Part", "* a b", "* c d"]),
    "wiki": (" = Film = \n He acts . \n = = Life = = ", ["= Film =", "He acts .", "= = Life = ="]),
    "numbered": (
        "You need:\n1. two eggs\n2. flour\n   and milk",
        ["You need:", "1. two eggs", "2. flour\n   and milk"],
    ),
    "letters": ("Choose:\na) red\nb) blue", ["Choose:", "a) red", "b) blue"]),
    "dashes": ("- salt\n- pepper\n\nStir.", ["- salt", "- pepper", "Stir."]),
    "tabs": ("Name\tAge\nAnn Lee\t3", ["Name", "Age", "Ann Lee", "3"]),
    "bars": ("| a b | c |\n|---|---|\n| d | e |", ["| a b", "| c |", "|---|---|", "| d", "| e |"]),
    "speakers": (
        "Alice: How are you\nBob: Fine\nMR. LEE: Objection",
        ["Alice: How are you", "Bob: Fine", "MR. LEE: Objection"],
    ),
    "chat": (
        "[12:01] <ann> hi all\n<bob> lol\n12:03 dan: yes",
        ["[12:01] <ann> hi all", "<bob> lol", "12:03 dan: yes"],
    ),
    "tweets": (
        "just landed #rome\n@ann how was it\nRT @bob: good",
        ["just landed #rome", "@ann how was it", "RT @bob: good"],
    ),
    "verse": (VERSE, [VERSE]),
    "shopping": ("milk\neggs\nbread", ["milk", "eggs", "bread"]),
    "blank": (" \n\t\n", []),
    "only bars": ("||", ["||"]),
    "bars and a tab": ("a\n||\t|\nb", ["a", "||\t|", "b"]),
    "line separators": ("One\u2028Two\x85Three", ["One", "Two", "Three"]),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_lines_are_told_apart(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in blocks(text)] == expected


@given(st.text(alphabet="ab.A1 \n\r\t|-:#*@<>,\u2028", max_size=60))
@settings(max_examples=300, deadline=None)
def test_every_character_but_blanks_is_in_one_block(text: str) -> None:
    found = list(blocks(text))
    covered = [place for start, end in found for place in range(start, end)]
    assert covered == sorted(set(covered))
    assert {place for place, character in enumerate(text) if not character.isspace()} <= set(covered)
    assert all(text[start:end] == text[start:end].strip() for start, end in found)
    assert len(without_breaks(text)) == len(text)


def sentences(text: str, parser: str = "spacy") -> list[str]:
    (tree,) = load_parser(parser).parse([text])
    assert tree.text == text
    return [text[span.start : span.end] for span in tree.at("sentence")]


def test_a_number_is_no_sentence_and_a_wrapped_paragraph_is_one() -> None:
    assert sentences("2. Open the door.") == ["2. Open the door."]
    assert sentences("Items\n1. Open the door\n2. Close it") == ["Items", "1. Open the door", "2. Close it"]
    assert sentences(WRAPPED) == [WRAPPED]


def test_layout_can_be_left_out() -> None:
    text = "Introduction\n\nthe dog sleeps"
    assert sentences(text) == ["Introduction", "the dog sleeps"]
    assert sentences(text, "spacy+no-layout") != sentences(text)
    assert load_parser("spacy+no-layout").fingerprint()["options"] == "no-layout"


@pytest.mark.parametrize("name", ["wikitext2/valid.txt", "gum_open/dev.txt", "gutenberg/Dracula_345.txt"])
def test_lines_of_real_files_stay_apart(shared_data: Path, name: str) -> None:
    text = (shared_data / name).read_text(encoding="utf-8")[:100_000]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = [text[start:end] for start, end in blocks(text)]
    assert "".join("".join(found).split()) == "".join(text.split())
    assert len(found) >= 0.9 * len(lines)


@pytest.mark.parametrize("name", ["Dracula_345.txt", "Treasure-Island_120.txt", "Frankenstein_84.txt"])
@pytest.mark.parametrize("width", [60, 72])
def test_wrapped_paragraphs_of_real_books_are_whole(shared_data: Path, name: str, width: int) -> None:
    lines = (shared_data / "gutenberg" / name).read_text(encoding="utf-8").splitlines()
    paragraphs = [line for line in lines if len(line) > 200][:200]
    text = "\n\n".join(textwrap.fill(paragraph, width, break_on_hyphens=False) for paragraph in paragraphs)
    found = [" ".join(text[start:end].split()) for start, end in blocks(text)]
    assert sum(" ".join(paragraph.split()) in found for paragraph in paragraphs) >= 0.97 * len(paragraphs)
