"""The `hdiff parser` commands."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdiff.commands.options import AsJson
from hdiff.errors import ParserError

if TYPE_CHECKING:
    from hdiff.structure import SpanTree

PROJECTED = "dependencies"

app = typer.Typer(
    help="Measure parsers against gold trees.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options() -> None:
    """Keeps `eval` a command of its own while it is the only one."""


@app.command(
    name="eval",
    epilog="Example:  hdiff parser eval dev.ptb --parser spacy   |   "
    "hdiff parser eval dev.ptb --parser dependencies   (constituents from dev.conllu beside it)",
)
def evaluate(
    gold: Annotated[
        Path, typer.Argument(help="Bracketed gold trees (.ptb, .mrg); spacing from the .conllu beside it.")
    ],
    parser: Annotated[
        str, typer.Option(help="As in prepare, or dependencies: constituents of the .conllu beside GOLD.")
    ] = "spacy",
    limit: Annotated[int | None, typer.Option(help="At most this many sentences.", min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Span precision, recall and F1 of a parser on gold words, and its sentence ends in raw text."""
    from hdiff.parsers.treebank import gold_sentences

    if not gold.is_file() or gold.suffix not in (".ptb", ".mrg"):
        raise ParserError(f"{gold} is no file of bracketed trees; give a .ptb or .mrg file")
    trees = list(islice(gold_sentences(gold), limit))
    result = _scores(gold, trees, parser)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print(result, gold, parser)


def _scores(gold: Path, trees: list[SpanTree], parser: str) -> dict[str, Any]:
    from hdiff.parsers import load_parser
    from hdiff.parsers.base import Words
    from hdiff.parsers.evaluation import evaluate as evaluate_spans
    from hdiff.parsers.evaluation import sentence_boundaries
    from hdiff.parsers.treebank import dependency_sentences

    if parser == PROJECTED:
        beside = gold.with_suffix(".conllu")
        projected: dict[str, Any] = evaluate_spans(trees, islice(dependency_sentences(beside), len(trees)))
        return projected
    loaded = load_parser(parser)
    words = [Words(tree.text, tuple((word.start, word.end) for word in tree.words)) for tree in trees]
    list(loaded.parse_words(words[:20]))  # caches fill before the clock starts
    result: dict[str, Any] = evaluate_spans(trees, loaded.parse_words(words))
    groups = [[tree.text for tree in trees[first : first + 20]] for first in range(0, len(trees), 20)]
    try:
        return {**result, "sentence_boundaries": sentence_boundaries(loaded, groups)}
    except ParserError:  # a treebank has trees for its own texts only
        return result


def _print(result: dict[str, Any], gold: Path, parser: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{parser} on {gold.name}", title_justify="left", box=None)
    for column in ("spans", "precision", "recall", "F1", "gold", "found"):
        table.add_column(column, justify="left" if column == "spans" else "right")
    rows = {"unlabelled": result["unlabelled"], "labelled": result["labelled"]}
    rows |= {f"level {level}": score for level, score in result["by_level"].items()}
    rows |= {f"label {label}": score for label, score in result["by_label"].items()}
    if "sentence_boundaries" in result:
        rows["sentence ends"] = result["sentence_boundaries"]
    for name, score in rows.items():
        figures = (f"{100 * score[key]:.1f}" for key in ("precision", "recall", "f1"))
        table.add_row(name, *figures, f"{score['gold']:,}", f"{score['found']:,}")
    console.print(table)
    console.print(
        f"{result['sentences']:,} sentences, {result['words']:,} words, {result['failed']} failed; "
        f"{result['tokens_per_second']:,} words per second. Gold words; spans of two words or more, outer "
        "punctuation stripped, each extent once; labels in the categories shown.",
        highlight=False,
    )
