"""The command line: registers the commands and turns errors into exit codes.

Results go to stdout, everything else to stderr, so output can be piped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from hdiff.commands.ablate import ablate
from hdiff.commands.audit import audit
from hdiff.commands.diagnose import diagnose
from hdiff.commands.doctor import doctor
from hdiff.commands.evaluate import evaluate
from hdiff.commands.export import export
from hdiff.commands.inspect import inspect
from hdiff.commands.parser import app as parser_app
from hdiff.commands.prepare import prepare
from hdiff.commands.report import report
from hdiff.commands.sample import sample
from hdiff.commands.serve import serve
from hdiff.commands.tour import tour
from hdiff.commands.train import train
from hdiff.errors import CPU_ALLOCATOR, UserError
from hdiff.pages.terminal_text import visible_controls

app = typer.Typer(
    name="hdiff",
    help="Structure-aware diffusion language models: prepare text, train, evaluate, sample, look inside.",
    epilog="Start: hdiff tour   |   hdiff sample builtin:stories --infill 'One day, [8].'   |   make demo",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from hdiff import __version__
        from hdiff.runs import provenance

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


app.command(
    epilog="Examples:  hdiff prepare builtin:pydoc --out data/pydoc   |   "
    "hdiff prepare novels/ --out data/novels --levels clause,phrase --tokenizer train:8192 --workers 2   |   "
    "hdiff prepare train.txt --validation valid.txt --out data/mine"
)(prepare)
app.command(
    epilog="Examples:  hdiff train recipes/quickstart.yaml   |   "
    "hdiff train recipes/quickstart.yaml output=runs/wide model.width=384 seed=1   |   "
    "hdiff train recipes/quickstart.yaml resume=auto   |   "
    "accelerate launch -m hdiff train recipes/quickstart.yaml"
)(train)
app.command(
    name="eval",
    epilog="Examples:  hdiff eval runs/quickstart   |   "
    "hdiff eval runs/quickstart --steps 1,4,16 --judge runs/judge --json",
)(evaluate)
app.command(
    epilog="Examples:  hdiff sample runs/quickstart --num 2 --steps 8   |   "
    "hdiff sample runs/quickstart --trajectory out.html"
)(sample)
app.command(
    epilog="Examples:  hdiff tour --html tour.html   |   hdiff tour runs/mine --beside builtin:stories"
)(tour)
app.command(
    epilog='Examples:  hdiff inspect "The old dog that barked slept."   |   '
    'hdiff inspect "A sentence." --html out.html --data data/pydoc'
)(inspect)
app.command(
    epilog="Examples:  hdiff serve runs/quickstart   |   hdiff serve shared/quickstart --port 0 --open"
)(serve)
app.command(epilog="Examples:  hdiff report runs/quickstart   |   hdiff report runs/ablations/levels")(report)
app.command(
    epilog="Examples:  hdiff export runs/quickstart shared/quickstart --license apache-2.0   |   "
    "hdiff export runs/quickstart shared/quickstart --push user/quickstart"
)(export)
app.command(
    epilog="Examples:  hdiff audit   |   hdiff audit --recipe recipes/quickstart.yaml   |   "
    "hdiff audit --corruption mypackage.noise:Mine --json"
)(audit)
app.command(
    epilog="Examples:  hdiff ablate recipes/ablations/levels.yaml --plan   |   "
    "hdiff ablate recipes/ablations/levels.yaml --jobs 2   |   "
    "hdiff ablate recipes/ablations/levels.yaml --table --json"
)(ablate)
app.command(
    epilog="Examples:  hdiff diagnose runs/quickstart   |   hdiff diagnose hf:FOLDER --text held_out.txt"
)(diagnose)
app.command(epilog="Example:  hdiff doctor --json")(doctor)


app.add_typer(parser_app, name="parser")


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
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        if _of_an_interrupt(error):
            return _say("interrupted", 130)
        if isinstance(error, UserError) and not debug:
            return _say(str(error), 2)
        if hasattr(error, "format_message"):  # a usage error of the command line library
            return _say(error.format_message(), 2)
        if debug:
            raise
        if isinstance(error, ModuleNotFoundError):
            from hdiff.extras import missing_package

            remedy = missing_package(error)
            if remedy is not None:
                return _say(str(remedy), 2)
        if (sentence := _of_the_system(error)) is not None:
            return _say(sentence, 2)
        from hdiff.plugins import place_in_own_file

        if (place := place_in_own_file(error)) is not None:
            failed = f"{type(error).__name__}: {error}"
            return _say(f"{failed} ({place}); mend that file, --debug shows the traceback", 2)
        return _say(
            f"internal error, {type(error).__name__}: {error} "
            f"(--debug shows the traceback; please report it)",
            1,
        )


def _of_an_interrupt(error: BaseException | None) -> bool:
    """Whether an interrupt was on its way when it was raised, as by a file that could not be closed then."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _of_the_system(error: Exception) -> str | None:
    """What the machine refused, for whoever can change that; None of an error that is ours."""
    from hdiff.files import NO_ROOM

    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return f"no room to write ({error.strerror}); free some space, or write elsewhere"
    if isinstance(error, OSError) and error.errno is not None:
        place = error.filename2 or error.filename or "a file or device"
        return f"the system refuses {place} ({error.strerror}); see to it that it can be read and written"
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        part = error.object[max(0, error.start - 20) : error.end]
        return f"{part!r} holds bytes that are no UTF-8; give texts and names in UTF-8"
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop from "):  # of Path.resolve
        return f"a link leads to itself ({error}); give another file or folder"
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if is_memory or CPU_ALLOCATOR in str(error):
        return "out of memory; ask for fewer or shorter texts, or use a machine with more memory"
    return None


def _say(message: str, code: int) -> int:
    """Prints one line, without control characters that a name or a value may hold."""
    with suppress(OSError):  # stderr may be full, too; the exit code still tells
        typer.echo(f"hdiff: {visible_controls(' '.join(message.split()))}", err=True)
    return code
