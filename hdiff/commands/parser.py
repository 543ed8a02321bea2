"""The `hdiff parser` commands."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdiff.commands.options import LARGEST, AsJson, Quiet, Seed, output_folder, print_json
from hdiff.errors import ParserError
from hdiff.parsers.benepar_settings import TrainingSettings

if TYPE_CHECKING:
    from hdiff.structure import SpanTree

PROJECTED = "dependencies"
BRACKETED = (".ptb", ".mrg")
KEYWORDS = ".jsonl"

app = typer.Typer(
    help="Measure parsers and salience against gold, and train parsers.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(
    name="eval",
    epilog="Example:  hdiff parser eval dev.ptb --parser spacy   |   "
    "hdiff parser eval dev.ptb --parser dependencies   (constituents from dev.conllu beside it)   |   "
    "hdiff parser eval keywords.jsonl --salience combined",
)
def evaluate(
    gold: Annotated[
        Path,
        typer.Argument(
            help="Bracketed gold trees (.ptb, .mrg; spacing from the .conllu beside it), or keywords "
            "(.jsonl with text and spans [first word, end word, slot])."
        ),
    ],
    parser: Annotated[
        str, typer.Option(help="As in prepare, or dependencies: constituents of the .conllu beside GOLD.")
    ] = "spacy",
    salience: Annotated[
        str | None, typer.Option(help="For keywords: the method, as in prepare; all of them if not given.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most this many sentences or texts.", min=1, max=LARGEST)
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Spans of a parser against gold trees, or its words' salience against gold keywords."""
    if gold.is_file() and gold.suffix == KEYWORDS:
        from hdiff.parsers.keyword_evaluation import evaluate_salience

        _show_keywords(evaluate_salience(gold, parser, salience, limit=limit), gold, as_json)
        return
    if salience is not None:
        raise ParserError(f"--salience is measured against keywords, {gold} has none; give a .jsonl file")
    result = _scores(gold, _trees(gold, limit), parser)
    if as_json:
        print_json(result)
    else:
        _print(result, gold, parser)


@app.command(
    epilog="Example:  hdiff parser train train.ptb --dev dev.ptb --out parser   |   then: "
    "hdiff prepare corpus.txt --parser benepar:parser/model.pt --out data/corpus"
)
def train(
    gold: Annotated[list[Path], typer.Argument(help="Bracketed gold trees (.ptb, .mrg) to train on.")],
    dev: Annotated[list[Path], typer.Option(help="Gold trees to choose the best epoch by; repeatable.")],
    out: Annotated[Path, output_folder("Folder of the model; a stopped training resumes there.")],
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Folder of a pretrained encoder (transformers); without it, words from characters."
        ),
    ] = None,
    epochs: Annotated[
        int, typer.Option(help="Passes over the trees.", min=1, max=10_000)
    ] = TrainingSettings.epochs,
    batch_size: Annotated[
        int, typer.Option(help="Sentences per update.", min=1, max=LARGEST)
    ] = TrainingSettings.batch_size,
    learning_rate: Annotated[
        float, typer.Option(help="Peak, of what starts untrained.")
    ] = TrainingSettings.learning_rate,
    encoder_learning_rate: Annotated[
        float, typer.Option(help="Peak, of the encoder.")
    ] = TrainingSettings.encoder_learning_rate,
    width: Annotated[
        int, typer.Option(help="Width of the layers above the words.", min=16, max=65_536)
    ] = TrainingSettings.d_model,
    layers: Annotated[
        int, typer.Option(help="Number of these layers.", min=1, max=1_000)
    ] = TrainingSettings.num_layers,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Compute in bfloat16, for processors that are fast at it.")
    ] = TrainingSettings.bf16,
    limit: Annotated[
        int | None, typer.Option(help="At most this many trees of each file.", min=1, max=LARGEST)
    ] = None,
    seed: Seed = TrainingSettings.seed,
    quiet: Quiet = False,
) -> None:
    """Train a benepar constituency parser; prints bracket F1 (EVALB) on the development trees."""
    from hdiff.parsers.benepar_training import train as train_parser
    from hdiff.progress import Progress

    settings = TrainingSettings(
        encoder=encoder,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        encoder_learning_rate=encoder_learning_rate,
        d_model=width,
        num_layers=layers,
        bf16=bf16,
        seed=seed,
    )
    trees = [tree for path in gold for tree in _trees(path, limit)]
    dev_trees = [tree for path in dev for tree in _trees(path, limit)]
    display = Progress("train", quiet=quiet)

    def show(line: dict[str, float]) -> None:
        display.update(int(line["step"]), int(line["steps"]), f"loss {line['loss']:.2f}")
        if "f1" in line:
            f1 = 100 * line["f1"]
            display.message(f"epoch {line['epoch']:.0f}: loss {line['loss']:.2f}, dev F1 {f1:.1f}")

    try:
        best = train_parser(trees, dev_trees, out, settings, report=show)
    finally:
        display.close()
    model = out / ("model.pt" if encoder is None else "model")
    typer.echo(
        f"{model}: dev F1 {100 * best['f1']:.1f} (precision {100 * best['precision']:.1f}, recall "
        f"{100 * best['recall']:.1f}, epoch {best['epoch']:.0f}); use it with --parser benepar:{model}"
    )


