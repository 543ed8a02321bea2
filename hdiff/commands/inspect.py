"""The `hdiff inspect` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdiff.commands.options import Seed
from hdiff.errors import DataError


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
    from hdiff.parsers import InverseDocumentFrequency, Salience, load_parser

    salience: Salience = InverseDocumentFrequency()
    if data is not None:
        from hdiff.data.prepared import PreparedData

        salience = PreparedData.load(data).salience
    exploration = inspect_sentence(
        text,
        parser=load_parser(parser, annotations=salience.needs),
        level=level,
        seed=seed,
        salience=salience,
    )
    draw(exploration, Console())
    if html is not None:
        from hdiff.checkpoint import write_atomically
        from hdiff.pages import inspection_page

        write_atomically(html, inspection_page(exploration))
        typer.echo(f"page: {html}", err=True)
