"""Columns of a table: the one with the text, or what is said where it is not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hdiff.data.sources.prompts import PromptFormat
from hdiff.data.sources.rejected import Row

TextColumn = str | PromptFormat
"""The column that holds the text, or how columns become a prompt and its answer."""


def row_of(values: Any, text_column: TextColumn, *, place: str) -> Row:
    """A row of named values, with the reason if it lacks the column or holds no text in it."""
    if isinstance(text_column, PromptFormat):
        return text_column.row(values, place)
    if not isinstance(values, Mapping):
        return Row("", place, f"{_kind(values)}, expected an object with '{text_column}'; write objects")
    if text_column not in values:
        return Row("", place, no_column(values, text_column))
    value = values[text_column]
    if isinstance(value, str):
        return Row(value.strip(), place)
    return Row(
        "",
        place,
        f"{_kind(value)} in column '{text_column}', expected text; drop the row or choose another "
        "--text-column",
    )


def _kind(value: Any) -> str:
    names: dict[type, str] = {
        type(None): "null",
        str: "a text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
        list: "a list",
    }
    return names.get(type(value), "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}")


def no_column(columns: Iterable[str], text_column: str) -> str:
    """Says that the text column is not there, naming those that are."""
    present = ", ".join(str(column) for column in columns) or "none"
    return f"no column '{text_column}', its columns are {present}; choose one with --text-column"
