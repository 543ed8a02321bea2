"""Languages with known answers: right answers against network evaluations, beside the factorised ceiling.

Trains the joint and the product model of the phrase bank and of the list operations over several seeds, keeps
what is finished, prints a table and draws a plot. From the checkout, both data sets prepared as recipes say:
`python recipes/benchmarks/known_answers.py --data data --out runs/known [--plot known_answers.png]`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from compare import run, spread, train

RECIPES = Path(__file__).parents[1]
SYSTEMS = {
    "phrase_bank": ("phrase_bank", "1,2,4,8,16,32"),
    "phrase_bank_product": ("phrase_bank", "1,2,4,8,16,32"),
    "list_operations": ("list_operations", "1,2,4"),
    "list_operations_product": ("list_operations", "1,2,4"),
}
OPERATIONS = ("shuffle", "replace", "reverse", "copy")


def one(system: str, seed: int, arguments: argparse.Namespace) -> None:
    """One run, trained and evaluated unless it is."""
    name = f"{system}-{seed}"
    if (arguments.out / name / "eval.json").exists():
        return
    data, steps = SYSTEMS[system]
    out, log = train(name, RECIPES / f"{system}.yaml", arguments, data=arguments.data / data)
    run(["eval", str(out), "--steps", steps], log)


def figures(system: str, arguments: argparse.Namespace) -> list[Any]:
    """Evaluations of the finished seeds."""
    files = [arguments.out / f"{system}-{seed}" / "eval.json" for seed in arguments.seeds]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def curves(arguments: argparse.Namespace) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Task -> row -> T -> share of right answers by seed; rows are joint, product and ceiling."""
    results: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row, suffix in (("joint", ""), ("product", "_product")):
        for evaluation in figures(f"phrase_bank{suffix}", arguments):
            task = results.setdefault("phrase bank", {})
            for t, share in evaluation["phrase_valid"].items():
                task.setdefault(row, {}).setdefault(t, []).append(share)
                task.setdefault("ceiling", {})[t] = [evaluation["phrase_ceiling"][t]]
        for evaluation in figures(f"list_operations{suffix}", arguments):
            lists = evaluation["list_operations"]
            for operation in OPERATIONS:
                task = results.setdefault(operation, {})
                for t, share in lists["valid"][operation].items():
                    task.setdefault(row, {}).setdefault(t, []).append(share)
                    task.setdefault("ceiling", {})[t] = [lists["ceiling"][operation][t]]
    return results


def table(results: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """Markdown: mean and sd over seeds by task and T."""
    steps = sorted({t for task in results.values() for row in task.values() for t in row}, key=int)
    lines = ["| task | model | " + " | ".join(f"T = {t}" for t in steps) + " |"]
    lines.append("|---" * (len(steps) + 2) + "|")
    for task, rows in results.items():
        for row, shares in rows.items():
            lines.append(f"| {task} | {row} | " + " | ".join(spread(shares.get(t, [])) for t in steps) + " |")
    return "\n".join(lines)


def plot(results: dict[str, dict[str, dict[str, list[float]]]], file: Path) -> None:
    """One panel per task whose answers depend on each other."""
    from matplotlib.figure import Figure

    tasks = [task for task in ("phrase bank", "shuffle", "replace") if task in results]
    figure = Figure(figsize=(4 * len(tasks), 3.2), layout="constrained")
    for index, task in enumerate(tasks):
        axes = figure.add_subplot(1, len(tasks), index + 1)
        styles = {"joint": ("o-", "C0"), "product": ("s-", "C1"), "ceiling": ("--", "0.4")}
        for row, shares in results[task].items():
            steps = sorted(shares, key=int)
            means = [statistics.mean(shares[t]) for t in steps]
            errors = [statistics.stdev(shares[t]) if len(shares[t]) > 1 else 0.0 for t in steps]
            style, colour = styles[row]
            label = {"joint": "joint head", "product": "product head", "ceiling": "exact marginals"}[row]
            axes.errorbar([int(t) for t in steps], means, errors, fmt=style, color=colour, label=label)
        axes.set_xscale("log", base=2)
        axes.set_xticks([int(t) for t in steps], steps)
        axes.set_ylim(-0.03, 1.03)
        axes.set_title(task)
        axes.set_xlabel("steps T")
        if index == 0:
            axes.set_ylabel("share of right answers")
            axes.legend(loc="lower right", fontsize=8)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Parses the command line and runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the two prepared data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/known"))
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--systems", nargs="*", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one core each")
    parser.add_argument("--set", nargs="*", default=[], help="overrides for every run")
    parser.add_argument("--plot", type=Path, help="also draw the curves (needs matplotlib)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    jobs = [(system, seed) for seed in arguments.seeds for system in arguments.systems]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda job: one(*job, arguments), jobs))
    results = curves(arguments)
    print(table(results))
    if arguments.plot is not None:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
