"""The command line: prepare, train, eval, sample, inspect, report, doctor. Heavy imports inside commands.

Results go to stdout, everything else to stderr, so output can be piped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hdiff.errors import DataError, UserError

app = typer.Typer(
    name="hdiff",
    help="Structure-aware diffusion language models: prepare text, train, evaluate, sample, look inside.",
    epilog="Start: hdiff prepare builtin:pydoc --out data/pydoc && hdiff train recipes/quickstart.yaml",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Run = Annotated[Path, typer.Argument(help="Run folder that `hdiff train` wrote.", metavar="RUN")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def _version(wanted: bool) -> None:
    if wanted:
        from hdiff import __version__, provenance

        typer.echo(f"hdiff {__version__} ({provenance.commit() or 'installed package'})")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Version and commit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Full traceback on errors.")] = False,
) -> None:
    """Options before the command."""


@app.command(
    epilog="Examples:  hdiff prepare builtin:pydoc --out data/pydoc   |   "
    "hdiff prepare novels/ --out data/novels --levels clause,phrase --tokenizer train:8192 --workers 2   |   "
    "hdiff prepare train.txt --validation valid.txt --out data/mine"
)
def prepare(
    source: Annotated[
        str,
        typer.Argument(
            help="builtin:pydoc, builtin:phrase_bank, a .txt/.jsonl/.parquet/.csv file, folder or glob, or hf:NAME[:CONFIG[:SPLIT]]."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the prepared data set.")],
    validation: Annotated[
        str | None, typer.Option(help="Held-out source; otherwise a share of SOURCE.")
    ] = None,
    validation_fraction: Annotated[float, typer.Option(help="Share of documents held out.")] = 0.05,
    parser: Annotated[str, typer.Option(help="spacy, spacy:MODEL or plain (words only).")] = "spacy",
    levels: Annotated[
        str, typer.Option(help="Levels to keep besides word, comma-separated.")
    ] = "clause,phrase",
    tokenizer: Annotated[
        str,
        typer.Option(help="tokenizer.json or its folder, train:SIZE (byte-level BPE), words or words:SIZE."),
    ] = "train:4096",
    workers: Annotated[int, typer.Option(help="Parser processes.", min=1)] = 1,
    text_column: Annotated[str, typer.Option(help="Column of the text in tables.")] = "text",
    limit: Annotated[int | None, typer.Option(help="At most this many documents.", min=1)] = None,
    quiet: Quiet = False,
) -> None:
    """Parse text into nested spans and store it as an Arrow data set."""
    from hdiff.data.prepare import prepare as prepare_data
    from hdiff.progress import Progress

    display = Progress("prepare", quiet=quiet)

    def show(stage: str, done: int, total: int | None) -> None:
        if display.title != stage:
            display.close()
            display.title = stage
        display.update(done, total)

    try:
        manifest = prepare_data(
            source,
            out,
            validation=validation,
            validation_fraction=validation_fraction,
            parser=parser,
            levels=[level.strip() for level in levels.split(",") if level.strip()],
            tokenizer=tokenizer,
            workers=workers,
            text_column=text_column,
            limit=limit,
            progress=show,
        )
    finally:
        display.close()
    counts = ", ".join(
        f"{split}: {c['documents']:,} documents, {c['words']:,} words, {c['tokens']:,} tokens"
        for split, c in manifest["counts"].items()
    )
    rejected = sum(manifest["rejected"].values())
    refused = f"; {rejected} documents rejected (see {out / 'rejected.jsonl'})" if rejected else ""
    typer.echo(
        f"{out}: {counts}; levels {', '.join(manifest['levels'])}; parser {_parser_name(manifest)}{refused}"
    )


def _parser_name(manifest: dict[str, Any]) -> str:
    parser = manifest["parser"]
    return " ".join(str(parser[key]) for key in ("name", "model") if parser.get(key))


@app.command(
    epilog="Examples:  hdiff train recipes/quickstart.yaml   |   "
    "hdiff train recipes/quickstart.yaml output=runs/wide model.width=384 seed=1   |   "
    "hdiff train recipes/quickstart.yaml resume=auto   |   "
    "accelerate launch -m hdiff train recipes/quickstart.yaml"
)
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a YAML file.", metavar="RECIPE.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, dotted for sections.", metavar="[KEY=VALUE ...]")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a model from a recipe; resume=auto goes on where a run stopped."""
    from hdiff.recipe import load_recipe

    resolved = load_recipe(recipe, overrides or [])
    from hdiff.progress import Progress
    from hdiff.training import Trainer

    display = Progress(f"train {resolved.name}", quiet=quiet)
    try:
        trainer = Trainer(resolved, progress=display)
        stopped_by = trainer.run()
    finally:
        display.close()
    if stopped_by is not None:
        display.message(f"stopped by signal {stopped_by}; {resolved.output} is saved, go on with resume=auto")
        raise typer.Exit(128 + stopped_by)
    if trainer.accelerator.is_main_process:
        typer.echo(
            f"{resolved.output}: trained {resolved.train.steps} steps; next: hdiff eval {resolved.output}"
        )


