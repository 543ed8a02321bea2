"""The `hdiff eval` command."""

from __future__ import annotations

import json
import shlex
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
    output_file,
    print_json,
    sampler_spec,
    say_if_unfinished,
)
from hdiff.errors import DataError
from hdiff.outputs import RESULT


def evaluate(
    run: Model,
    steps: Annotated[
        str | None, typer.Option(help="Step counts T, comma-separated; default: the recipe's.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Prepared data set; default: the one trained on.")] = None,
    judge: Annotated[str | None, typer.Option(help="Run folder of an autoregressive judge.")] = None,
    sampler: Annotated[
        str | None,
        typer.Option(help="Sampler as YAML, '{kind: planned, order: random}'; default: the recipe's."),
    ] = None,
    output: Annotated[
        Path | None,
        output_file(
            "File of the figures; default: RUN/eval.json, or RUN/eval_sampler.json and the like.", RESULT
        ),
    ] = None,
    given_structure: Annotated[
        bool, typer.Option(help="Score with parsed units: a bound given the structure, not comparable.")
    ] = False,
    outside_judges: Annotated[
        bool, typer.Option(help="Also an n-gram judge (NLTK) and link-grammar's parse rate of the samples.")
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(help="Texts to draw for each T; default: the recipe's.", min=0, max=1_000_000),
    ] = None,
    judge_if_drawn: Annotated[
        bool, typer.Option("--judge-if-drawn", help="Skip the judge where no samples are drawn.")
    ] = False,
    blimp: Annotated[
        str | None, typer.Option(help="Folder or glob of BLiMP .jsonl files: accuracy on minimal pairs.")
    ] = None,
    agreement: Annotated[
        bool, typer.Option(help="Accuracy on the package's own agreement pairs (I like / I likes).")
    ] = False,
    max_pairs: Annotated[
        int | None,
        typer.Option(
            help="At most so many pairs of each paradigm, spread evenly; default: all.", max=LARGEST
        ),
    ] = None,
    component: Component = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Bound on -log p, T-step bounds and sample quality on held-out text."""
    from hdiff.evaluation.agreement_pairs import agreement_pairs
    from hdiff.evaluation.minimal_pair_files import read_minimal_pairs
    from hdiff.evaluation.minimal_pairs import evaluate_minimal_pairs
    from hdiff.evaluation.run import evaluate_run
    from hdiff.files import finite, write_atomically
    from hdiff.progress import Progress
    from hdiff.runs.results import EVALUATION_KINDS, asked_for, kind_of, write_result
    from hdiff.sharing.shared_run import is_shared, load_model
    from hdiff.shipped import HELD_OUT, model_name

    if max_pairs is not None and blimp is None and not agreement:
        raise DataError("--max-pairs limits minimal pairs, and none are asked for; add", "--agreement")
    pairs = {"blimp": read_minimal_pairs(blimp)} if blimp is not None else {}
    if agreement:
        pairs["agreement"] = agreement_pairs()
    loaded = load_model(run, components=component or ())
    say_if_unfinished(run)
    name = model_name(run)
    if is_shared(run) and data is None:
        source = HELD_OUT.get(name, "TEXT").removesuffix(":validation")
        raise DataError(
            f"{name} is a shared model, which has no data set; prepare one and add --data DATA:",
            f"hdiff prepare {source} --out DATA --tokenizer {shlex.quote(name)}",
        )
    wanted = _whole_numbers(steps, "--steps") if steps is not None else None
    spec = None if sampler is None else sampler_spec(sampler)
    display = Progress(f"eval {name}", quiet=quiet)
    try:
        display.stage("bound")
        result = evaluate_run(
            loaded,
            steps=wanted,
            data=data,
            judge=judge,
            sampler=spec,
            given_structure=given_structure,
            outside_judges=outside_judges,
            samples=samples,
            must_judge=not judge_if_drawn,
            seed=seed,
            progress=display,
        )
        if pairs:
            result["minimal_pairs"] = {
                name: evaluate_minimal_pairs(loaded, chosen, max_pairs=max_pairs, seed=seed)
                for name, chosen in pairs.items()
            }
    finally:
        display.close()
    options = {"steps": wanted, "data": data, "judge": judge, "sampler": spec, "seed": seed}
    options |= {"given_structure": given_structure, "outside_judges": outside_judges}
    options |= {"samples": samples, "blimp": blimp, "agreement": agreement, "max_pairs": max_pairs}
    result = asked_for(result, options)
    if output is not None:
        write_atomically(output, json.dumps(finite(result), indent=1))
    elif not is_shared(run):  # a shared folder stays as it was shared
        write_result(run, kind_of(result["asked"], "eval", EVALUATION_KINDS), result, "--output FILE")
    if as_json:
        print_json(result)
    else:
        from hdiff.evaluation.table import print_evaluation

        print_evaluation(result, title=name)


def _whole_numbers(text: str, option: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise DataError(
            f"{option} is '{text}'; give whole numbers separated by commas, for example 1,2,4"
        ) from error
    if not all(1 <= number <= LARGEST for number in numbers):
        raise DataError(f"{option} is '{text[:80]}'; step counts are from 1 to {LARGEST:,}")
    return sorted(set(numbers))
