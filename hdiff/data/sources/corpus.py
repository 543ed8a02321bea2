"""Corpus: the rows of a source, whatever kind of source it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hdiff.data.sources.builtin import read_builtin
from hdiff.data.sources.columns import TextColumn, no_column, row_of
from hdiff.data.sources.folders import named, text_files
from hdiff.data.sources.prompts import NEXT, PromptFormat
from hdiff.data.sources.python_files import LIBRARY, LIBRARY_VALIDATION, PREFIX, read_library, read_python
from hdiff.data.sources.rejected import MAX_REJECTED, Row
from hdiff.data.sources.text_files import read_file
from hdiff.errors import DataError

MAX_DOCUMENT_CHARACTERS = 100_000
"""Longer documents are cut; parsers hold a whole document in memory."""

ROWS_TO_JUDGE = 1_000
"""If none of so many first rows can be read, the rest is not tried."""

Note = Callable[[str], None]
"""Told what is to be said of a source, in a sentence."""

_TREEBANK = "treebank:"
_WORD_CHARACTER = re.compile(r"[^\W_]")
_BORDERS = (re.compile(r"\n\s*\n"), re.compile(r"[.!?][\"'”’)]*\s+"), re.compile(r"\s+"))


def _silent(note: str) -> None:
    """Tells nobody."""


def read_documents(source: str, *, text_column: TextColumn = "text", note: Note = _silent) -> Iterator[Row]:
    """Documents of a source, in a fixed order.

    Args:
        source: `builtin:NAME` (`read_builtin`), a .txt, .jsonl, .json, .csv, .tsv or .parquet file, a folder
            or a glob of those, `treebank:PATH` (the texts of gold trees, see TreebankParser),
            `python:PATH` (.py files, each one document), or `hf:NAME[:CONFIG[:SPLIT]]` (split `train` if not
            given). In .txt files documents end at `<|endoftext|>` if there is one, else at blank lines.
        text_column: Column that holds the text, or where prompt and answer are, where the source has columns.
        note: Told of files that are left out.

    Yields:
        Rows with stripped texts of at most `MAX_DOCUMENT_CHARACTERS` characters; longer documents are cut
        at a paragraph, sentence or word border, gold trees and source code never are. A row without text
        gives an empty one and a row that cannot be read its reason, to be counted.

    Raises:
        DataError: If the source is missing, no row of it can be read, or it has no word in it.
    """
    has_word = False
    first: Row | None = None
    counts: Counter[bool] = Counter()
    for row in _read_source(source, text_column=text_column, note=note):
        counts[row.reason is None] += 1
        if row.reason is not None:
            first = first or row
            if counts[False] == ROWS_TO_JUDGE and not counts[True]:
                break
            yield row
            continue
        if not row.text or row.is_whole:
            has_word = has_word or has_a_word(row.text)
            yield row
            continue
        if isinstance(text_column, PromptFormat):
            has_word = has_word or has_a_word(row.text)
            yield from (_whole(row._replace(text=part)) for part in row.text.split(NEXT))
            continue
        for part in cut(row.text, MAX_DOCUMENT_CHARACTERS):
            has_word = has_word or has_a_word(part)
            yield row._replace(text=part)
    if first is not None and not counts[True]:
        number = (
            f"the first {counts[False]:,}" if counts[False] == ROWS_TO_JUDGE else f"all {counts[False]:,}"
        )
        raise DataError(f"{number} rows of {source} are rejected; {first.place}: {first.reason}")
    if not has_word:
        raise DataError(f"{source} has no word in it; give a source with text")


def _whole(row: Row) -> Row:
    """A document with a prompt, which cannot be cut."""
    if len(row.text) <= MAX_DOCUMENT_CHARACTERS:
        return row
    reason = f"a prompt and answer of more than {MAX_DOCUMENT_CHARACTERS:,} characters; shorten them"
    return Row("", row.place, reason)


def has_a_word(text: str) -> bool:
    """Whether a text has a letter or digit."""
    return _WORD_CHARACTER.search(text) is not None


def cut(text: str, max_characters: int) -> Iterator[str]:
    """Cuts a long text at the last paragraph, sentence or word border that keeps each part in bounds.

    Args:
        text: Any text.
        max_characters: Longest part, in characters.

    Yields:
        Stripped, non-empty parts; only whitespace is lost between them. A stretch without any border
        is cut at exactly `max_characters`.
    """
    start = 0
    while start < len(text):
        end = start + max_characters
        if end < len(text):
            end = _last_border(text, start, end)
        if part := text[start:end].strip():
            yield part
        start = end


def _last_border(text: str, start: int, end: int) -> int:
    for border in _BORDERS:
        # A border in the first half would leave needlessly small parts.
        matches = [match.end() for match in border.finditer(text, (start + end) // 2, end)]
        if matches:
            return matches[-1]
    return end


def _read_source(source: str, *, text_column: TextColumn, note: Note) -> Iterator[Row]:
    prefix, colon, name = source.partition(":")
    if isinstance(text_column, PromptFormat) and colon and prefix in ("builtin", "treebank", "python"):
        raise DataError(f"{source} has no columns, so no prompts; give a .jsonl file, or leave --prompts out")
    if source.startswith(PREFIX):
        yield from read_python(name, note)
    elif prefix == "builtin" and name in (LIBRARY, LIBRARY_VALIDATION):
        yield from read_library(name)
    elif colon and prefix == "builtin":
        for number, text in enumerate(read_builtin(name), start=1):
            yield Row(text, f"document {number}")
    elif source.startswith(_TREEBANK):
        from hdiff.parsers import TreebankParser

        for number, text in enumerate(TreebankParser(name).texts(), start=1):
            yield Row(text, f"text {number}", is_whole=True)
    elif colon and prefix == "hf":
        yield from _read_hub(name, text_column=text_column)
    else:
        yield from read_files(text_files(source, note), text_column=text_column, note=note)


def read_files(
    files: Sequence[Path], *, text_column: TextColumn, total: int | None = None, note: Note = _silent
) -> Iterator[Row]:
    """Rows of files; of several, one that cannot be read is a rejected row."""
    total = len(files) if total is None else total
    blank: list[Path] = []
    broken: list[Path] = []
    for file in files:
        place = file.name if total == 1 else str(file)
        number = 0
        try:
            for row in read_file(file, text_column=text_column):
                number += 1
                yield row._replace(place=f"{place} {row.place}")
        except DataError as error:
            broken.append(file)
            if total == 1 or not file.exists() or len(broken) > total * MAX_REJECTED:
                raise
            if number:
                note(f"{file} cannot be read behind row {number:,} ({error})")
            yield Row("", place, str(error))
            continue
        if not number:
            blank.append(file)
    if blank and total == 1:
        raise DataError(f"{blank[0]} is empty, it has no text; give a file with text")
    if blank:
        note(f"{len(blank):,} files have no text: {named(blank)}")


def _read_hub(name: str, *, text_column: TextColumn) -> Iterator[Row]:
    from hdiff.data.sources.arrow import stream_hub

    dataset, _, rest = name.partition(":")
    config, _, split = rest.partition(":")
    rows = stream_hub(dataset, config=config or None, split=split or "train")
    for number, row in enumerate(rows, start=1):
        if isinstance(text_column, str) and text_column not in row and number == 1:
            raise DataError(f"hf:{name} has {no_column(row, text_column)}")
        yield row_of(row, text_column, place=f"row {number}")
