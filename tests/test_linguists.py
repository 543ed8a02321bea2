"""The page for linguists: each of its examples is what the parser finds, and no label is missing."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from hdiff.parsers import load_parser
from hdiff.parsers.brackets import CLAUSE_LABELS
from hdiff.parsers.constituents import PARENTHETICAL
from hdiff.parsers.projection import CLAUSE_RELATIONS, CONJUNCTION, PHRASE_LABELS
from hdiff.parsers.salience import POS_PRIOR
from hdiff.structure import SpanTree

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "linguists.md").read_text(encoding="utf-8")


def rows_of(level: str) -> list[list[str]]:
    """Cells of the rows of the table whose first heading is the level."""
    (table,) = re.findall(rf"^\| {level} \|.*\n\|---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


EXAMPLES = [
    (level, row[0].strip("`"), row[2]) for level in ("clause", "phrase", "word") for row in rows_of(level)
]


OWN = [(row[3].strip("`"), row[2]) for row in rows_of("clause")]


@cache
def parsed(text: str, parser: str = "spacy") -> SpanTree:
    (tree,) = load_parser(parser).parse([text])
    return tree


@pytest.mark.parametrize(("level", "label", "example"), EXAMPLES, ids=[f"{e[0]}-{e[1]}" for e in EXAMPLES])
def test_the_parser_finds_the_example(level: str, label: str, example: str) -> None:
    before, marked, after = example.split("**")
    tree = parsed(before + marked + after)
    found = {(span.start, span.end, span.label) for span in tree.at(level)}
    assert (len(before), len(before) + len(marked), label) in found


@pytest.mark.parametrize(("label", "example"), OWN, ids=[label for label, _ in OWN])
def test_own_labels_are_those_of_the_last_column(label: str, example: str) -> None:
    before, marked, after = example.split("**")
    tree = parsed(before + marked + after, "spacy+own-labels")
    found = {(span.start, span.end, span.label) for span in tree.at("clause")}
    assert (len(before), len(before) + len(marked), label) in found


def test_every_label_has_an_example() -> None:
    labels = {
        level: {label for row_level, label, _ in EXAMPLES if row_level == level} for level, _, _ in EXAMPLES
    }
    assert labels["clause"] == CLAUSE_LABELS | {"VP"}
    assert {own for own, _ in OWN} == CLAUSE_RELATIONS | {"S"}
    assert labels["phrase"] == {*PHRASE_LABELS.values(), PARENTHETICAL, CONJUNCTION}
    assert labels["word"] == set(POS_PRIOR) - {"SPACE"}


def test_priors_are_those_of_the_code() -> None:
    assert {row[0].strip("`"): float(row[3]) for row in rows_of("word")} == {
        pos: prior for pos, prior in POS_PRIOR.items() if pos != "SPACE"
    }


def test_clauses_of_treebanks_are_all_named() -> None:
    assert {name for name in CLAUSE_LABELS if f"`{name}`" in PAGE} == CLAUSE_LABELS
