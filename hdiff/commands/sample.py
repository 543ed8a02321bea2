"""The `hdiff sample` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hdiff.commands.options import (
    LARGEST,
    AsJson,
    Component,
    Model,
    Quiet,
    Seed,
    optional_parser,
    output_file,
    print_json,
    sampler_spec,
    say,
    say_if_unfinished,
    say_loading,
)


def sample(
    run: Model,
    num: Annotated[
        int | None,
        typer.Option(
            help="Samples; default: 8, and one answer to a prompt.", max=1_000_000, show_default=False
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps T; default: 16, fewer for few tokens, one per block. Hidden speeds go unit by unit.",
            max=LARGEST,
        ),
    ] = None,
    seed: Seed = 0,
    temperature: Annotated[
        float, typer.Option(help="Divides the logits; 1 samples the model as it is.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Keep the k most likely values of each draw.", max=LARGEST)
    ] = None,
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
        typer.Option(
            help="Placements of the keywords, or texts drawn until a parse has the skeleton.", max=10_000
        ),
    ] = None,
    rewrite: Annotated[str | None, typer.Option(help="Text whose --phrase is written again.")] = None,
    phrase: Annotated[str | None, typer.Option(help="The phrase; it occurs in the text once.")] = None,
    phrase_length: Annotated[
        str | None, typer.Option(help="Tokens in its place, 3 or 2-5; default: as many as it has.")
    ] = None,
    skeleton: Annotated[
        str | None, typer.Option(help="Labels of the spans and their tokens: 'NP:2 VP:3 PP:3'.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Text to answer, or to continue.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="File of prompts: .jsonl with the columns of the data set, or .txt, one a line."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Most tokens of an answer; default: what a row leaves.", max=LARGEST)
    ] = None,
    trajectory: Annotated[
        Path | None, output_file("Also write a page that shows the filling step by step.")
    ] = None,
    component: Component = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Draw samples from a trained model: freely, around given words, along given labels, or as answers."""
    say_loading(run)
    from hdiff.commands.answers import answers_of, print_answers, prompts_asked
    from hdiff.control.request import Request
    from hdiff.control.samples import controlled_samples
    from hdiff.files import write_atomically
    from hdiff.heads.sampling import Sampling
    from hdiff.pages.terminal_text import visible_controls
    from hdiff.pages.trajectory import steps_text
    from hdiff.runs.results import SAMPLE_KINDS, asked_for, kind_of, write_result
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
    spec = None if sampler is None else sampler_spec(sampler)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    asked = prompts_asked(prompt, prompts, max_tokens, request, trajectory)
    loaded = load_model(run, components=component or ())
    say_if_unfinished(run)
    if asked is not None:
        answers = answers_of(
            loaded,
            asked,
            1 if num is None else num,
            max_tokens,
            seed,
            num_steps=steps,
            sampler=spec,
            sampling=sampling,
        )
        print_answers(answers, as_json=as_json)
        return
    num = 8 if num is None else num
    record = controlled_samples(
        loaded,
        request,
        num_samples=num,
        num_steps=steps,
        seed=seed,
        sampling=sampling,
        sampler=spec,
        parser=None if is_shared(run) else optional_parser(loaded.record["data"]["parser"]),
    )
    options = {"num": num, "steps": steps, "seed": seed, "sampler": spec, "top_k": top_k, "top_p": top_p}
    heat = None if temperature == 1 else temperature
    record = asked_for(record, {**vars(request), **options, "temperature": heat})
    if not is_shared(run):  # a shared folder stays as it was shared
        kind = kind_of(record["asked"], "samples", SAMPLE_KINDS)
        write_result(run, kind, record, "--json > FILE")
    if as_json:
        print_json(record)
    else:
        for number, drawn in enumerate(record["samples"], 1):
            title = f"--- sample {number} of {num}, {steps_text(record)}, seed {seed}"
            bound = "bound on -log p(filled | given)"
            score = f", {bound} {drawn['score']:.3f} nats/token" if "score" in drawn else ""
            text = drawn["text"].strip()
            typer.echo(f"{title}{score}\n{visible_controls(text) if sys.stdout.isatty() else text}")
    if trajectory is not None:
        from hdiff.pages.page import trajectory_page

        write_atomically(trajectory, trajectory_page(record))
        say(f"trajectory: {trajectory}")
