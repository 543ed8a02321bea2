"""CoNLL-U: sentences with their words, heads and relations, read from gold files.

Format: https://universaldependencies.org/format.html. Of a multiword range (3-4) the surface form is kept
in the text and the words share its characters; empty nodes (5.1) have no characters and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise
from pathlib import Path

from hdiff.errors import ParserError

from .dependency import ROOT, DependencyTree

_NUM_COLUMNS = 10
MAX_WORDS = 3_000
"""Most lines of a sentence; projecting constituents takes quadratic time."""


@dataclass(frozen=True)
class Sentence:
    """One sentence of a file.

    Attributes:
        tree: Words, heads and relations over its text.
        forms: The words as written; those of a multiword range may differ from the text.
        document: Id of its document, "" if the file names none.
        line: Line of its first word, from 1.
        opens_paragraph: Whether a paragraph begins with it (`# newpar`), or a document.
    """

    tree: DependencyTree
    forms: tuple[str, ...]
    document: str
    line: int
    opens_paragraph: bool = False


def read_conllu(path: Path) -> Iterator[Sentence]:
    """Sentences of a .conllu file, in order."""
    rows: list[list[str]] = []
    first = 0
    document = ""
    opens = True
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.rstrip("\r\n")
                if line.startswith("# newdoc"):
                    document = line.partition("=")[2].strip() or f"line {number}"
                    opens = True
                elif line == "# newpar" or line.startswith("# newpar "):
                    opens = True
                elif line and not line.startswith("#"):
                    columns = line.split("\t")
                    if len(columns) != _NUM_COLUMNS:
                        raise ParserError(
                            f"{path}, line {number}: {len(columns)} columns, CoNLL-U has {_NUM_COLUMNS}, "
                            "separated by tabs"
                        )
                    first = first if rows else number
                    if len(rows) == MAX_WORDS:
                        raise ParserError(
                            f"{path}, line {number}: the sentence has more than {MAX_WORDS:,} lines; end it "
                            f"with an empty one"
                        )
                    rows.append(columns)
                elif not line and rows:
                    yield _sentence(rows, document, path, first, opens=opens)
                    rows, opens = [], False
    except (OSError, UnicodeDecodeError) as error:
        raise ParserError(f"cannot read {path}: {error}; give a UTF-8 file in CoNLL-U format") from error
    if rows:
        yield _sentence(rows, document, path, first, opens=opens)


def paragraphs(sentences: Iterable[Sentence]) -> Iterator[list[list[str]]]:
    """Texts of the sentences of each paragraph of each document."""
    for _, group in groupby(sentences, key=lambda sentence: sentence.document):
        groups: list[list[str]] = []
        for sentence in group:
            if sentence.opens_paragraph or not groups:
                groups.append([])
            groups[-1].append(sentence.tree.text)
        yield groups


def _sentence(rows: list[list[str]], document: str, path: Path, line: int, *, opens: bool) -> Sentence:
    text = ""
    end = 0  # of the last form: a space that follows it is not part of the sentence
    offsets: list[tuple[int, int]] = []
    words = [row for row in rows if row[0].isdecimal()]
    range_end = 0  # last word of the multiword range that is open
    shared: list[tuple[int, int]] = []
    done = 0
    for number, row in enumerate(rows, start=line):
        if "." in row[0]:
            continue
        where = f"{path}, line {number}"
        index, last = _word_id(row[0], where)
        if index != done + 1:
            raise ParserError(f"{where}: word {index} follows word {done}; ids count up")
        if last and (index <= range_end or last > len(words)):
            raise ParserError(f"{where}: no {len(words)} words hold the range '{row[0][:40]}'; ids count up")
        if last or index > range_end:
            surface = (len(text), len(text) + len(row[1]))
            end = surface[1]
            text += row[1] if "SpaceAfter=No" in row[9].split("|") else f"{row[1]} "
        if last:
            range_end = last
            shared = _divide(surface, row[1], [word[1] for word in words[index - 1 : last]])
        if not row[1].strip() or any(first == after for first, after in [surface, *shared]):
            raise ParserError(f"{where}: '{row[1]}' has too few characters for its words; each needs one")
        if not last:
            offsets.append(shared.pop(0) if shared else surface)
            done = index
    if any(row[6] == "_" for row in words):
        raise ParserError(
            f"{path}, sentence at line {line}: HEAD (column 7) is '_', so it has no tree; parse the file "
            "first, for example with UDPipe or Stanza, or leave the sentence out"
        )
    known = {str(number) for number in range(len(words) + 1)}
    for row in words:
        if row[6] not in known:
            raise ParserError(
                f"{path}, sentence at line {line}: HEAD (column 7) of word {row[0]} is '{row[6][:40]}'; give "
                f"0 for a root, or a word from 1 to {len(words)}"
            )
    try:
        heads = [int(row[6]) - 1 if row[6] != "0" else ROOT for row in words]
        tree = DependencyTree.build(
            text[:end], offsets, heads, [_relation(row[7]) for row in words], [row[3] for row in words]
        )
        tree = replace(tree, tags=tuple(row[4] for row in words))
    except (ValueError, ParserError) as error:
        raise ParserError(f"{path}, sentence at line {line}: {error}") from error
    return Sentence(tree, tuple(row[1] for row in words), document, line, opens)


def _word_id(text: str, where: str) -> tuple[int, int]:
    """First and last word of an id; the last one is 0 for a single word."""
    position, dash, range_last = text.partition("-")
    try:
        index, last = int(position), int(range_last) if dash else 0
    except ValueError:
        raise ParserError(f"{where}: '{text[:40]}' is no word id; ids are 1, 2-3 or 4.1") from None
    if index < 1 or (dash and last < index) or not (text.isascii() and position.isdigit()):
        raise ParserError(f"{where}: '{text[:40]}' is no word id; ids are 1, 2-3 or 4.1")
    return index, last


def _divide(surface: tuple[int, int], form: str, parts: list[str]) -> list[tuple[int, int]]:
    """Characters of each word of a multiword range: its own where they spell it out, else an equal share."""
    start, end = surface
    if "".join(parts) == form:
        borders = [0, *accumulate(map(len, parts))]
    else:
        borders = [part * (end - start) // len(parts) for part in range(len(parts) + 1)]
    return [(start + first, start + last) for first, last in pairwise(borders)]


def _relation(relation: str) -> str:
    return "ROOT" if relation == "root" else relation
