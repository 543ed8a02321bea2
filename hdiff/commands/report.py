"""The `hdiff report` command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hdiff.commands.options import optional_parser
from hdiff.errors import DataError

Target = Annotated[
    Path,
    typer.Argument(help="Run folder, or an ablation: its folder or its YAML file.", metavar="RUN|ABLATION"),
]


def report(target: Target) -> None:
    """Write one offline page: RUN/report.html, or the tables, plots and page of an ablation."""
    from hdiff.ablation.folder import find_ablation

    if (target / "run.json").is_file():
        _report_run(target)
        return
    ablation = find_ablation(target)
    from hdiff.ablation.page import write_ablation
    from hdiff.ablation.results import read_results
    from hdiff.ablation.summary import summarise

    for file in write_ablation(summarise(ablation, read_results(ablation))):
        typer.echo(str(file))


def _report_run(run: Path) -> None:
    from hdiff.pages.report import build_report
    from hdiff.runs.checkpoint import has_checkpoint, write_atomically
    from hdiff.runs.record import RunRecord

    record = RunRecord.read(run)
    if has_checkpoint(run / "checkpoints"):
        _explore(run, record.explorations)
        _analyse(run, record.analysis)
    page = build_report(run)
    write_atomically(run / "report.html", page)
    typer.echo(str(run / "report.html"))


def _explore(run: Path, found: list[dict[str, Any]] | None) -> None:
    """Adds explorations of validation sentences to a run, where its data set and parser are at hand."""
    from hdiff.data.prepared import PreparedData
    from hdiff.pages.exploration import explore_run, is_current
    from hdiff.runs.checkpoint import write_atomically
    from hdiff.runs.folder import RunFolder

    if is_current(found):
        return
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


def _analyse(run: Path, found: dict[str, Any] | None) -> None:
    """Adds losses per label and calibration of the weights that are there, where the data set is at hand."""
    from hdiff.analysis.run import analyse_run, is_current
    from hdiff.runs.checkpoint import write_atomically
    from hdiff.runs.folder import RunFolder
    from hdiff.runs.weights import weights_of

    weights = weights_of(run)
    if is_current(found, weights):
        return
    try:
        analysis = analyse_run(RunFolder.load(run), weights=weights)
    except DataError as error:
        typer.echo(f"no loss per label and no calibration in the report: {error}", err=True)
        return
    write_atomically(run / "analysis.json", json.dumps(analysis, indent=1))
