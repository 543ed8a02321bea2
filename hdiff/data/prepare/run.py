"""Prepare: from raw text to parsed, aligned Arrow data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdiff.data.prepare.assembly import OnProgress
from hdiff.data.prepare.documents import Documents
from hdiff.data.prepare.engines import load_engine
from hdiff.data.prepare.output_folder import OutputFolder
from hdiff.data.prepare.request import Request
from hdiff.data.prepare.selection import Selection
from hdiff.data.prepare.stages import Preparation
from hdiff.data.sources.prompts import PromptFormat
from hdiff.data.sources.rejected import MAX_REJECTED
from hdiff.errors import DataError

DEFAULT_PARSER = "spacy"
DEFAULT_TOKENIZER = "train:4096"
DEFAULT_SALIENCE = "idf"


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    validation: str | Path | None = None,
    validation_fraction: float = 0.05,
    parser: str = DEFAULT_PARSER,
    levels: Sequence[str] | None = None,
    tokenizer: str = DEFAULT_TOKENIZER,
    salience: str = DEFAULT_SALIENCE,
    workers: int = 1,
    engine: str = "local",
    timeout: float = 600.0,
    cache: str | Path | None = None,
    text_column: str | PromptFormat = "text",
    limit: int | None = None,
    max_rejected: float = MAX_REJECTED,
    progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Prepares a data set, or returns at once if `out` holds it already.

    A killed run resumes where it stopped: parsed shards are kept. `out` counts as a data set only
    once its manifest is there, which is written last.

    Args:
        source: Training text, see `read_documents`.
        out: Folder to write.
        validation: Validation text; None splits documents off the source (or takes the built-in one).
        validation_fraction: Share of documents to split off, by a hash of their text.
        parser: As `load_parser` takes it.
        levels: Levels to keep; `word` is always kept. None takes those of `DEFAULT_LEVELS` that have a span.
        tokenizer: `train:N`, `words`, `words:N`, or the path of a tokenizer.
        salience: How words are scored: `idf`, `pos`, `entities`, `textrank`, `collocation` or `combined`.
        workers: Processes that parse and align.
        engine: Who runs them: `local`, `ray` or `datatrove`.
        timeout: Seconds a document may take before its process counts as hanging and is replaced.
        cache: Folder of parsed shards; the same text parsed by the same parser is taken from there.
        text_column: Column that holds the text, or where prompt and answer of a row are.
        limit: Most documents to read from each source.
        max_rejected: Largest share of documents that may be rejected; empty ones do not count.
        progress: Called with a stage, how many of its documents are done, and how many there are.

    Returns:
        The manifest. Where `out` held the data set already, the only stage is `already prepared`.

    Raises:
        DataError: If a source, level, tokenizer or `out` does not fit, too much is rejected, a level has no
            span, or the disk is full.
        ParserError: If the parser is unknown or not installed.
    """
    if workers < 1:
        raise DataError(f"workers is {workers}, expected at least 1")
    held_out = None if validation is None else str(validation)
    selection = Selection(str(source), held_out, validation_fraction, text_column, limit, max_rejected)
    report = progress if progress is not None else _no_progress
    runner = load_engine(engine, workers=workers, timeout=timeout)
    request = Request.of(
        selection, parser, levels, tokenizer, salience, None if cache is None else Path(cache)
    )
    folder = OutputFolder(Path(out))
    if (manifest := folder.manifest()) is not None:
        request.check_same(manifest, Documents.read(selection, None), folder.path)
        num_documents = sum(split["documents"] for split in manifest["counts"].values())
        report("already prepared", num_documents, num_documents)
        return manifest
    with folder.claimed():
        return Preparation(request, folder, report).run(runner)


def prepare_share(
    source: str,
    out: str | Path,
    *,
    share: tuple[int, int] | None,
    engine: str = "local",
    workers: int = 1,
    timeout: float = 600.0,
    progress: OnProgress | None = None,
    **options: Any,
) -> int:
    """One part of a preparation that many machines do together, over a file system they share.

    First once with `share=None` (the plan), then one process per share, at any time and on any machine; then
    `prepare` with the same options finds the shards parsed, parses those that are missing, and finishes.

    Args:
        source: As in `prepare`.
        out: As in `prepare`.
        share: (number of this share from 0, number of shares); None reads the source and cuts it into shards.
        engine: Who parses.
        workers: Processes of this share.
        timeout: As in `prepare`.
        progress: As in `prepare`.
        **options: `validation`, `validation_fraction`, `text_column`, `limit`, `max_rejected`, `parser`,
            `levels`, `tokenizer`, `salience` and `cache`, as in `prepare`.

    Returns:
        Number of shards, of the plan or of this share.

    Raises:
        DataError: If the share is out of range, or the plan is missing or was made for other inputs.
        ParserError: If the parser is unknown or not installed.
    """
    if share is not None and not 0 <= share[0] < share[1]:
        raise DataError(
            f"share {share[0]} of {share[1]} does not exist; shares count from 0 to {share[1] - 1}"
        )
    runner = load_engine(engine, workers=workers, timeout=timeout)
    names = ("validation", "validation_fraction", "text_column", "limit", "max_rejected")
    selection = Selection(source, **{name: options.pop(name) for name in names if name in options})
    cache = options.pop("cache", None)
    request = Request.of(
        selection,
        options.pop("parser", DEFAULT_PARSER),
        options.pop("levels", None),
        options.pop("tokenizer", DEFAULT_TOKENIZER),
        options.pop("salience", DEFAULT_SALIENCE),
        None if cache is None else Path(cache),
    )
    if options:
        raise TypeError(f"prepare_share got unexpected options {sorted(options)}")
    folder = OutputFolder(Path(out))
    if folder.manifest() is not None:
        raise DataError(f"{out} holds a finished data set; delete it, or give another:", "--out FOLDER")
    with folder.claimed(shared=share is not None):
        preparation = Preparation(request, folder, progress if progress is not None else _no_progress)
        return preparation.plan() if share is None else preparation.parse_share(runner, *share)


def _no_progress(stage: str, done: int, total: int | None) -> None:
    """Says nothing."""
