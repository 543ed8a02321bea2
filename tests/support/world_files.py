"""Files of text as people have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hdiff.data.sources.text_files import read_file

PLAIN: dict[str, Any] = {"parser": "plain", "levels": ("sentence",), "tokenizer": "words"}


def read(path: Path, column: str = "text") -> tuple[list[str], list[tuple[str, str]]]:
    """Texts, and (place, reason) of rows that cannot be read."""
    rows = list(read_file(path, text_column=column))
    return [row.text for row in rows if not row.reason], [
        (row.place, row.reason) for row in rows if row.reason
    ]


def written(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path
