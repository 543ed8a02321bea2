"""Table: what a table says, as text cells, whatever it is printed as."""

from __future__ import annotations

from dataclasses import dataclass

DASH = "–"
"""Stands where there is no figure."""


@dataclass(frozen=True)
class Table:
    """A table of text cells, with title and headings; the first cell of a row is its heading."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def aligned(table: Table) -> str:
    """A table in columns of equal width, two spaces apart, for a terminal; figures are on the right."""
    rows = (table.columns, *table.rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    is_figure = [
        all(cell[:1] in "-+0123456789–" for cell in column) for column in zip(*table.rows, strict=True)
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_figure or [False] * len(row), strict=True)
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
