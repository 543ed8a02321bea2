"""The `hdiff ablate` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdiff.commands.options import AsJson, Quiet, print_json, say
from hdiff.outputs import check_output_folder


def ablate(
    file: Annotated[Path, typer.Argument(help="Ablation, a YAML file.", metavar="ABLATION.yaml")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Keys to change in every run: data.path=data/mine; also output, seeds, name."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(help="Trainings at a time; cores are divided among them.", max=10_000)
    ] = 1,
    launcher: Annotated[
        str | None, typer.Option(help="Takes the place of python for trainings: 'accelerate launch'.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print runs and what differs; train nothing.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Make the tables from what is there.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train and compare variants of a recipe over seeds: one table, one page; started again, it resumes."""
    from hdiff.ablation import load_ablation
    from hdiff.ablation.checks import check_ablation
    from hdiff.ablation.results import read_results

    ablation = load_ablation(file, overrides or [])
    if not (plan or table):
        check_output_folder(ablation.output, f"{ablation.command} output=DIR")
    checked = check_ablation(ablation, data="if there" if plan else "unread" if table else "needed")
    if plan:
        from hdiff.ablation.plan import plan as make_plan
        from hdiff.ablation.plan import plan_lines

        for problem in checked.missing:
            say(f"before it can run: {problem}")
        planned = make_plan(ablation, checked.parameters, read_results(ablation))
        print_json(planned) if as_json else typer.echo("\n".join(plan_lines(planned)))
        return
    stopped_by = None
    if not table:
        from hdiff.ablation.runs import run_ablation

        stopped_by = run_ablation(ablation, jobs=jobs, launcher=launcher, say=say)

    from hdiff.ablation.page import write_ablation
    from hdiff.ablation.summary import as_json as to_json
    from hdiff.ablation.summary import summarise
    from hdiff.ablation.table import plain_text
    from hdiff.errors import DataError

    if table and not ablation.output.is_dir():
        raise DataError(f"no runs in {ablation.output}; train them:", ablation.command)
    summary = summarise(ablation, read_results(ablation))
    try:
        files = write_ablation(summary)
        note = f"written: {', '.join(str(path) for path in files)}"
    except OSError as error:  # the tables of runs that lie in a read-only folder
        note = f"{ablation.output} cannot be written ({error.strerror}); the tables are only printed"
    print_json(to_json(summary)) if as_json else typer.echo(plain_text(summary))
    say(note)
    for state, runs in (("FAILED", summary.failed), ("not finished", summary.unfinished)):
        for name, reason in runs.items():
            typer.echo(f"{state}: {name}, {reason}", err=True)
    if stopped_by is not None:
        raise typer.Exit(128 + stopped_by)
    is_all_there = not (summary.failed or summary.unfinished)
    has_results = any(summary.spreads.values())
    if not is_all_there and not (table and has_results and not summary.failed):
        typer.echo(f"the tables are incomplete; to resume: {ablation.command}", err=True)
        raise typer.Exit(1)
