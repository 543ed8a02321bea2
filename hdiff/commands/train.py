"""The `hdiff train` command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from hdiff.commands.options import Quiet
from hdiff.outputs import check_output_folder


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a YAML file.", metavar="RECIPE.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, dotted for sections.", metavar="[KEY=VALUE ...]")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a model from a recipe; resume=auto goes on where a run stopped."""
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
        display.message(f"stopped by signal {stopped_by}; {resolved.output} is saved, go on with resume=auto")
        raise typer.Exit(128 + stopped_by)
    if trainer.accelerator.is_main_process:
        best = trainer.best
        used = f", step {best.step} is used (lowest validation bound, {best.bound:.4f} nats/token)"
        typer.echo(
            f"{resolved.output}: trained {trainer.last_step} steps{used if resolved.train.keep_best else ''}"
            f"{', more would be in vain' if best.is_over else ''}; next: hdiff eval {resolved.output}"
        )
