"""Habits of the source: files that are read in one go, and values that stay as they were made."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDERS = ["hdiff", "parsers", "recipes", "docs", "tests"]
FILES = [file for folder in FOLDERS for file in sorted((CHECKOUT / folder).rglob("*.py"))]

MUTABLE = {
    "hdiff/data/prepare/worker_pool.py _Worker": "the job of a process changes",
    "parsers/balance.py Balance": "counts grow",
    "parsers/brackets.py Node": "a node gets its label and children as its text is read",
    "parsers/evalb.py BracketScore": "counts grow",
    "parsers/evaluation.py Score": "counts grow",
    "parsers/evaluation.py SpanScores": "counts grow",
    "parsers/word_statistics.py WordStatistics": "counts grow",
    "recipes/benchmarks/throughput_loops.py Parts": "a clock is switched on and off",
}
"""Dataclasses that are not frozen, and why."""

REMEMBERS = {
    "_BlockReader": "keeps the keys and values of text that is finished",
    "InOrderReader": "keeps in which order text is filled",
    "Reader": "keeps the keys and values of text that is filled",
    "RowNoise": "numbers its calls",
}
"""Classes of corruption and samplers whose methods change their attributes, and what for."""


def classes(folder: Path) -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class below a folder, behind the path of its file."""
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield f"{file.relative_to(CHECKOUT).as_posix()} {node.name}", node


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {str(file.relative_to(CHECKOUT)): file.read_bytes().count(b"\n") for file in FILES}
    assert len(lengths) > 500
    assert {file: lines for file, lines in lengths.items() if lines > 300} == {}


def test_dataclasses_are_frozen_but_for_those_that_are_listed() -> None:
    not_frozen = [
        name
        for folder in ("hdiff", "parsers", "recipes")
        for name, node in classes(CHECKOUT / folder)
        if any(
            ast.unparse(decorator).startswith("dataclass") and "frozen=True" not in ast.unparse(decorator)
            for decorator in node.decorator_list
        )
    ]
    assert sorted(not_frozen) == sorted(MUTABLE)


@pytest.mark.parametrize("folder", ["corruption", "samplers"])
def test_corruptions_and_samplers_stay_as_they_were_built(folder: str) -> None:
    """A copy with other values comes from `changed` and `with_sampling`."""
    for name, node in classes(CHECKOUT / "hdiff" / folder):
        methods = [
            item for item in node.body if isinstance(item, ast.FunctionDef) and item.name != "__init__"
        ]
        stores = [
            ast.unparse(target)
            for method in methods
            for target in ast.walk(method)
            if isinstance(target, ast.Attribute) and isinstance(target.ctx, ast.Store)
        ]
        assert not stores or node.name in REMEMBERS, f"{name} changes {stores}"
