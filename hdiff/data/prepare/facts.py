"""What the manifest of a data set says, and what is refused for what it would say."""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice
from typing import Any

import hdiff
from hdiff.data.manifest import FORMAT_VERSION
from hdiff.data.prepare.assembly import Done, count
from hdiff.data.prepare.documents import Documents, read_shard
from hdiff.data.prepare.request import Request
from hdiff.data.sources.arrow import WORD_COLUMNS
from hdiff.data.sources.python_files import origin
from hdiff.data.sources.rejected import check_share
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.parsers.languages import MAX_CHARACTERS, misfit

MAX_LABELS = 2**15
"""Label ids are int16."""

SAMPLED_SHARDS, SAMPLED_TEXTS = 8, 50
"""Parts of the source, and texts of each, whose language is looked at."""


def check_rejected(request: Request, documents: Documents, aligned: list[Done]) -> None:
    """Refuses a data set that lost most of its documents."""
    selection = request.selection
    rejected: Counter[str] = Counter()
    for shard in aligned:
        rejected.update(shard.report["rejected"])
    total = sum(documents.num_documents.values())
    check_share(rejected, total, selection.source, most=selection.max_rejected)


def kept_levels(request: Request, aligned: list[Done]) -> tuple[str, ...]:
    """Levels that have a span; of those the user named, each must have one."""
    counts = count(aligned, "train", request.levels)
    missing = [level for level in request.levels if not counts["spans"][level]]
    kept = tuple(level for level in request.levels if level not in missing)
    if missing and (request.are_levels_named or kept == ("word",)):
        raise DataError(
            f"level '{missing[0]}' has 0 spans in the {counts['documents']:,} training documents "
            f"({counts['words']:,} words) of {request.selection.source}; "
            f"{''.join(f'{lack}; or ' for lack in request.parser.lacks)}"
            "give another --parser, or other levels:",
            f"--levels '{','.join(kept[:-1])}'",
        )
    return kept


def notes(request: Request, documents: Documents, aligned: list[Done]) -> list[str]:
    """What is to be said of the data set."""
    counts = count(aligned, "train", request.levels)
    return [
        *documents.notes,
        *request.parser.lacks,
        *filter(None, [misfit(_sample(documents), request.parser.language)]),
        *(
            f"level '{level}' has no span in {number:,} of {counts['documents']:,} training documents"
            f"{'' if counts['spans'][level] else ' and is not kept'}"
            for level, number in counts["without"].items()
            if number
        ),
    ]


def _sample(documents: Documents) -> list[str]:
    """Beginnings of texts from all parts of the source, for what is asked of their language."""
    shards = documents.shards[:: -(-len(documents.shards) // SAMPLED_SHARDS)]
    return [
        row[:MAX_CHARACTERS]
        for shard in shards
        for row in islice(read_shard(shard.path), SAMPLED_TEXTS)
        if isinstance(row, str)
    ]


def languages_of(parsed: list[Done]) -> dict[str, Any]:
    """Texts of each language, most first, where the parser told languages."""
    counts: Counter[str] = Counter()
    for shard in parsed:
        counts.update(shard.report.get("languages", {}))
    return {"languages": dict(counts.most_common())} if counts else {}


def told_of(parsed: list[Done]) -> list[str]:
    """What the parser told of each word besides its span."""
    return [kind for kind in WORD_COLUMNS if any(shard.report["labels"].get(kind) for shard in parsed)]


def labels_of(request: Request, parsed: list[Done]) -> list[str]:
    reports = [shard.report["labels"] for shard in parsed]
    kinds = (*request.levels, *WORD_COLUMNS)
    labels = sorted({label for report in reports for kind in kinds for label in report.get(kind, ())})
    if len(labels) > MAX_LABELS:
        raise DataError(f"the parser gives {len(labels)} labels, at most {MAX_LABELS} fit; merge some")
    return labels


def facts(request: Request, documents: Documents, tokenizer: Tokenizer) -> dict[str, Any]:
    selection = request.selection
    return {
        "format_version": FORMAT_VERSION,
        "hdiff_version": hdiff.__version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "source": selection.source,
        "validation": selection.validation_source,
        "validation_fraction": None if selection.validation_source else selection.validation_fraction,
        "held_out": documents.held_out,
        "limit": selection.limit,
        "prompts": None if selection.prompts is None else selection.prompts.to_dict(),
        "origin": origin(selection.source),
        "inputs": request.inputs(documents),
        "parser": {"name": request.parser.name, **request.parser.fingerprint()},
        "salience": request.salience,
        "tokenizer": {
            "spec": request.tokenizer_spec,
            "sha256": tokenizer.sha256,
            "vocab_size": tokenizer.vocab_size,
            "eos_id": tokenizer.eos_id,
        },
    }
