"""The `hdiff parser` commands."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hdiff.commands.options import LARGEST, AsJson, Quiet, Seed, output_folder, print_json
from hdiff.errors import ParserError
from hdiff.parsers.benepar_settings import TrainingSettings

if TYPE_CHECKING:
    from hdiff.structure import SpanTree

BRACKETED = (".ptb", ".mrg")
KEYWORDS = ".jsonl"
By = Literal["file", "prefix"]

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
    "hdiff parser eval dev.conllu --by prefix --show 20   |   "
    "hdiff parser eval keywords.jsonl --salience combined",
)
def evaluate(
    gold: Annotated[
        list[Path],
        typer.Argument(
            help="Gold trees: brackets (.ptb, .mrg; spacing from the .conllu beside it) or dependencies "
            "(.conllu); or keywords (.jsonl with text and spans [first word, end word, slot])."
        ),
    ],
    parser: Annotated[
        str, typer.Option(help="As in prepare, or dependencies: constituents of the .conllu beside GOLD.")
    ] = "spacy",
    salience: Annotated[
        str | None, typer.Option(help="For keywords: the method, as in prepare; all of them if not given.")
    ] = None,
    by: Annotated[
        By | None,
        typer.Option(help="Also figures by file of GOLD, or by the genre that document names begin with."),
    ] = None,
    show: Annotated[
        int, typer.Option(help="List this many errors: span, gold, parser, sentence.", min=0, max=LARGEST)
    ] = 0,
    limit: Annotated[
        int | None,
        typer.Option(help="At most this many sentences or texts of each file.", min=1, max=LARGEST),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Spans of a parser against gold trees, or its words' salience against gold keywords."""
    if len(gold) == 1 and gold[0].is_file() and gold[0].suffix == KEYWORDS:
        from hdiff.parsers.keyword_evaluation import evaluate_salience

        _show_keywords(evaluate_salience(gold[0], parser, salience, limit=limit), gold[0], as_json)
        return
    if salience is not None:
        raise ParserError(f"--salience is measured against keywords, {gold[0]} has none; give a .jsonl file")
    from hdiff.commands.parser_tables import print_scores
    from hdiff.parsers.gold import read_gold, scores_of

    read = [read_gold(path, limit) for path in gold]
    result = scores_of(read, parser, by=by)
    result["errors"] = result["errors"][:show]
    if as_json:
        print_json(result)
    else:
        print_scores(result, ", ".join(path.name for path in gold), parser)


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