def _trees(gold: Path, limit: int | None) -> list[SpanTree]:
    from hdiff.parsers.treebank import gold_sentences

    if not gold.is_file() or gold.suffix not in BRACKETED:
        raise ParserError(f"{gold} is no file of bracketed trees; give a .ptb or .mrg file")
    return list(islice(gold_sentences(gold), limit))


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
    fallbacks = getattr(loaded, "num_fallbacks", 0)
    result: dict[str, Any] = evaluate_spans(trees, loaded.parse_words(words))
    result["fallbacks"] = getattr(loaded, "num_fallbacks", 0) - fallbacks
    groups = [[tree.text for tree in trees[first : first + 20]] for first in range(0, len(trees), 20)]
    try:
        return {**result, "sentence_boundaries": sentence_boundaries(loaded, groups)}
    except ParserError:  # a treebank has trees for its own texts only
        return result


def _print(result: dict[str, Any], gold: Path, parser: str) -> None:
    from rich.table import Table

    from hdiff.progress import console as make_console

    console = make_console()
    table = Table(title=f"{parser} on {gold.name}", title_justify="left", box=None)
    for column in ("spans", "precision", "recall", "F1", "gold", "found"):
        table.add_column(column, justify="left" if column == "spans" else "right")
    rows = {"unlabelled": result["unlabelled"], "labelled": result["labelled"], "EVALB": result["evalb"]}
    rows |= {f"level {level}": score for level, score in result["by_level"].items()}
    rows |= {f"label {label}": score for label, score in result["by_label"].items()}
    if "sentence_boundaries" in result:
        rows["sentence ends"] = result["sentence_boundaries"]
    for name, score in rows.items():
        figures = (f"{100 * score[key]:.1f}" for key in ("precision", "recall", "f1"))
        table.add_row(name, *figures, f"{score['gold']:,}", f"{score['found']:,}")
    console.print(table)
    console.print(
        f"{result['sentences']:,} sentences, {result['words']:,} words, {result['failed']} failed, "
        f"{result.get('fallbacks', 0)} too long for the parser; "
        f"{result['tokens_per_second']:,} words per second. Gold words; spans of two words or more, outer "
        "punctuation stripped, each extent once; labels in the categories shown. EVALB: every bracket with "
        "its treebank label.",
        highlight=False,
    )


def _show_keywords(result: dict[str, Any], gold: Path, as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    from rich.table import Table

    from hdiff.progress import console

    table = Table(title=f"keywords of {gold.name}", title_justify="left", box=None)
    table.add_column("salience")
    table.add_column("ROC AUC", justify="right")
    table.add_column("µs per word", justify="right")
    for name, row in result["saliences"].items():
        table.add_row(name, f"{row['roc_auc']:.3f}", f"{row['microseconds_per_word']:.1f}")
    console().print(table)
    typer.echo(
        f"{result['texts']:,} texts, {result['words']:,} words, {result['keywords']:,} of them keywords. "
        "ROC AUC: chance that a keyword scores higher than another word, over all texts together."
    )
