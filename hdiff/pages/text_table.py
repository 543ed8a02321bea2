"""Table: what a table says, as text cells, whatever it is printed as. No torch."""

from __future__ import annotations

from dataclasses import dataclass

DASH = "–"
"""Stands where there is no figure."""


@dataclass(frozen=True)
class Table:
    """A table of text cells; the first cell of a row is its heading.

    Attributes:
        title: What it shows.
        columns: Headings.
        rows: Cells.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
