"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Run = Annotated[Path, typer.Argument(help="Run folder that `hdiff train` wrote.", metavar="RUN")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def optional_parser(fingerprint: dict[str, str], *, annotations: tuple[str, ...] = ()) -> Any:
    """The parser a data set was made with, or None (said on stderr) if it is not installed here.

    `annotations` is what trees must tell besides spans, as `load_parser` takes it.
    """
    from hdiff.errors import ParserError
    from hdiff.parsers import load_parser

    spec = ":".join(fingerprint[key] for key in ("name", "model") if fingerprint.get(key))
    try:
        return load_parser(spec, annotations=annotations)
    except ParserError as error:
        typer.echo(f"spans are not coloured by level: {error}", err=True)
        return None
