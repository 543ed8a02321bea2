"""README and docs are short sentences in plain English, and the measure of it finds what it should."""

from __future__ import annotations

from pathlib import Path

import pytest
from prose import CHECKOUT, pages, read


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
