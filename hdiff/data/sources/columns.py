"""Columns of a table: the one with the text, or an error that lists the others. No torch."""

from __future__ import annotations

from collections.abc import Iterable

from hdiff.errors import DataError


def missing_column(columns: Iterable[str], text_column: str, *, where: str) -> DataError:
    """The error for a text column that is not there, naming those that are."""
    present = ", ".join(str(column) for column in columns) or "none"
    return DataError(
        f"{where} has no column '{text_column}', its columns are {present}; choose one with --text-column"
    )
