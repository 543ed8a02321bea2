"""The `hdiff prepare` command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hdiff.commands.options import LARGEST, NoLayout, OwnLabels, Quiet, SingleWords, parser_with, say
from hdiff.data.sources.prompts import PromptFormat
from hdiff.data.sources.rejected import MAX_REJECTED
from hdiff.errors import DataError


def prepare(
    source: Annotated[
        str,
        typer.Argument(
            help="builtin:stories-text, builtin:pydoc, builtin:stdlib, builtin:phrase_bank, "
            "builtin:list_operations, a .txt, .jsonl, .json, .csv, .tsv or .parquet file (also .gz, .bz2, "
            ".xz, .zst), folder or glob, python:PATH, or hf:NAME[:CONFIG[:SPLIT]]."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the prepared data set.")],
    validation: Annotated[
        str | None, typer.Option(help="Held-out source; otherwise a share of SOURCE.")
    ] = None,
    validation_fraction: Annotated[float, typer.Option(help="Share of documents held out.")] = 0.05,
    parser: Annotated[
        str,
        typer.Option(
            help="spacy, spacy:MODEL, auto (by language), python, treebank:PATH, plain (words only), a "
            "control such as random:spacy, or mypackage.module:Class."
        ),
    ] = "spacy",
    no_layout: NoLayout = False,
    own_labels: OwnLabels = False,
    single_words: SingleWords = False,
    levels: Annotated[
        str | None,
        typer.Option(help="Levels to keep besides word, comma-separated (clause,phrase, where they occur)."),
    ] = None,
    tokenizer: Annotated[
        str,
        typer.Option(
            help="tokenizer.json, its folder or builtin:stories; train:SIZE (byte-level BPE), words or "
            "words:SIZE."
        ),
    ] = "train:4096",
    salience: Annotated[
        str, typer.Option(help="How words are scored: idf, pos, entities, textrank, collocation or combined.")
    ] = "idf",
    workers: Annotated[int, typer.Option(help="Processes that parse and align.", min=1, max=10_000)] = 1,
    engine: Annotated[str, typer.Option(help="Who runs them: local, ray or datatrove.")] = "local",
    timeout: Annotated[
        float, typer.Option(help="Seconds a document may take (with two workers or more).", min=1)
    ] = 600.0,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of parsed shards to use again for other data sets.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column of the text in tables.")] = "text",
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Rows have prompts: columns (prompt and answer, or templates of columns) or chat (messages)."
        ),
    ] = None,
    prompt_template: Annotated[
        str | None, typer.Option(help="Prompt of a row: 'Question: {question}'; default: {prompt}.")
    ] = None,
    answer_template: Annotated[str | None, typer.Option(help="Answer of a row; default: {answer}.")] = None,
    chat_template: Annotated[
        Path | None, typer.Option(help="Jinja file that writes messages; default: that of the tokenizer.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most this many documents.", min=1, max=2**63 - 1)
    ] = None,
    max_rejected: Annotated[
        float, typer.Option(help="Largest share of documents that may be rejected.", min=0, max=1)
    ] = MAX_REJECTED,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only cut SOURCE into shards, for --shard-index on many machines.")
    ] = False,
    shard_index: Annotated[
        int | None,
        typer.Option(
            help="Only parse share I (from 0) of --num-shards; needs --plan before.", min=0, max=LARGEST
        ),
    ] = None,
    num_shards: Annotated[int, typer.Option(help="Number of shares.", min=1, max=LARGEST)] = 1,
    quiet: Quiet = False,
) -> None:
    """Parse text into nested spans and store it as an Arrow data set."""
    from hdiff.progress import Progress

    display = Progress("prepare", quiet=quiet)
    try:
        display.stage("loading")
        from hdiff.data.prepare.run import prepare as prepare_data
        from hdiff.data.prepare.run import prepare_share

        def show(stage: str, done: int, total: int | None) -> None:
            if display.title != stage:
                display.close()
                display.title = stage
            display.update(done, total)

        options: dict[str, Any] = {
            "validation": validation,
            "validation_fraction": validation_fraction,
            "parser": parser_with(
                parser, no_layout=no_layout, own_labels=own_labels, single_words=single_words
            ),
            "levels": None
            if levels is None
            else [name.strip() for name in levels.split(",") if name.strip()],
            "tokenizer": tokenizer,
            "salience": salience,
            "workers": workers,
            "engine": engine,
            "timeout": timeout,
            "cache": cache,
            "text_column": text_column
            if (given := _prompts(prompts, prompt_template, answer_template, tokenizer, chat_template))
            is None
            else given,
            "limit": limit,
            "max_rejected": max_rejected,
            "progress": show,
        }
        if plan or shard_index is not None:
            share = None if shard_index is None else (shard_index, num_shards)
            count = prepare_share(source, out, share=share, **options)
            done = (
                f"{count} shards to parse" if plan else f"share {shard_index} of {num_shards}: {count} shards"
            )
            say(f"{out}: {done}", err=False)
            return
        manifest = prepare_data(source, out, **options)
    finally:
        display.close()
    say(f"{out}: {summary(manifest, out)}", err=False)


def _prompts(
    kind: str | None, prompt: str | None, answer: str | None, tokenizer: str, chat_template: Path | None
) -> PromptFormat | None:
    """Where prompts and answers are, if rows have any."""
    if kind is not None:
        return PromptFormat.of(
            kind, prompt=prompt, answer=answer, tokenizer=tokenizer, chat_template=chat_template
        )
    for name, value in (
        ("--prompt-template", prompt),
        ("--answer-template", answer),
        ("--chat-template", chat_template),
    ):
        if value is not None:
            raise DataError(
                f"{name} without prompts; say which kind rows have:", "--prompts columns", "--prompts chat"
            )
    return None


def summary(manifest: dict[str, Any], out: Path) -> str:
    """What a data set holds, what was left out of it, and what is to be said of it; a line each."""
    counts = ", ".join(
        f"{split}: {c['documents']:,} documents, {c['words']:,} words, {c['tokens']:,} tokens"
        for split, c in manifest["counts"].items()
    )
    lines = [f"{counts}; levels {', '.join(manifest['levels'])}; parser {_parser_name(manifest)}"]
    if rejected := sum(manifest["rejected"].values()):
        total = rejected + sum(split["documents"] for split in manifest["counts"].values())
        reasons = ", ".join(
            f"{reason} ({number:,})" for reason, number in list(manifest["rejected"].items())[:3]
        )
        more = ", ..." if len(manifest["rejected"]) > 3 else ""
        lines.append(
            f"{rejected:,} documents rejected ({rejected / total:.1%}, see {out / 'rejected.jsonl'}): "
            f"{reasons}{more}"
        )
    if manifest["fallbacks"]:
        lines.append(f"{manifest['fallbacks']:,} sentences too long for the parser kept simpler spans")
    if languages := manifest.get("languages"):
        models = json.loads(manifest["parser"]["models"])
        parsers = {code: f"spacy:{models[code][0]}" if code in models else "plain" for code in languages}
        lines.append(", ".join(f"{code} {number:,} ({parsers[code]})" for code, number in languages.items()))
    return "\n  ".join([*lines, *manifest.get("notes", ())])


def _parser_name(manifest: dict[str, Any]) -> str:
    parser = manifest["parser"]
    return " ".join(str(parser[key]) for key in ("name", "model") if parser.get(key))
