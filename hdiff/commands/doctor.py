"""The `hdiff doctor` command."""

from __future__ import annotations

import json

import typer

from hdiff.commands.options import AsJson


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
