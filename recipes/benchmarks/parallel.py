"""Trains systems, decodes each with several samplers, and prints what few steps cost.

Finished runs and evaluations are kept, so the command can be stopped and started again at any time. Run it
from the checkout, with the data set prepared: `python recipes/benchmarks/parallel.py --data data/mixture`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from compare import add_options, run, spread
from compare import train as train_run

RECIPE = Path(__file__).with_name("parallel.yaml")
JUDGE = "judge"
BASELINE = "token_product"
MIXTURE = ["corruption.segmentation=mixture", "corruption.parsed_fraction=0.5", "planner={level: phrase}"]
SYSTEMS: dict[str, list[str]] = {
    JUDGE: [
        "model={kind: autoregressive, width: 192, depth: 4, num_heads: 4}",
        "head={kind: product}",
        "corruption={kind: token_masking}",
    ],
    # One more trunk layer stands for the layer of the joint head: equal parameters.
    BASELINE: ["model.depth=5", "head={kind: product}", "corruption={kind: token_masking}"],
    "random_spans": [],
    "structured": MIXTURE,
}
FEW, MANY = "1,2,4,8", "1,2,4,8,16,32,64"
SAMPLERS: dict[str, list[tuple[str, str, str]]] = {
    BASELINE: [
        ("ancestral", "{kind: ancestral}", MANY),
        ("spaced", "{kind: ancestral, order: spaced}", FEW),
        ("confidence", "{kind: confidence, threshold: null}", "1,2,4,8,64"),
    ],
    "random_spans": [
        ("ancestral", "{kind: ancestral}", FEW),
        ("ancestral_8", "{kind: ancestral, lengths: {8: 1.0}}", FEW),
    ],
    "structured": [
        ("ancestral", "{kind: ancestral}", FEW),
        ("planned", "{kind: planned}", FEW),
        ("planned_likely", "{kind: planned, boundaries: likely}", FEW),
        ("planned_spaced", "{kind: planned, boundaries: likely, order: spaced}", FEW),
        ("planned_keyword_first", "{kind: planned, boundaries: likely, order: keyword_first}", FEW),
        ("planned_keyword_last", "{kind: planned, boundaries: likely, order: keyword_last}", FEW),
        ("planned_confidence", "{kind: planned, boundaries: likely, order: confidence}", FEW),
        # Controls of the planner: random spans in its place, and ones about as long as likely spans.
        ("shuffled", "{kind: planned, boundaries: shuffled}", FEW),
        ("shuffled_spaced", "{kind: planned, boundaries: shuffled, order: spaced}", FEW),
        ("planned_control", "{kind: planned, boundaries: corruption}", FEW),
        *[
            (f"{order}_{length}", f"{{kind: ancestral, order: {order}, lengths: {{{length}: 1.0}}}}", FEW)
            for order in ("random", "spaced")
            for length in (5, 6, 8)
        ],
        ("remasking", "{kind: remasking}", "2,4,8"),
    ],
}
PAIRS = [
    ("planned", "planned_control"),
    ("planned_likely", "ancestral"),
    ("planned_likely", "shuffled"),
    ("planned_spaced", "shuffled_spaced"),
    ("planned_likely", "random_5"),
    ("planned_likely", "random_6"),
    ("planned_spaced", "spaced_5"),
    ("planned_spaced", "spaced_6"),
]
FIGURES: dict[str, tuple[str, Callable[[dict[str, Any], str], float | None]]] = {
    "L_T, nats/token": ("bound", lambda e, t: e["t_step"].get(t)),
    "judge NLL of samples, nats/token": ("judge", lambda e, t: e["quality"][t]["judge_nll"]),
    "unigram entropy of samples, nats": ("entropy", lambda e, t: e["quality"][t]["unigram_entropy"]),
    "distinct-2 of samples": ("distinct", lambda e, t: e["quality"][t]["distinct_2"]),
    "repeated 4-grams": ("repeated", lambda e, t: e["quality"][t]["repetition_4"]),
    "seconds per sample": ("seconds", lambda e, t: e["quality"][t]["seconds_per_sample"]),
}


def file_of(arguments: argparse.Namespace, system: str, sampler: str, seed: int) -> Path:
    """Where the figures of one evaluation are."""
    folder: Path = arguments.out / f"{system}-{seed}"
    return folder / f"eval_{sampler}.json"


def train(system: str, seed: int, arguments: argparse.Namespace) -> None:
    """Trains one system, unless it is trained."""
    name = f"{system}-{seed}"
    train_run(name, arguments.recipe, arguments, data=arguments.data, changes=SYSTEMS[system])


def evaluate(system: str, seed: int, arguments: argparse.Namespace) -> None:
    """Decodes one run with all samplers of its system."""
    out, log = arguments.out / f"{system}-{seed}", arguments.out / f"{system}-{seed}.log"
    for name, spec, steps in SAMPLERS[system]:
        if file_of(arguments, system, name, seed).exists():
            continue
        options = ["--sampler", spec, "--steps", steps, "--judge", str(arguments.out / f"{JUDGE}-0")]
        run(["eval", str(out), *options, "--output", str(file_of(arguments, system, name, seed))], log)


def table(arguments: argparse.Namespace) -> str:
    """Markdown: mean and sd over seeds for every system, sampler and T, and what the claims compare."""
    scores: dict[tuple[str, str], dict[int, Any]] = {}
    for system in arguments.systems:
        for name, _, _ in SAMPLERS.get(system, []):
            files = {seed: file_of(arguments, system, name, seed) for seed in arguments.seeds}
            read = {seed: json.loads(f.read_text()) for seed, f in files.items() if f.exists()}
            if read:
                scores[system, name] = read
    steps = MANY.split(",")
    lines = ["| system | NELBO, nats/token | seeds |", "|---|---|---|"]
    for (system, name), read in scores.items():
        if name == "ancestral":
            bounds = [e["bound"]["nats_per_token"] for e in read.values()]
            lines.append(f"| {system} | {spread(bounds)} | {len(bounds)} |")
    for title, (_, figure) in FIGURES.items():
        lines += ["", f"| {title} | " + " | ".join(f"T = {t}" for t in steps) + " |"]
        lines.append("|---" * (len(steps) + 1) + "|")
        for (system, name), read in scores.items():
            cells = [
                spread([v for e in read.values() if t in e["quality"] and (v := figure(e, t)) is not None])
                for t in steps
            ]
            lines.append(f"| {system}, {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_paired(scores)])


def _paired(scores: dict[tuple[str, str], dict[int, Any]]) -> list[str]:
    """Differences of L_T per seed: planned spans against random spans of the same network."""
    steps = FEW.split(",")
    lines = ["| L_T, same network, paired by seed | " + " | ".join(f"T = {t}" for t in steps) + " |"]
    lines.append("|---" * (len(steps) + 1) + "|")
    for name, control in PAIRS:
        one, other = scores.get(("structured", name), {}), scores.get(("structured", control), {})
        cells = [
            spread([one[s]["t_step"][t] - other[s]["t_step"][t] for s in one if s in other]) for t in steps
        ]
        lines.append(f"| {name} - {control} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Parses the command line and runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, recipe=RECIPE, out=Path("runs/parallel"), systems=list(SYSTEMS)[1:])
    parser.add_argument("--table", action="store_true", help="only print the table of finished runs")
    arguments = parser.parse_args()
    if not arguments.table:
        train(JUDGE, 0, arguments)
        jobs = [(system, seed) for seed in arguments.seeds for system in arguments.systems]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(lambda job: train(*job, arguments), jobs))
        for job in jobs:  # one at a time: seconds per sample are compared
            evaluate(*job, arguments)
    text = table(arguments)
    (arguments.out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
