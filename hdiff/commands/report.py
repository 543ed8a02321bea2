"""The `hdiff report` command."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from hdiff.commands.options import Quiet, optional_parser, output_file, say, say_if_unfinished
from hdiff.errors import DataError
from hdiff.outputs import check_output_file, check_output_folder

Target = Annotated[
    Path,
    typer.Argument(
        help="Run folder, builtin:stories, or an ablation: its folder or its YAML file.",
        metavar="RUN|ABLATION",
    ),
]


def report(
    target: Target,
    output: Annotated[
        Path | None,
        output_file("Where to write the page of a run; default: RUN/report.html, NAME.html of builtin:NAME."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write one offline page: RUN/report.html, or the tables, plots and page of an ablation."""
    from hdiff.ablation.folder import find_ablation
    from hdiff.shipped import is_builtin, model_folder, record_folder

    if is_builtin(target):
        output = output or Path(f"{model_folder(target).name}.html")
        target = record_folder(target)
    if (target / "run.json").is_file():
        _report_run(target, output or target / "report.html")
        return
    ablation = find_ablation(target)
    from hdiff.ablation.page import write_ablation
    from hdiff.ablation.results import read_results
    from hdiff.ablation.summary import summarise

    if output is not None:
        raise DataError(
            f"--output is for the page of a run, {target} is an ablation, whose files lie in its folder; "
            f"leave it out"
        )
    check_output_folder(ablation.output, f"{ablation.command} --table")
    for file in write_ablation(summarise(ablation, read_results(ablation))):
        say(str(file), err=False)


def _report_run(run: Path, page: Path) -> None:
    from hdiff.files import write_atomically
    from hdiff.pages.report import report_page
    from hdiff.runs.checkpoint import has_checkpoint
    from hdiff.runs.record import RunRecord

    check_output_file(page, "--output FILE")
    record = RunRecord.read(run)
    say_if_unfinished(run)
    if record.evaluation is None:
        say(f"no figures in the report; measure them: hdiff eval {shlex.quote(str(run))}")
    if has_checkpoint(run / "checkpoints"):
        explorations = _explore(run, record.explorations)
        record = replace(record, explorations=explorations, analysis=_analyse(run, record.analysis))
    write_atomically(page, report_page(record))
    say(str(page), err=False)


def _explore(run: Path, earlier: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Explorations of validation sentences, made anew where data set and parser are at hand."""
    from hdiff.data.prepared import PreparedData
    from hdiff.pages.exploration import explore_run, is_current
    from hdiff.runs.folder import RunFolder
    from hdiff.runs.weights import weights_of

    weights = weights_of(run)  # learned speeds are among them
    if is_current(earlier, weights):
        return earlier
    loaded = RunFolder.load(run)
    try:
        salience = PreparedData.load(loaded.recipe.data.path).salience
        parser = optional_parser(loaded.record["data"]["parser"], annotations=salience.needs)
        if parser is None or "phrase" not in parser.levels:
            return earlier
        explorations = [{**each, "weights": weights} for each in explore_run(loaded, parser)]
    except DataError as error:
        say(f"no corruption explorer in the report: {error}")
        return earlier
    _keep(run / "exploration.json", json.dumps(explorations))
    return explorations


def _analyse(run: Path, earlier: dict[str, Any] | None) -> dict[str, Any] | None:
    """Losses per label and calibration of the weights that are there, where the data set is at hand."""
    from hdiff.analysis.run import analyse_run, is_current
    from hdiff.runs.folder import RunFolder
    from hdiff.runs.weights import weights_of

    weights = weights_of(run)
    if is_current(earlier, weights):
        return earlier
    try:
        analysis = analyse_run(RunFolder.load(run), weights=weights)
    except DataError as error:
        say(f"no loss per label and no calibration in the report: {error}")
        return earlier
    _keep(run / "analysis.json", json.dumps(analysis, indent=1))
    return analysis


def _keep(file: Path, content: str) -> None:
    """For the next report; a run folder that is read-only does without."""
    from hdiff.files import write_atomically

    with suppress(OSError):
        write_atomically(file, content)
