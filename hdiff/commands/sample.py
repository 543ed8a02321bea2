"""The `hdiff sample` command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from hdiff.commands.options import (
    LARGEST,
    AsJson,
    Component,
    Model,
    Seed,
    optional_parser,
    output_file,
    sampler_spec,
    say_if_unfinished,
)


def sample(
    run: Model,
    num: Annotated[int, typer.Option(help="Samples.", max=LARGEST)] = 8,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps T; default: 16, fewer for few tokens, one per block. Hidden speeds go unit by unit."
        ),
    ] = None,
    seed: Seed = 0,
    temperature: Annotated[
        float, typer.Option(help="Divides the logits; 1 samples the model as it is.")
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Keep the k most likely values of each draw.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Keep the fewest values that together have this probability.")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(help="Sampler as YAML: '{kind: confidence, threshold: 0.9}'; default: the recipe's."),
    ] = None,
    length: Annotated[
        int | None, typer.Option(help="Tokens per sample; default: the recipe's.", max=LARGEST)
    ] = None,
    infill: Annotated[
        str | None, typer.Option(help="Text with gaps: 'The dog [4] in the [2-5].'; [[ is a bracket.")
    ] = None,
    keywords: Annotated[
        str | None, typer.Option(help="Words the text holds in this order, comma-separated; with --length.")
    ] = None,
    tries: Annotated[
        int | None,
        typer.Option(help="Placements of the keywords, or texts drawn until a parse has the skeleton."),
    ] = None,
    rewrite: Annotated[str | None, typer.Option(help="Text of which --phrase is written anew.")] = None,
    phrase: Annotated[str | None, typer.Option(help="The phrase; it occurs in the text once.")] = None,
    phrase_length: Annotated[
        str | None, typer.Option(help="Tokens in its place, 3 or 2-5; default: as many as it has.")
    ] = None,
    skeleton: Annotated[
        str | None, typer.Option(help="Labels of the spans and their tokens: 'NP:2 VP:3 PP:3'.")
    ] = None,
    trajectory: Annotated[
        Path | None, output_file("Also write a page that shows the filling step by step.")
    ] = None,
    component: Component = None,
    as_json: AsJson = False,
) -> None:
    """Draw samples from a trained model: freely, around given words, or along given labels."""
    from hdiff.control.request import Request
    from hdiff.control.samples import controlled_samples
    from hdiff.files import write_atomically
    from hdiff.heads.sampling import Sampling
    from hdiff.outputs import keep
    from hdiff.pages.terminal_text import visible_controls
    from hdiff.sharing.shared_run import is_shared, load_model

    request = Request(
        infill=infill,
        keywords=keywords,
        rewrite=rewrite,
        skeleton=skeleton,
        phrase=phrase,
        phrase_length=phrase_length,
        length=length,
        tries=tries,
    )
    loaded = load_model(run, components=component or ())
    say_if_unfinished(run)
    record = controlled_samples(
        loaded,
        request,
        num_samples=num,
        num_steps=steps,
        seed=seed,
        sampling=Sampling(temperature=temperature, top_k=top_k, top_p=top_p),
        sampler=None if sampler is None else sampler_spec(sampler),
        parser=None if is_shared(run) else optional_parser(loaded.record["data"]["parser"]),
    )
    if not is_shared(run):  # a shared folder stays as it was shared
        keep(run / "samples.json", json.dumps(record), "--json > FILE")
    if as_json:
        typer.echo(json.dumps(record))
    else:
        for number, drawn in enumerate(record["samples"], 1):
            title = f"--- sample {number} of {num}, {record['num_steps']} steps, seed {seed}"
            bound = "bound on -log p(filled | given)"
            score = f", {bound} {drawn['score']:.3f} nats/token" if "score" in drawn else ""
            text = drawn["text"].strip()
            typer.echo(f"{title}{score}\n{visible_controls(text) if sys.stdout.isatty() else text}")
    if trajectory is not None:
        from hdiff.pages.page import trajectory_page

        write_atomically(trajectory, trajectory_page(record))
        typer.echo(f"trajectory: {trajectory}", err=True)
