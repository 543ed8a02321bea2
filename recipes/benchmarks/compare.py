"""Trains and evaluates the systems of a comparison over several seeds, and prints one table.

Finished runs are kept, so the command can be stopped and started again at any time. Run it from the
checkout, with the data set prepared: `python recipes/benchmarks/compare.py --data data/tinystories`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

RECIPE = Path(__file__).with_name("structure.yaml")
JUDGE = "judge"
SYSTEMS: dict[str, list[str]] = {
    JUDGE: ["model.kind=autoregressive", "head={kind: product}", "corruption={kind: token_masking}"],
    # One more trunk layer stands for the layer of the joint head: equal parameters.
    "token_product": ["model.depth=5", "head={kind: product}", "corruption={kind: token_masking}"],
    "random_spans": [],
    "parsed_and_random_spans": ["corruption.segmentation=mixture", "corruption.parsed_fraction=0.5"],
    "parsed_spans": ["corruption.segmentation=parsed"],
}
TITLES = {
    "token_product": "token units, product head",
    "random_spans": "random spans, joint head",
    "parsed_and_random_spans": "half parsed, half random spans, joint head",
    "parsed_spans": "parsed spans, joint head",
}
QUALITY = {
    "judge_nll": "judge NLL of samples, nats/token",
    "unigram_entropy": "unigram entropy of samples, nats",
    "distinct_2": "distinct-2 of samples",
    "seconds_per_sample": "seconds per sample",
}


def run(command: list[str], log: Path | None = None) -> None:
    """Runs one hdiff command on one core, its output into a log file if one is given."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with nullcontext() if log is None else log.open("a") as file:
        subprocess.run(
            [sys.executable, "-m", "hdiff", *command], env=environment, stdout=file, stderr=file, check=True
        )


def train(
    name: str, recipe: Path, arguments: argparse.Namespace, *, data: Path, changes: Sequence[str] = ()
) -> tuple[Path, Path]:
    """Trains OUT/NAME (`name` ends in the seed) or resumes it; its folder and its log."""
    out, log = arguments.out / name, arguments.out / f"{name}.log"
    out.parent.mkdir(parents=True, exist_ok=True)
    seed = name.rpartition("-")[2]
    overrides = [f"output={out}", f"seed={seed}", f"data.path={data}", "resume=auto", *arguments.set]
    run(["train", str(recipe), *changes, *overrides], log)
    return out, log


def spread(values: Sequence[float], *, digits: int = 3) -> str:
    """Mean ± standard deviation; the mean alone of one value, nothing of none."""
    if not values:
        return ""
    sd = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{sd}"


def train_and_evaluate(
    system: str,
    seed: int,
    arguments: argparse.Namespace,
    *,
    changes: Sequence[str],
    judge: Sequence[str] = (),
) -> None:
    """One run with a system's changes to the recipe, unless its evaluation is there."""
    name = f"{system}-{seed}"
    if (arguments.out / name / "eval.json").exists():
        return
    out, log = train(name, arguments.recipe, arguments, data=arguments.data, changes=changes)
    run(["eval", str(out), "--json", *judge], log)


def table(arguments: argparse.Namespace) -> str:
    """Markdown: mean and standard deviation over seeds; the first system is the reference of the gaps."""
    columns = {
        system: [
            json.loads((arguments.out / f"{system}-{seed}" / "eval.json").read_text())
            for seed in arguments.seeds
        ]
        for system in arguments.systems
    }
    judge = json.loads((arguments.out / f"{JUDGE}-0" / "eval.json").read_text())
    steps = list(next(iter(columns.values()))[0]["t_step"])
    lines = [f"Autoregressive judge, exact: {judge['bound']['nats_per_token']:.3f} nats/token.", ""]
    bounds = lambda e: [e["bound"]["nats_per_token"], *(e["t_step"][t] for t in steps)]  # noqa: E731
    lines += _rows("nats/token", ["NELBO", *(f"L_{t}" for t in steps)], columns, bounds)
    for key, title in QUALITY.items():
        head = [f"T = {t}" for t in steps]
        lines += ["", *_rows(title, head, columns, lambda e, key=key: [e["quality"][t][key] for t in steps])]
    reference = next(iter(columns.values()))[0]["reference"]
    lines += [
        "",
        "Held-out text: " + ", ".join(f"{key} {value:.3f}" for key, value in reference.items()) + ".",
    ]
    return "\n".join(lines)


def _rows(title: str, columns: list[str], results: dict[str, list[Any]], values: Any) -> list[str]:
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for system, evaluations in results.items():
        per_seed = list(zip(*(values(evaluation) for evaluation in evaluations), strict=True))
        cells = [spread(v) for v in per_seed]
        lines.append(f"| {TITLES[system]} | " + " | ".join(cells) + " |")
    return lines


def add_options(parser: argparse.ArgumentParser, *, recipe: Path, out: Path, systems: list[str]) -> None:
    """Options of a comparison of several systems."""
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--out", type=Path, default=out, help="folder of the runs")
    parser.add_argument("--recipe", type=Path, default=recipe)
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--systems", nargs="*", default=systems, choices=systems)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time, one core each")
    parser.add_argument("--set", nargs="*", default=[], help="further overrides for every run")


def run_all(
    arguments: argparse.Namespace, systems: Mapping[str, list[str]], *, judge: Sequence[str] = ()
) -> None:
    """Every chosen system with every seed, several at a time."""
    jobs = [(system, seed) for seed in arguments.seeds for system in arguments.systems]

    def one(job: tuple[str, int]) -> None:
        train_and_evaluate(*job, arguments, changes=systems[job[0]], judge=judge)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(one, jobs))


def main() -> None:
    """Parses the command line and runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, recipe=RECIPE, out=Path("runs/structure"), systems=list(TITLES))
    arguments = parser.parse_args()
    train_and_evaluate(JUDGE, 0, arguments, changes=SYSTEMS[JUDGE])
    judge = ["--judge", str(arguments.out / f"{JUDGE}-0")]
    run_all(arguments, SYSTEMS, judge=judge)
    text = table(arguments)
    (arguments.out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
