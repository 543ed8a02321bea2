"""The `hdiff report` command."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from hdiff.commands.options import Run, optional_parser
from hdiff.errors import DataError


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
    from hdiff.data.prepared import PreparedData
    from hdiff.run_exploration import explore_run
    from hdiff.run_folder import RunFolder

    loaded = RunFolder.load(run)
    try:
        salience = PreparedData.load(loaded.recipe.data.path).salience
        parser = optional_parser(loaded.record["data"]["parser"], annotations=salience.needs)
        if parser is None or "phrase" not in parser.levels:
            return
        explorations = explore_run(loaded, parser)
    except DataError as error:
        typer.echo(f"no corruption explorer in the report: {error}", err=True)
        return
    write_atomically(run / "exploration.json", json.dumps(explorations))
