"""Parsing of shards: documents in, trees out, each shard finished or not there. No torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff.data.documents import read_texts
from hdiff.data.durable_files import file_sha256, write_atomically
from hdiff.errors import UserError
from hdiff.structure import Span, SpanTree

if TYPE_CHECKING:
    from hdiff.parsers import Parser

NO_WORDS = "the parser finds no word"
_SURROGATE = "lone surrogate"
_MAX_REASON_CHARACTERS = 120


def parse_shard(source: Path, out: Path, parser_spec: str) -> dict[str, Any]:
    """Parses a shard, unless `out` already holds the same documents parsed by the same parser.

    The trees are written aside, synced and renamed; `out` with `.ok.json` appended is written last. A
    shard without it does not exist. Documents the parser cannot take are kept with the reason.

    Args:
        source: Documents, as `Documents.read` writes them.
        out: Where the trees go, one JSON object per line.
        parser_spec: As `load_parser` takes it.

    Returns:
        What `.ok.json` holds: digests, numbers of documents and trees, labels per level, counts of reasons.

    Raises:
        ParserError: If the parser itself cannot be loaded.
        OSError: If the disk is full.
    """
    parser = loaded_parser(parser_spec)
    identity = {"source_sha256": file_sha256(source), "parser": parser.fingerprint()}
    finished = _finished(out)
    if finished is not None and all(finished[key] == value for key, value in identity.items()):
        return finished
    texts = list(read_texts(source))
    labels: dict[str, set[str]] = {}
    reasons: Counter[str] = Counter()
    lines = []
    for text, result in zip(texts, _parse_or_reason(parser, texts), strict=True):
        if isinstance(result, SpanTree):
            for span in result.spans:
                labels.setdefault(span.level, set()).add(span.label)
            spans = [[span.start, span.end, span.level, span.label] for span in result.spans]
            lines.append(json.dumps({"text": text, "spans": spans}))
        else:
            reasons[result] += 1
            lines.append(json.dumps({"text": text, "rejected": result}))
    data = "".join(f"{line}\n" for line in lines).encode("ascii")
    write_atomically(out, data)
    report = {
        **identity,
        "sha256": hashlib.sha256(data).hexdigest(),
        "documents": len(texts),
        "trees": len(texts) - reasons.total(),
        "labels": {level: sorted(names) for level, names in labels.items()},
        "rejected": dict(reasons),
    }
    write_atomically(_ok_path(out), json.dumps(report).encode())
    return report


def read_trees(path: Path) -> Iterator[SpanTree | tuple[str, str]]:
    """What `parse_shard` wrote.

    Args:
        path: The file.

    Yields:
        Trees (salience 1), or (text, reason) for documents the parser could not take.
    """
    with path.open(encoding="ascii") as file:
        for line in file:
            row = json.loads(line)
            if "rejected" in row:
                yield row["text"], row["rejected"]
                continue
            spans = tuple(Span(start, end, label, level) for start, end, level, label in row["spans"])
            num_words = sum(span.level == "word" for span in spans)
            yield SpanTree(row["text"], spans, (1.0,) * num_words)


@cache
def loaded_parser(spec: str) -> Parser:
    """The parser of a specification, loaded once per process."""
    from hdiff.parsers import load_parser

    return load_parser(spec)


def _finished(out: Path) -> dict[str, Any] | None:
    try:
        report: dict[str, Any] = json.loads(_ok_path(out).read_bytes())
        return report if report["sha256"] == file_sha256(out) else None
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _ok_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.ok.json")


def _parse_or_reason(parser: Parser, texts: Sequence[str]) -> Iterator[SpanTree | str]:
    """A tree or the reason of its rejection for each text, in order."""
    reasons = {position: _SURROGATE for position, text in enumerate(texts) if not _is_unicode(text)}
    accepted = [text for position, text in enumerate(texts) if position not in reasons]
    trees = _robust_parse(parser, accepted)
    for position, text in enumerate(texts):
        result = reasons[position] if position in reasons else next(trees)
        if isinstance(result, SpanTree):
            assert result.text == text, f"parser {parser.name} changed a text"
            yield result if result.words else NO_WORDS
        else:
            yield result


def _robust_parse(parser: Parser, texts: Sequence[str]) -> Iterator[SpanTree | str]:
    done = 0
    try:
        for tree in parser.parse(texts):
            done += 1
            yield tree
        return
    except (OSError, MemoryError):
        raise
    except Exception:  # one document spoils its batch: find it by parsing the rest one by one
        pass
    for text in texts[done:]:
        try:
            yield next(iter(parser.parse([text])))
        except (OSError, MemoryError):
            raise
        except Exception as error:
            yield _reason(error)


def _reason(error: Exception) -> str:
    """A reason that is the same for documents that fail alike: without numbers, one line."""
    first_line = (str(error).splitlines() or [""])[0]
    message = first_line if isinstance(error, UserError) else f"{type(error).__name__}: {first_line}"
    return re.sub(r"\d+", "N", message)[:_MAX_REASON_CHARACTERS]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
