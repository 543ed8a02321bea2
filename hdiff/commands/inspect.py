"""The `hdiff inspect` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdiff.commands.options import NoLayout, OwnLabels, Quiet, Seed, output_file, parser_with, say
from hdiff.errors import DataError


def inspect(
    text: Annotated[str, typer.Argument(help="A sentence or two.")],
    parser: Annotated[
        list[str] | None,
        typer.Option(
            help="spacy, spacy:MODEL, auto, benepar:MODEL, plain, or a control such as random:spacy; repeat "
            "it to see several side by side; spacy if not given."
        ),
    ] = None,
    no_layout: NoLayout = False,
    own_labels: OwnLabels = False,
    level: Annotated[
        str,
        typer.Option(
            help="Units that are masked together: clause, phrase or word; or several, comma-separated."
        ),
    ] = "phrase",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Prepared data set whose word statistics give the salience; default: part of speech alone."
        ),
    ] = None,
    salience: Annotated[
        str | None,
        typer.Option(
            help="Method without counts of a corpus, for example textrank or combined; not with --data."
        ),
    ] = None,
    seed: Seed = 0,
    html: Annotated[Path | None, output_file("Also write a page with a slider over t.")] = None,
    quiet: Quiet = False,
) -> None:
    """Show span tree, salience and the text at t = 0.1 ... 0.9, for one parser or several."""
    if not text.split():
        raise DataError("the text has no word; give a sentence in quotes")
    if data is not None and salience is not None:
        raise DataError("--data brings its own salience; give --data or --salience")
    from hdiff.pages.inspection import inspect_sentence
    from hdiff.pages.inspection_drawing import draw
    from hdiff.parsers import WordStatistics, load_parser, salience_class
    from hdiff.parsers.languages import misfit
    from hdiff.progress import console

    if data is not None:
        from hdiff.data.prepared import PreparedData

        scores = PreparedData.load(data).salience
    else:
        scores = salience_class(salience or "idf").of(WordStatistics())
    specs = [parser_with(spec, no_layout=no_layout, own_labels=own_labels) for spec in parser or ["spacy"]]
    loaded = [load_parser(_with_single_words(spec), annotations=scores.needs) for spec in specs]
    levels = [name.strip() for name in level.split(",")]
    explorations = [
        inspect_sentence(
            text,
            parser=reader,
            level=name,
            seed=seed,
            salience=scores,
            title=", ".join(
                part for part, several in ((spec, specs), (f"units: {name}", levels)) if len(several) > 1
            )
            or None,
        )
        for spec, reader in zip(specs, loaded, strict=True)
        for name in levels
    ]
    draw(*explorations, console=console())
    for remark in dict.fromkeys(misfit([text], reader.language) for reader in loaded):
        if remark is not None:
            say(remark)
    if html is not None:
        from hdiff.files import write_atomically
        from hdiff.pages.page import inspection_page

        write_atomically(html, inspection_page(*explorations))
        say(f"page: {html}")


def _with_single_words(spec: str) -> str:
    """The parser, with phrases of single words if it can give them."""
    from hdiff.parsers.loading import with_options

    return with_options(spec, "single-words") if spec.split(":")[0].split("+")[0] == "spacy" else spec
