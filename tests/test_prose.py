"""README and docs are short sentences in plain English, and the measure of it finds what it should."""

from __future__ import annotations

from pathlib import Path

import pytest
from prose import CHECKOUT, pages, read, wrapped


def name_of(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_a_page_reads_well(page: Path) -> None:
    findings = read(page.read_text(encoding="utf-8")).findings()
    assert not findings, "\n".join(findings)


def test_the_readme_is_a_first_screen() -> None:
    lines = (CHECKOUT / "README.md").read_text(encoding="utf-8").split("\n")
    first = "\n".join(lines[:40])
    for part in ("](docs/images/", "make demo", "make test", "pip install", "nelbo("):
        assert part in first, part
    assert len(" ".join(lines).split()) <= 700


WORDS = "word " * 36
FAULTY = {
    "a sentence of 36 words": f"{WORDS.strip()}.",
    "the same over lines": WORDS.strip().replace(" word word", "\nword word") + ".",
    "the same in a list": f"- A short one.\n- {WORDS.strip()}",
    "the same after a table": f"| a | b |\n|---|---|\n\n{WORDS.strip()}.",
    "the same after code": f"```\ncode\n```\n{WORDS.strip()}.",
    "too many long sentences": "\n\n".join(["word " * 26 + "."] * 2),
    "a long line": "[a](" + "b" * 120 + ")",
    "resuming, calqued": "The run goes on with the same numbers.",
    "inversion": "It checks noise, so does it a corruption of yours.",
    "older folders, calqued": "Export those of before again.",
    "over two lines": "Such a sum is\nno bound.",
    "a relative clause as subject": "What cannot be resumed is refused.",
    "readers, calqued": "Who only reads writes nothing.",
    "minus, calqued": "The loss is L_1 less the bound.",
    "a place, calqued": "It has the hash that stands there.",
    "again, calqued": "The file is written anew.",
    "in a table": "| a | b |\n|---|---|\n| run | goes on |",
}
CLEAN = {
    "25 words": "\n".join(["word"] * 25),
    "two short sentences": "word\n" * 20 + "ends. And\n" + "word\n" * 18,
    "one long sentence": "word\n" * 30,
    "a table": f"| a | {WORDS} |\n|---|---|",
    "code": f"```\n{WORDS}\n```",
    "indented code": f"    {WORDS}",
    "a heading": "# " + "word " * 20,
    "two items": "- " + "word " * 20 + "\n- " + "word " * 20,
    "a list after a sentence": "Some:\n1. " + "word " * 20 + "\n2. " + "word " * 20,
    "plain words": "The run resumes; readers write nothing.",
}


@pytest.mark.parametrize("text", FAULTY.values(), ids=FAULTY)
def test_faults_are_found(text: str) -> None:
    assert read(text).findings()


@pytest.mark.parametrize("text", CLEAN.values(), ids=CLEAN)
def test_clean_text_has_no_findings(text: str) -> None:
    assert read(text).findings() == []


LONG_LINE = "one two three four five. " * 8
WRAPPED = {
    "a paragraph": LONG_LINE,
    "an item": f"- {LONG_LINE}",
    "an item of several lines": f"1. {LONG_LINE}\n   and more",
    "between others": f"# Title\n\nShort.\n\n{LONG_LINE}\n\nShort.",
    "after an item": f"- short\n- {LONG_LINE}",
    "after code": f"```\n{LONG_LINE}\n```\n{LONG_LINE}",
}


@pytest.mark.parametrize("text", WRAPPED.values(), ids=WRAPPED)
def test_long_lines_are_broken_and_words_stay(text: str) -> None:
    new = wrapped(text)
    assert not read(new).long_lines
    assert new.split() == text.split()
    assert read(new).sentences == read(text).sentences


def test_code_stays_where_the_same_line_is_prose_too() -> None:
    code = f"```\n{LONG_LINE}\n```\n"
    assert wrapped(code + LONG_LINE).startswith(code)


KEPT = {
    "code": f"```\n{LONG_LINE}\n```",
    "a table": f"| {LONG_LINE} |\n|---|",
    "a heading": f"## {LONG_LINE}",
    "short lines": "one\ntwo\n\n- three\n  four\n",
    "indented code": f"    {LONG_LINE}",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_other_lines_stay(text: str) -> None:
    assert wrapped(text) == text


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_pages_that_fit_stay(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert wrapped(text) == text
