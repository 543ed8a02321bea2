"""The `hdiff tour` command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hdiff.commands.options import AsJson, Component, Quiet, Seed, folder_of, output_file, print_json, say
from hdiff.errors import DataError


def tour(
    model: Annotated[
        Path,
        typer.Argument(
            help="Folder that `hdiff train` or `hdiff export` wrote; default: builtin:stories.",
            metavar="FOLDER",
            callback=folder_of,
        ),
    ] = Path("builtin:stories"),
    beside: Annotated[
        Path | None,
        typer.Option(
            help="Another model, or the --json of its tour; builtin:stories has its token-masking twin."
        ),
    ] = None,
    html: Annotated[
        Path | None, output_file("Also write a page that shows every text being written.")
    ] = None,
    component: Component = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show what a model writes: in 1, 4 and 16 steps, around given words, in place of a phrase."""
    from hdiff.files import write_atomically
    from hdiff.pages.terminal_text import visible_controls
    from hdiff.pages.tour import same_as, tour_page
    from hdiff.shipped import model_folder, model_name, twin_tour

    if beside is None and model_name(model) == "builtin:stories":
        beside = twin_tour()
    tours = [_tour(model, component, seed)]
    if beside is not None:
        tours.append(_read(beside) if beside.is_file() else _tour(model_folder(beside), component, seed))
    if as_json:
        print_json(tours[0])
    else:
        for index, part in enumerate(tours[0]["parts"]):
            typer.echo(f"\n=== {part['title']}" + (f": {part['given']}" if part["given"] else ""))
            for one in tours:
                if (same := same_as(one)[index]) is not None:
                    typer.echo(f"--- {one['name']}\n(the same texts as: {same})")
                    continue
                for sample in one["parts"][index]["trajectory"]["samples"]:
                    text = "".join(piece["text"] for piece in sample["pieces"]).strip()
                    shown = visible_controls(text) if sys.stdout.isatty() else text
                    typer.echo(f"--- {one['name']}\n{shown}")
    if html is not None:
        write_atomically(html, tour_page(tours, title="What a small model writes"))
        say(f"page: {html}")


def _tour(model: Path, component: list[str] | None, seed: int) -> dict[str, Any]:
    from hdiff.control.tour import tour as draw
    from hdiff.sharing.shared_run import load_model

    return draw(load_model(model, components=component or ()), seed=seed)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read {file} ({error}); make it with", "hdiff tour FOLDER --json > FILE"
        ) from error
    if not isinstance(content, dict) or "parts" not in content:
        raise DataError(f"{file} is no tour; make one with", "hdiff tour FOLDER --json > FILE")
    return content
