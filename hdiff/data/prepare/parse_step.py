"""Parse step: the documents of a shard become trees."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff.data.prepare.documents import read_shard
from hdiff.data.prepare.job import Job, OnDocument, Report, finished_report, ok_path
from hdiff.data.prepare.prompted import answer_of, behind_prompt
from hdiff.data.prepare.trees import TREES_FORMAT, encode_trees
from hdiff.data.sources.rejected import EMPTY, Rejected
from hdiff.errors import UserError
from hdiff.files import file_sha256
from hdiff.parsers import WordStatistics
from hdiff.strict_yaml import is_unicode
from hdiff.structure import SpanTree

if TYPE_CHECKING:
    from hdiff.parsers import Parser

NO_WORDS = "the parser finds no word"
SURROGATE = "lone surrogate"
_MAX_REASON_CHARACTERS = 120


def parse_shard(job: Job, settings: dict[str, Any], on_document: OnDocument) -> Report:
    """Parses a shard; documents that the parser cannot take are kept with the reason.

    Args:
        job: The shard.
        settings: `parser` and `annotations` as `load_parser` takes them; `pairs`, whether to count pairs of
            words; `cache`, the folder of a cache or None.
        on_document: Told of each document.

    Returns:
        Numbers of documents and trees, labels per level, counts of reasons, and of sentences for which a
        simpler parser stood in.

    Raises:
        ParserError: If the parser itself cannot be loaded.
        OSError: If the disk is full.
    """
    parser = loaded_parser(settings["parser"], tuple(settings["annotations"]))
    has_prompts = bool(settings.get("prompts"))
    identity = parse_identity(file_sha256(job.source), parser, pairs=settings["pairs"], prompts=has_prompts)
    cached = _cache_path(settings["cache"], identity)
    if (finished := job.finished(identity)) is not None:
        return finished
    if cached is not None and (report := finished_report(cached, identity)) is not None:
        _link(cached, job.out)
        _link(ok_path(cached), ok_path(job.out))
        return report
    fallbacks_before = getattr(parser, "num_fallbacks", 0)
    rows = list(read_shard(job.source))
    answers = [answer_of(row) for row in rows] if has_prompts else rows
    items = list(parse_texts(parser, answers, job, on_document))
    if has_prompts:
        items = [behind_prompt(item, row) for item, row in zip(items, rows, strict=True)]
    trees = [item for item in items if isinstance(item, SpanTree)]
    labels: dict[str, set[str]] = {}
    for tree in trees:
        for level, label in {(span.level, span.label) for span in tree.spans}:
            labels.setdefault(level, set()).add(label)
        for name, told in (("tag", tree.tags), ("relation", tree.relations)):
            labels.setdefault(name, set()).update(told or ())
    facts = {
        "documents": len(items),
        "trees": len(trees),
        "labels": {level: sorted(names) for level, names in labels.items()},
        "languages": dict(Counter(tree.language for tree in trees if tree.language is not None)),
        "rejected": dict(Counter(item.reason for item in items if isinstance(item, Rejected))),
        "fallbacks": getattr(parser, "num_fallbacks", 0) - fallbacks_before,
    }
    statistics = WordStatistics.of(trees, pairs=settings["pairs"])
    report = job.finish(identity, encode_trees(items, statistics.to_dict()), facts)
    if cached is not None and not job.quarantined:
        cached.parent.mkdir(parents=True, exist_ok=True)
        _link(job.out, cached)
        _link(ok_path(job.out), ok_path(cached))
    return report


def parse_identity(
    source_sha256: str, parser: Parser, *, pairs: bool, prompts: bool = False
) -> dict[str, Any]:
    """Everything that decides what the trees of a shard are."""
    return {
        **({"prompts": True} if prompts else {}),
        "source_sha256": source_sha256,
        "parser": parser.fingerprint(),
        "pairs": pairs,
        "format": TREES_FORMAT,
    }


@cache
def loaded_parser(spec: str, annotations: tuple[str, ...] = ()) -> Parser:
    """The parser of a specification, loaded once per process."""
    from hdiff.parsers import load_parser

    return load_parser(spec, annotations=annotations)


def _cache_path(folder: str | None, identity: dict[str, Any]) -> Path | None:
    if folder is None:
        return None
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return Path(folder) / key[:2] / f"{key}.jsonl"


def _link(source: Path, target: Path) -> None:
    """Gives a file a second name, in one step; a copy where the file system has no such names."""
    aside = target.with_name(f"{target.name}.{os.getpid()}.part")
    aside.unlink(missing_ok=True)
    try:
        os.link(source, aside)
    except OSError:
        shutil.copyfile(source, aside)
    aside.replace(target)


def parse_texts(
    parser: Parser, rows: Sequence[str | Rejected], job: Job, on_document: OnDocument
) -> Iterator[SpanTree | Rejected]:
    """A tree or the reason of its rejection for each text, in order."""
    texts = [row.text if isinstance(row, Rejected) else row for row in rows]
    reasons = {position: EMPTY for position, text in enumerate(texts) if not text or text.isspace()}
    reasons.update({position: SURROGATE for position, text in enumerate(texts) if not is_unicode(text)})
    reasons.update(job.quarantined)
    reasons.update({position: row.reason for position, row in enumerate(rows) if isinstance(row, Rejected)})
    accepted = [position for position in range(len(texts)) if position not in reasons]
    parse = _parse_one_by_one if job.one_by_one else _parse_together
    results = parse(parser, texts, accepted, on_document)
    for position, text in enumerate(texts):
        result: SpanTree | Rejected
        given = rows[position]
        if isinstance(given, Rejected):
            result = given
        else:
            result = Rejected(text, reasons[position]) if position in reasons else next(results)
        assert result.text == text, f"parser {parser.name} changed a text"
        yield Rejected(text, NO_WORDS) if isinstance(result, SpanTree) and not result.salience else result


def _parse_together(
    parser: Parser, texts: Sequence[str], positions: Sequence[int], on_document: OnDocument
) -> Iterator[SpanTree | Rejected]:
    done = 0
    try:
        trees = parser.parse(texts[position] for position in positions)
        for position, tree in zip(positions, trees, strict=True):
            yield tree
            done += 1
            on_document(position)
    except (OSError, MemoryError):
        raise
    except Exception:  # one document spoils its batch: find it by parsing the rest one by one
        pass
    yield from _parse_one_by_one(parser, texts, positions[done:], on_document)


def _parse_one_by_one(
    parser: Parser, texts: Sequence[str], positions: Sequence[int], on_document: OnDocument
) -> Iterator[SpanTree | Rejected]:
    for position in positions:
        on_document(position)
        try:
            yield next(iter(parser.parse([texts[position]])))
        except (OSError, MemoryError):
            raise
        except Exception as error:
            yield Rejected(texts[position], _reason(error), getattr(error, "place", ""))


def _reason(error: Exception) -> str:
    """A reason that is the same for documents that fail alike: without numbers, one line."""
    first_line = (str(error).splitlines() or [""])[0]
    message = first_line if isinstance(error, UserError) else f"{type(error).__name__}: {first_line}"
    return re.sub(r"\d+", "N", message)[:_MAX_REASON_CHARACTERS]
