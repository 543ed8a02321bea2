"""Arguments and options that several commands share."""

from __future__ import annotations

import json
import logging
import warnings
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import typer

from hdiff.files import finite
from hdiff.outputs import PAGE, check_output_file, check_output_folder


def folder_of(path: Path) -> Path:
    """The folder of a model that has a name, `builtin:NAME`; any other path as it is."""
    from hdiff.shipped import model_folder

    return model_folder(path)


Run = Annotated[Path, typer.Argument(help="Run folder that `hdiff train` wrote.", metavar="RUN")]
Model = Annotated[
    Path,
    typer.Argument(
        help="Folder that `hdiff train` or `hdiff export` wrote, or builtin:stories, which comes with hdiff.",
        metavar="FOLDER",
        callback=folder_of,
    ),
]

_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)


def _hush(context: typer.Context, quiet: bool) -> bool:
    """With --quiet libraries say nothing either, until the command ends."""
    _QUIET.set(quiet)
    if quiet:
        context.with_resource(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        context.call_on_close(lambda: logging.disable(logging.NOTSET))
    return quiet


Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print results and errors, nothing else.", callback=_hush),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value on stdout.")]
Component = Annotated[
    list[str] | None,
    typer.Option(
        help="Class of another package that a shared model may use, module:Class or a name; may be repeated.",
        metavar="NAME",
    ),
]
LARGEST = 2**31 - 1
"""Largest count that a command takes."""
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=-(2**63), max=2**63 - 1)]


def output_file(text: str, begins: bytes = PAGE) -> Any:
    """An option that names a file to write, which is tried before the command begins."""

    def try_file(context: typer.Context, parameter: typer.CallbackParam, path: Path | None) -> Path | None:
        if path is not None and not context.resilient_parsing:
            check_output_file(path, f"{parameter.opts[0]} FILE", begins)
        return path

    return typer.Option(help=text, callback=try_file, metavar="FILE")


def output_folder(text: str) -> Any:
    """As `output_file`, of a folder."""
    return typer.Option(help=text, callback=_try_folder, metavar="DIR")


def _try_folder(context: typer.Context, parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    if path is not None and not context.resilient_parsing:
        check_output_folder(path, f"{parameter.opts[0]} DIR")
    return path


def say_if_unfinished(run: Path) -> None:
    """Says on stderr that a run has not been trained to its end, as what is made of it looks finished."""
    import shlex

    from hdiff.runs.record import read_run

    if (run / "run.json").is_file() and not read_run(run)["steps"]:
        recipe = shlex.quote(str(run / "recipe.yaml"))
        say(
            f"{run} is not trained to its end, its newest checkpoint is used; resume: hdiff train {recipe} "
            f"output={shlex.quote(str(run))} resume=auto"
        )


def say_loading(run: Path) -> None:
    """Says what is loaded, if it is there: importing torch alone may take seconds."""
    from hdiff.shipped import model_name

    if run.is_dir():
        say(f"loading {model_name(run)}")


def say(text: str, *, err: bool = True) -> None:
    """Prints a remark that is no result, unless `--quiet` was given."""
    if not _QUIET.get():
        typer.echo(text, err=err)


def print_json(value: Any) -> None:
    """Prints one JSON value on stdout; numbers that JSON lacks (NaN, an infinite KL) are null."""
    typer.echo(json.dumps(finite(value), allow_nan=False))


def sampler_spec(text: str) -> dict[str, Any]:
    """`{kind: name, ...}` from `--sampler`, which may be a name alone.

    Raises:
        RecipeError: If it is neither.
    """
    from hdiff.errors import RecipeError
    from hdiff.strict_yaml import parse_yaml

    value = parse_yaml(text, where="--sampler")
    if isinstance(value, str):
        return {"kind": value}
    if not isinstance(value, dict) or "kind" not in value:
        raise RecipeError(
            f"--sampler is '{text}'; give a name or a kind with its options:",
            "--sampler '{kind: confidence, threshold: 0.9}'",
        )
    return value


def optional_parser(fingerprint: dict[str, str], *, annotations: tuple[str, ...] = ()) -> Any:
    """The parser a data set was made with, or None (said on stderr) if it is not installed here.

    `annotations` is what trees must tell besides spans, as `load_parser` takes it.
    """
    from hdiff.data.prepared import parser_spec
    from hdiff.errors import ParserError
    from hdiff.parsers import load_parser

    try:
        return load_parser(parser_spec(fingerprint), annotations=annotations)
    except ParserError as error:
        say(f"spans are not coloured by level: {error}")
        return None


NoLayout = Annotated[
    bool,
    typer.Option("--no-layout", help="Do not end sentences at blank lines, headings, list items and cells."),
]
OwnLabels = Annotated[
    bool, typer.Option("--own-labels", help="Clauses keep the parser's names, not the Penn Treebank's.")
]
SingleWords = Annotated[
    bool, typer.Option("--single-words", help="Single words that are phrases get a phrase, too.")
]


def parser_with(spec: str, *, no_layout: bool, own_labels: bool, single_words: bool = False) -> str:
    """The specification of a parser with the options of the command line."""
    from hdiff.parsers.loading import with_options

    flags = {"no-layout": no_layout, "own-labels": own_labels, "single-words": single_words}
    return str(with_options(spec, *(name for name, is_given in flags.items() if is_given)))
