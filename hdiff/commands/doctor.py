"""The `hdiff doctor` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdiff.commands.options import AsJson, Quiet, print_json


def doctor(
    folder: Annotated[
        Path | None, typer.Argument(help="Look at a released checkpoint instead: will it be a trunk?")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Try what works here: parsers, attention kernels, devices, packages; and say how to get the rest.

    With the folder of a released model, say what it is and whether a training can start from it.
    """
    from dataclasses import asdict

    from hdiff.doctor import diagnose, render
    from hdiff.progress import console

    if folder is None:
        checks = diagnose()
    else:
        from hdiff.models.released.examination import examine

        checks = examine(folder)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        render(checks, console())