@app.command(
    name="eval",
    epilog="Examples:  hdiff eval runs/quickstart   |   hdiff eval runs/quickstart --steps 1,4,16 --judge runs/judge --json",
)
def evaluate(
    run: Run,
    steps: Annotated[
        str | None, typer.Option(help="Step counts T, comma-separated; default: the recipe's.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Prepared data set; default: the one trained on.")] = None,
    judge: Annotated[str | None, typer.Option(help="Run folder of an autoregressive judge.")] = None,
    given_structure: Annotated[
        bool, typer.Option(help="Score with parsed units: a bound given the structure, not comparable.")
    ] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Bound on -log p, T-step bounds and sample quality on held-out text."""
    from hdiff.checkpoint import write_atomically
    from hdiff.progress import Progress
    from hdiff.run_evaluation import evaluate_run
    from hdiff.run_folder import RunFolder

    wanted = _whole_numbers(steps, "--steps") if steps is not None else None
    display = Progress(f"eval {run}", quiet=quiet)
    try:
        result = evaluate_run(
            RunFolder.load(run),
            steps=wanted,
            data=data,
            judge=judge,
            given_structure=given_structure,
            seed=seed,
            progress=display,
        )
    finally:
        display.close()
    name = "eval_given_structure.json" if given_structure else "eval.json"
    write_atomically(run / name, json.dumps(result, indent=1))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        from hdiff.evaluation_table import print_evaluation

        print_evaluation(result, title=str(run))


def _whole_numbers(text: str, option: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise DataError(
            f"{option} is '{text}'; give whole numbers separated by commas, for example 1,2,4"
        ) from error
    if any(number < 1 for number in numbers):
        raise DataError(f"{option} is '{text}'; step counts are at least 1")
    return sorted(set(numbers))


@app.command(
    epilog="Examples:  hdiff sample runs/quickstart --num 2 --steps 8   |   hdiff sample runs/quickstart --trajectory out.html"
)
def sample(
    run: Run,
    num: Annotated[int, typer.Option(help="Samples.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps T of the sampler.")] = 16,
    seed: Seed = 0,
    temperature: Annotated[
        float, typer.Option(help="Divides the logits; 1 samples the model as it is.")
    ] = 1.0,
    length: Annotated[int | None, typer.Option(help="Tokens per sample; default: the recipe's.")] = None,
    trajectory: Annotated[
        Path | None, typer.Option(help="Also write a page that shows the filling step by step.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw samples from a trained model."""
    from hdiff.checkpoint import write_atomically
    from hdiff.run_evaluation import sample_run
    from hdiff.run_folder import RunFolder

    loaded = RunFolder.load(run)
    record = sample_run(
        loaded,
        num_samples=num,
        num_steps=steps,
        seed=seed,
        temperature=temperature,
        length=length,
        parser=_optional_parser(loaded.record["data"]["parser"]),
    )
    write_atomically(run / "samples.json", json.dumps(record))
    if as_json:
        typer.echo(json.dumps(record))
    else:
        for number, drawn in enumerate(record["samples"], 1):
            typer.echo(f"--- sample {number} of {num}, {steps} steps, seed {seed}\n{drawn['text'].strip()}")
    if trajectory is not None:
        from hdiff.pages import trajectory_page

        write_atomically(trajectory, trajectory_page(record))
        typer.echo(f"trajectory: {trajectory}", err=True)


def _optional_parser(fingerprint: dict[str, str]) -> Any:
    """The parser a data set was made with, or None (said on stderr) if it is not installed here."""
    from hdiff.errors import ParserError
    from hdiff.parsers import load_parser

    spec = ":".join(fingerprint[key] for key in ("name", "model") if fingerprint.get(key))
    try:
        return load_parser(spec)
    except ParserError as error:
        typer.echo(f"spans are not coloured by level: {error}", err=True)
        return None


@app.command(
    epilog='Examples:  hdiff inspect "The old dog that barked slept."   |   hdiff inspect "A sentence." --html out.html --data data/pydoc'
)
def inspect(
    text: Annotated[str, typer.Argument(help="A sentence or two.")],
    parser: Annotated[str, typer.Option(help="spacy, spacy:MODEL or plain.")] = "spacy",
    level: Annotated[
        str, typer.Option(help="Units that are masked together: clause, phrase or word.")
    ] = "phrase",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Prepared data set whose word statistics give the salience; default: part of speech alone."
        ),
    ] = None,
    seed: Seed = 0,
    html: Annotated[Path | None, typer.Option(help="Also write a page with a slider over t.")] = None,
) -> None:
    """Show span tree, salience and the text at t = 0.1 ... 0.9."""
    if not text.split():
        raise DataError("the text has no word; give a sentence in quotes")
    from rich.console import Console

    from hdiff.inspection import draw, inspect_sentence
    from hdiff.parsers import InverseDocumentFrequency, load_parser

    salience = InverseDocumentFrequency()
    if data is not None:
        from hdiff.data.prepared import PreparedData

        salience = PreparedData.load(data).salience
    exploration = inspect_sentence(
        text, parser=load_parser(parser), level=level, seed=seed, salience=salience
    )
    draw(exploration, Console())
    if html is not None:
        from hdiff.checkpoint import write_atomically
        from hdiff.pages import inspection_page

        write_atomically(html, inspection_page(exploration))
        typer.echo(f"page: {html}", err=True)


