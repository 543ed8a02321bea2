"""Corpus: the documents of a source, whatever kind of source it is. No torch."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path

from hdiff.data.sources.builtin import read_builtin
from hdiff.data.sources.text_files import SUFFIXES, read_file, text_of
from hdiff.errors import DataError

MAX_DOCUMENT_CHARACTERS = 100_000
"""Longer documents are cut; parsers hold a whole document in memory."""

_WORD_CHARACTER = re.compile(r"[^\W_]")
_BORDERS = (re.compile(r"\n\s*\n"), re.compile(r"[.!?][\"'”’)]*\s+"), re.compile(r"\s+"))


def read_documents(source: str, *, text_column: str = "text") -> Iterator[str]:
    """Documents of a source, in a fixed order.

    Args:
        source: `builtin:NAME` (`read_builtin`), a .txt, .jsonl, .csv or .parquet file, a folder
            or a glob of those, `treebank:PATH` (the texts of gold trees, see TreebankParser), or
            `hf:NAME[:CONFIG[:SPLIT]]` (split `train` if not given). In .txt
            files documents end at lines `<|endoftext|>` if there is one, else at blank lines.
        text_column: Column that holds the text, where the source has columns.

    Yields:
        Stripped texts of at most `MAX_DOCUMENT_CHARACTERS` characters; longer documents are cut at a
        paragraph, sentence or word border. A row without text gives an empty one, to be counted.

    Raises:
        DataError: If the source is missing, unreadable, not text, or has no word in it.
    """
    has_word = False
    for document in _read_source(source, text_column=text_column):
        if not document:
            yield document
        for chunk in cut(document, MAX_DOCUMENT_CHARACTERS):
            has_word = has_word or _WORD_CHARACTER.search(chunk) is not None
            yield chunk
    if not has_word:
        raise DataError(f"{source} has no word in it; give a source with text")


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


def _read_source(source: str, *, text_column: str) -> Iterator[str]:
    prefix, colon, name = source.partition(":")
    if colon and prefix == "builtin":
        yield from read_builtin(name)
    elif colon and prefix == "treebank":
        from hdiff.parsers import TreebankParser

        yield from TreebankParser(name).texts()
    elif colon and prefix == "hf":
        yield from _read_hub(name, text_column=text_column)
    else:
        for path in text_files(source):
            yield from read_file(path, text_column=text_column)


def text_files(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    suffixes = ", ".join(SUFFIXES)
    if path.is_dir():
        candidates = [found for found in path.rglob("*") if found.is_file()]
    elif glob.has_magic(source):
        candidates = [Path(found) for found in glob.glob(str(path), recursive=True) if Path(found).is_file()]
        if not candidates:
            raise DataError(f"no file matches {source}; check the pattern and quote it")
    else:
        raise DataError(f"no file or folder {source}; give a path, a glob, builtin:NAME or hf:NAME")
    files = sorted(found for found in candidates if found.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(f"none of the {len(candidates)} files of {source} ends in {suffixes}; convert them")
    return files


def _read_hub(name: str, *, text_column: str) -> Iterator[str]:
    from hdiff.data.sources.arrow import stream_hub

    dataset, _, rest = name.partition(":")
    config, _, split = rest.partition(":")
    for row in stream_hub(dataset, config=config or None, split=split or "train"):
        yield text_of(row, text_column, where=f"hf:{name}").strip()
