"""Rows inside text files and tables, compressed or not.

What cannot be read is told row by row, with the place and the reason, so that one bad row costs one row.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hdiff.data.sources.columns import TextColumn, no_column, row_of
from hdiff.data.sources.compression import COMPRESSIONS, READ_ERRORS, open_decompressed
from hdiff.data.sources.prompts import PromptFormat
from hdiff.data.sources.rejected import Row
from hdiff.errors import DataError

SEPARATOR = "<|endoftext|>"
"""Ends a document in .txt files, wherever it stands."""

NOT_UTF8 = "not UTF-8; convert the file, for example: iconv -f LATIN1 -t UTF-8 FILE > NEW"
NUL = "a NUL character, as in binary files; remove it, for example: tr -d '\\000' < FILE > NEW"
_WIDE = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_PACKED = (
    (b"\x1f\x8b", "gzip, name it FILE.gz"),
    (b"BZh", "bzip2, name it FILE.bz2"),
    (b"\xfd7zXZ\0", "xz, name it FILE.xz"),
    (b"(\xb5/\xfd", "zstd, name it FILE.zst"),
    (b"PK\3\4", "a zip archive, unpack it"),
    (b"7z\xbc\xaf", "a 7z archive, unpack it"),
    (b"%PDF-", "a PDF, convert it to text"),
    (b"{\\rtf", "RTF, convert it to text"),
    (b"\xd0\xcf\x11\xe0", "an old Office file, convert it to text"),
)
"""What files that are called text are instead, and what to do."""

_HEAD = 4_096
_MAX_NULS = 0.1
"""Share of NUL bytes in the head of a file from which it is no text, but binary or UTF-16 without a mark."""

_MAX_CSV_FIELD = 2**31 - 1


class _Line(NamedTuple):
    """A line of a file, from 1, without its end; the reason if it is no text."""

    number: int
    text: str
    reason: str | None


def kind_of(path: Path) -> str | None:
    """The suffix that tells how a file is read, None if it is not: `.jsonl` of `a.jsonl.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
        return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES and suffixes[-1] != ".parquet" else None
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else None


def read_file(path: Path, *, text_column: TextColumn) -> Iterator[Row]:
    """Rows of one file, in order.

    Args:
        path: A file whose suffix is in `SUFFIXES`, perhaps followed by one of `COMPRESSIONS`.
        text_column: Column that holds the text, or where prompt and answer are, for all but .txt.

    Yields:
        Rows; a row that cannot be read has the reason, a row without text an empty one. Blank lines of a .txt
        file are no rows.

    Raises:
        DataError: If the file is missing, binary or UTF-16, malformed as a whole or lacks the column.
    """
    kind = kind_of(path)
    if not path.exists():
        raise DataError(f"no file {path}; check the path")
    if kind is None:
        remedy = _REMEDIES.get(path.suffix.lower(), "convert the file or rename it")
        raise DataError(
            f"cannot read {path}: '{path.suffix}' is not one of {', '.join(SUFFIXES)} (or one of these and "
            f"{', '.join(COMPRESSIONS)}); {remedy}"
        )
    if kind == ".txt" and isinstance(text_column, PromptFormat):
        raise DataError(f"{path} has no columns, so no prompts; write .jsonl with prompt and answer in a row")
    try:
        for row in SUFFIXES[kind](path, text_column):
            if row.text or row.reason or kind != ".txt":
                yield row
    except READ_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {path}: {reason}; check its permissions, or write it again") from error


def _lines(path: Path) -> Iterator[_Line]:
    """Lines of a UTF-8 file; they end as on any system. Marks of byte order (BOM) go."""
    number = 0
    with open_decompressed(path) as file:
        head = file.peek(_HEAD)[:_HEAD]
        for mark, kind in _PACKED:
            if head.startswith(mark):
                raise DataError(f"{path} is {kind}")
        wide = next((name for mark, name in _WIDE if head.startswith(mark)), None)
        if wide is not None or head.count(0) > _MAX_NULS * len(head):
            kind = "binary or UTF-16 (NUL bytes)" if wide is None else wide
            raise DataError(
                f"{path} is {kind}, expected UTF-8; convert it, for example: "
                f"iconv -f {wide or 'UTF-16'} -t UTF-8 {path.name} > utf8-{path.name}"
            )
        for raw in file:
            reason = None
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                text, reason = raw.decode(errors="replace"), NOT_UTF8
            for line in text.rstrip("\r\n").replace("\r\n", "\r").split("\r"):
                number += 1
                yield _Line(number, line.removeprefix("\ufeff"), NUL if "\0" in line else reason)


def _read_txt(path: Path, _: TextColumn) -> Iterator[Row]:
    has_separator = any(SEPARATOR in line.text for line in _lines(path))
    document: list[str] = []
    first, reason = 1, None
    for line in _lines(path):
        *ended, last = line.text.split(SEPARATOR) if has_separator else [line.text]
        if not has_separator and not line.text.strip():
            ended, last = [""], ""
        for part in ended:
            yield Row("\n".join([*document, part]).strip(), f"line {first}", reason)
            document, first, reason = [], line.number, None
        if not document:
            first = line.number
        if last.strip() or document:
            document.append(last)
            reason = reason or line.reason
    yield Row("\n".join(document).strip(), f"line {first}", reason)


def _read_jsonl(path: Path, text_column: TextColumn) -> Iterator[Row]:
    for line in _lines(path):
        if line.reason is not None:
            yield Row(line.text, f"line {line.number}", line.reason)
        elif line.text.strip():
            yield _json_row(line.text, text_column, place=f"line {line.number}")


def _json_row(text: str, text_column: TextColumn, *, place: str) -> Row:
    try:
        row = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        return Row(text, place, f"not JSON ({getattr(error, 'msg', error)}); write one object per line")
    return row_of(row, text_column, place=place)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ; of equal ones Python would take the last without a word."""
    if len(unique := dict(pairs)) < len(pairs):
        raise ValueError("an object has a key twice")
    return unique


def _read_json(path: Path, text_column: TextColumn) -> Iterator[Row]:
    """A list of objects or texts; else lines of objects."""
    lines = list(_lines(path))
    whole = "\n".join(line.text for line in lines)
    try:
        data = json.loads(whole, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        if not whole.lstrip().startswith("{"):
            raise DataError(
                f"{path} is not JSON: {error}; write a list of objects, or a .jsonl file"
            ) from None
        yield from _read_jsonl(path, text_column)
        return
    if not isinstance(data, list):
        is_row = isinstance(text_column, PromptFormat) or (isinstance(data, dict) and text_column in data)
        if not isinstance(data, dict) or not is_row:
            keys = f"keys {', '.join(data)}" if isinstance(data, dict) else type(data).__name__
            raise DataError(
                f"{path} holds one value ({keys:.200}), expected a list of objects; take the list out, for "
                f"example: jq -c '.KEY[]' {path.name} > rows.jsonl"
            )
        data = [data]
    flawed = next((line for line in lines if line.reason is not None), None)
    if flawed is not None:
        raise DataError(f"{path} line {flawed.number}: {flawed.reason}")
    for number, row in enumerate(data, start=1):
        named = {text_column: row} if isinstance(row, str) and isinstance(text_column, str) else row
        yield row_of(named, text_column, place=f"row {number}")


def _read_table(path: Path, text_column: TextColumn, *, delimiter: str) -> Iterator[Row]:
    """Rows under a line of names. Strict: a comma or a line end in a text without quotes would cut it."""
    csv.field_size_limit(_MAX_CSV_FIELD)
    reasons: list[str] = []

    def lines() -> Iterator[str]:
        for line in _lines(path):
            if line.reason is not None:
                reasons.append(line.reason)
            yield f"{line.text}\n"

    rows = csv.reader(lines(), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    while True:
        first = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if names is None:
                raise DataError(
                    f"{path} line {first} is no line of names: {error}; check its quotes"
                ) from None
            for number in range(first, rows.line_num + 1):  # each of them may have been a row
                yield Row("", f"line {number}", f"not CSV ({error}); check the quotes from there on")
            continue
        if names is None:
            names = _column_names(row, text_column, delimiter, where=str(path)) if row else None
        elif row:
            yield _table_row(row, names, text_column, f"line {first}", reasons)
        reasons.clear()


def _column_names(names: list[str], text_column: TextColumn, delimiter: str, *, where: str) -> list[str]:
    if isinstance(text_column, PromptFormat):
        return names
    if text_column not in names:
        other = next((mark for mark in ",;\t|" if mark != delimiter and mark in names[0]), None)
        if len(names) == 1 and other is not None:
            raise DataError(
                f"{where} has the columns of its first line apart by {other!r}, expected {delimiter!r}; "
                "convert it, or name it .csv for commas and .tsv for tabs"
            )
        raise DataError(f"{where} has {no_column(names, text_column)}")
    if names.count(text_column) > 1:
        raise DataError(
            f"{where} has {names.count(text_column)} columns '{text_column}'; name them differently"
        )
    return names


def _table_row(
    row: list[str], names: list[str], text_column: TextColumn, place: str, reasons: list[str]
) -> Row:
    values = dict(
        zip(reversed(names), reversed([*row, *[""] * (len(names) - len(row))][: len(names)]), strict=True)
    )
    read = row_of(values, text_column, place=place)
    reason = reasons[0] if reasons else None
    if len(row) < len(names):
        reason = reason or "fewer values than columns; put quotes around text with line ends"
    elif any(row[len(names) :]):
        reason = reason or "more values than columns; put quotes around text that holds the separator"
    return read if reason is None else Row(read.text, place, reason)


def _read_parquet(path: Path, text_column: TextColumn) -> Iterator[Row]:
    from hdiff.data.sources.arrow import read_parquet_values

    column = None if isinstance(text_column, PromptFormat) else text_column
    for number, value in enumerate(read_parquet_values(path, column), start=1):
        if isinstance(value, Exception):  # such as bytes that are no UTF-8
            yield Row("", f"row {number}", f"damaged ({type(value).__name__}); write the file again")
        else:
            named = value if column is None else {column: value}
            yield row_of(named, text_column, place=f"row {number}")


SUFFIXES: Mapping[str, Callable[[Path, TextColumn], Iterator[Row]]] = {
    ".txt": _read_txt,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": partial(_read_table, delimiter=","),
    ".tsv": partial(_read_table, delimiter="\t"),
    ".parquet": _read_parquet,
}
"""Suffix -> reader."""

_REMEDIES = {
    **dict.fromkeys((".zip", ".7z", ".rar"), "unpack it and give the folder"),
    **dict.fromkeys((".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst"), "unpack it, for example: tar -xf FILE"),
    **dict.fromkeys((".pdf", ".docx", ".odt", ".epub", ".html", ".htm"), "convert it to text first"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save it as .csv"),
    **dict.fromkeys((".conllu", ".ptb", ".mrg"), "gold trees are read as treebank:FILE"),
    ".py": "source code is read as python:PATH (a file, folder or glob), with --parser python",
}
