"""Documents inside .txt, .jsonl, .csv and .parquet files. No torch."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hdiff.data.sources.columns import missing_column
from hdiff.errors import DataError

SEPARATOR = "<|endoftext|>"
"""A line of its own that ends a document in .txt files."""

_MAX_CSV_FIELD = 2**31 - 1


def read_file(path: Path, *, text_column: str) -> Iterator[str]:
    """Documents of one file, in order.

    Args:
        path: A file whose suffix is in `SUFFIXES`.
        text_column: Column that holds the text, for all but .txt.

    Yields:
        Stripped texts; a row without text is an empty one, blank lines of a .txt file are none.

    Raises:
        DataError: If the file is missing, empty, binary, not UTF-8, malformed or lacks the column.
    """
    if not path.exists():
        raise DataError(f"no file {path}; check the path")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"cannot read {path}: '{path.suffix}' is not one of {', '.join(SUFFIXES)}; "
            "convert the file or rename it"
        )
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes); give a file with text")
        for text in SUFFIXES[path.suffix.lower()](path, text_column):
            stripped = text.strip()
            if stripped or path.suffix.lower() != ".txt":
                yield stripped
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error


def _lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file without their ends."""
    offset = 0
    with path.open("rb") as file:
        for raw in file:
            if b"\0" in raw:
                raise DataError(
                    f"{path} is binary or UTF-16: NUL byte at offset {offset + raw.index(0)}; give UTF-8 text"
                )
            try:
                line = raw.decode("utf-8-sig" if offset == 0 else "utf-8")
            except UnicodeDecodeError as error:
                position = len(raw) - len(error.object) + error.start  # the codec may have dropped a BOM
                raise DataError(
                    f"{path} is not UTF-8: byte 0x{raw[position]:02x} at offset {offset + position}; "
                    f"convert it, for example: iconv -f LATIN1 -t UTF-8 {path.name} > utf8{path.suffix}"
                ) from None
            offset += len(raw)
            yield line.rstrip("\r\n")


def _read_txt(path: Path, _: str) -> Iterator[str]:
    # The first pass also refuses a damaged file before any document leaves it.
    has_separator = False
    for line in _lines(path):
        has_separator |= line == SEPARATOR
    document: list[str] = []
    for line in _lines(path):
        if line == SEPARATOR if has_separator else not line.strip():
            yield "\n".join(document)
            document = []
        else:
            document.append(line)
    yield "\n".join(document)


def _read_jsonl(path: Path, text_column: str) -> Iterator[str]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} line {number} is not JSON: {error}; write one object per line") from None
        if not isinstance(row, dict):
            raise DataError(
                f"{path} line {number} is a {type(row).__name__}, expected an object; "
                f"write one object with '{text_column}' per line"
            )
        yield text_of(row, text_column, where=f"{path} line {number}")


def _read_csv(path: Path, text_column: str) -> Iterator[str]:
    csv.field_size_limit(_MAX_CSV_FIELD)
    rows = csv.DictReader((f"{line}\n" for line in _lines(path)), restkey="(extra)")
    try:
        for row in rows:
            yield text_of(row, text_column, where=f"{path} line {rows.line_num}")
    except csv.Error as error:
        raise DataError(f"{path} line {rows.line_num} is not CSV: {error}; check its quotes") from None


def _read_parquet(path: Path, text_column: str) -> Iterator[str]:
    from hdiff.data.sources.arrow import read_parquet_rows

    rows = enumerate(read_parquet_rows(path, text_column), start=1)
    number = 0
    while True:
        try:
            number, row = next(rows)
        except StopIteration:
            return
        except (ValueError, OverflowError) as error:  # such as bytes that are no UTF-8
            raise DataError(
                f"{path} row {number + 1} or after is damaged ({error}); write the file again"
            ) from error
        yield text_of(row, text_column, where=f"{path} row {number}")


def text_of(row: Mapping[str, Any], text_column: str, *, where: str) -> str:
    """The text of a row.

    Args:
        row: Column names and values.
        text_column: The column that holds the text.
        where: Names the row in errors.

    Returns:
        The text.

    Raises:
        DataError: If the row lacks the column or does not hold text in it.
    """
    if text_column not in row:
        raise missing_column(row, text_column, where=where)
    value = row[text_column]
    if not isinstance(value, str):
        raise DataError(
            f"{where} holds {type(value).__name__} in column '{text_column}', expected text; "
            "drop the row or choose another --text-column"
        )
    return value


SUFFIXES: Mapping[str, Callable[[Path, str], Iterator[str]]] = {
    ".txt": _read_txt,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
"""Suffix -> reader."""