@app.command(epilog="Example:  hdiff report runs/quickstart")
def report(run: Run) -> None:
    """Write RUN/report.html: curves, bounds, samples, corruption explorer, recipe; one offline file."""
    from hdiff.checkpoint import write_atomically
    from hdiff.report import build_report

    if (run / "run.json").is_file() and not (run / "exploration.json").exists():
        _explore(run)
    page = build_report(run)
    write_atomically(run / "report.html", page)
    typer.echo(str(run / "report.html"))


def _explore(run: Path) -> None:
    """Adds explorations of validation sentences to a run, where its data set and parser are at hand."""
    from hdiff.checkpoint import write_atomically
    from hdiff.run_exploration import explore_run
    from hdiff.run_folder import RunFolder

    loaded = RunFolder.load(run)
    parser = _optional_parser(loaded.record["data"]["parser"])
    if parser is None or "phrase" not in parser.levels:
        return
    try:
        explorations = explore_run(loaded, parser)
    except DataError as error:
        typer.echo(f"no corruption explorer in the report: {error}", err=True)
        return
    write_atomically(run / "exploration.json", json.dumps(explorations))


@app.command(epilog="Example:  hdiff doctor --json")
def doctor(as_json: AsJson = False) -> None:
    """Try what works here: parsers, attention kernels, devices, packages; and say how to get the rest."""
    from dataclasses import asdict

    from rich.console import Console

    from hdiff.doctor import diagnose, render

    checks = diagnose()
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks]))
    else:
        render(checks, Console())


def run(arguments: Sequence[str]) -> int:
    """Runs a command line and returns its exit code.

    Args:
        arguments: Words after `hdiff`.

    Returns:
        0 done, 2 the user's input, 1 ours, 128 + n stopped by signal n.
    """
    words = list(arguments)
    debug = "--debug" in words
    if debug:
        words = ["--debug", *(word for word in words if word != "--debug")]
    try:
        code = app(args=words, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except UserError as error:
        if debug:
            raise
        return _say(" ".join(str(error).split()), 2)
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the command line library
            return _say(error.format_message(), 2)
        if debug:
            raise
        return _say(
            f"internal error, {type(error).__name__}: {error} (--debug shows the traceback; please report it)",
            1,
        )


def _say(message: str, code: int) -> int:
    typer.echo(f"hdiff: {message}", err=True)
    return code
