"""The `hdiff train` command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdiff.commands.options import Quiet, say
from hdiff.outputs import check_output_folder

if TYPE_CHECKING:
    from hdiff.training.build import Training
    from hdiff.training.trainer import Outcome


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a YAML file.", metavar="RECIPE.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, dotted for sections.", metavar="[KEY=VALUE ...]")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a model from a recipe; resume=auto resumes a run that stopped."""
    from hdiff.recipe import load_recipe, naming_origin

    resolved = load_recipe(recipe, overrides or [])
    is_main = os.environ.get("RANK", "0") == "0"  # launchers set it; one process speaks for all
    if is_main:
        check_output_folder(Path(resolved.output), "output=DIR")
    from hdiff.progress import Progress

    display = Progress(f"train {resolved.name}", quiet=quiet or not is_main)
    display.stage("loading")
    try:
        from hdiff.training.build import build_training
        from hdiff.training.processes import process_errors
        from hdiff.training.trainer import fit

        # A process may be gone before the first update.
        with process_errors(resolved.train.process_timeout), naming_origin(str(recipe), overrides or []):
            training = build_training(resolved)
        outcome = fit(training, progress=display)
    finally:
        display.close()
    if outcome.stopped_by is not None:
        display.message(
            f"stopped by signal {outcome.stopped_by}; {resolved.output} is saved; resume=auto resumes it"
        )
        raise typer.Exit(128 + outcome.stopped_by)
    if training.accelerator.is_main_process:
        done = _what_was_done(training, outcome)
        say(f"{resolved.output}: {done}; next: hdiff eval {resolved.output}", err=False)
        for note in training.state.rows.notes():
            say(f"  {note}", err=False)


def _what_was_done(training: Training, outcome: Outcome) -> str:
    skipped, best = training.state.skipped, training.state.best
    if outcome.first_step == outcome.last_step:
        return f"was trained to step {outcome.last_step} before, nothing was left to do"
    said = f"trained {outcome.last_step} steps"
    if skipped.total:
        said += f", {skipped.total} of them skipped as their loss or gradient was not finite or exploded"
    if training.config.keep_best:
        said += f", step {best.step} is used (lowest validation bound, {best.bound:.4f} nats/token)"
    return said + (", more would be in vain" if best.is_over else "")
