"""The `hdiff train` command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdiff.commands.options import Quiet, say
from hdiff.outputs import check_output_folder

if TYPE_CHECKING:
    from hdiff.training.trainer import Trainer


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a YAML file.", metavar="RECIPE.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, dotted for sections.", metavar="[KEY=VALUE ...]")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a model from a recipe; resume=auto resumes a run that stopped."""
    from hdiff.recipe import load_recipe

    resolved = load_recipe(recipe, overrides or [])
    is_main = os.environ.get("RANK", "0") == "0"  # launchers set it; one process speaks for all
    if is_main:
        check_output_folder(Path(resolved.output), "output=DIR")
    from hdiff.progress import Progress
    from hdiff.training.processes import process_errors
    from hdiff.training.trainer import Trainer

    display = Progress(f"train {resolved.name}", quiet=quiet or not is_main)
    try:
        with process_errors(resolved.train.process_timeout):  # one may be gone before the first update
            trainer = Trainer(resolved, progress=display)
        stopped_by = trainer.run()
    finally:
        display.close()
    if stopped_by is not None:
        display.message(f"stopped by signal {stopped_by}; {resolved.output} is saved; resume=auto resumes it")
        raise typer.Exit(128 + stopped_by)
    if trainer.accelerator.is_main_process:
        say(f"{resolved.output}: {_what_was_done(trainer)}; next: hdiff eval {resolved.output}", err=False)
        for note in trainer.rows.notes():
            say(f"  {note}", err=False)


def _what_was_done(trainer: Trainer) -> str:
    if trainer.first_step == trainer.last_step:
        return f"was trained to step {trainer.last_step} before, nothing was left to do"
    said = f"trained {trainer.last_step} steps"
    if skipped := trainer.skipped.total:
        said += f", {skipped} of them skipped as their loss or gradient was not finite or exploded"
    if trainer.config.keep_best:
        best = trainer.best
        said += f", step {best.step} is used (lowest validation bound, {best.bound:.4f} nats/token)"
    return said + (", more would be in vain" if trainer.best.is_over else "")
