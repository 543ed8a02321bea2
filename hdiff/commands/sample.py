"""The `hdiff sample` command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hdiff.commands.options import AsJson, Run, Seed, optional_parser


def sample(
    run: Run,
    num: Annotated[int, typer.Option(help="Samples.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps T; cascades and hidden speeds go unit by unit.")] = 16,
    seed: Seed = 0,
    temperature: Annotated[
        float, typer.Option(help="Divides the logits; 1 samples the model as it is.")
    ] = 1.0,
    length: Annotated[int | None, typer.Option(help="Tokens per sample; default: the recipe's.")] = None,
    trajectory: Annotated[
        Path | None, typer.Option(help="Also write a page that shows the filling step by step.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw samples from a trained model."""
    from hdiff.checkpoint import write_atomically
    from hdiff.heads.sampling import Sampling
    from hdiff.run_evaluation import sample_run
    from hdiff.run_folder import RunFolder

    loaded = RunFolder.load(run)
    record = sample_run(
        loaded,
        num_samples=num,
        num_steps=steps,
        seed=seed,
        sampling=Sampling(temperature=temperature),
        length=length,
        parser=optional_parser(loaded.record["data"]["parser"]),
    )
    write_atomically(run / "samples.json", json.dumps(record))
    if as_json:
        typer.echo(json.dumps(record))
    else:
        for number, drawn in enumerate(record["samples"], 1):
            title = f"--- sample {number} of {num}, {record['num_steps']} steps, seed {seed}"
            typer.echo(f"{title}\n{drawn['text'].strip()}")
    if trajectory is not None:
        from hdiff.pages import trajectory_page

        write_atomically(trajectory, trajectory_page(record))
        typer.echo(f"trajectory: {trajectory}", err=True)
