"""The tournament: token masking against joint spans on several corpora, one table of all of them.

Each corpus is one ablation (`hdiff ablate tournament.yaml`), resumable and with its own page; this script
runs them one after another and puts the figures that the claim is about side by side. From the checkout,
data sets prepared: `python recipes/benchmarks/tournament.py --data data --corpora tinystories wikitext2`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablation_table import figures_of, judged, spread_of, with_interval
from compare import run, spread

from hdiff.recipe import load_recipe

FILE = Path(__file__).with_name("tournament.yaml")
CORPORA = ("tinystories", "wikitext2", "gutenberg", "e2e", "mixture")


def ablate(corpus: str, arguments: argparse.Namespace) -> None:
    """Trains and evaluates what is missing of one corpus."""
    data, out = arguments.data / corpus, arguments.out / corpus
    out.parent.mkdir(parents=True, exist_ok=True)
    overrides = [
        f"data.path={data}",
        f"output={out}",
        f"name=tournament/{corpus}",
        f"seeds={arguments.seeds}",
    ]
    run(
        ["ablate", str(FILE), *overrides, *arguments.set, "--jobs", str(arguments.jobs)],
        arguments.out / f"{corpus}.log",
    )


def read(corpus: str, out: Path) -> dict[str, Any] | None:
    """The figures of one corpus; None if there are none, or its judge is not scored yet."""
    if not (out / corpus / "ablation.json").exists():
        return None
    results = figures_of(out / corpus)
    return results if (_judge(corpus, out, results) / "eval.json").exists() else None


def _judge(corpus: str, out: Path, results: dict[str, Any]) -> Path:
    """The judge's run folder; it has the first seed."""
    return out / corpus / f"judge-{results['seeds'][0]}"


def tokens_per_word(judge: Path) -> float:
    """Tokens of the held-out text, separators included, over its words."""
    recipe = load_recipe(judge / "recipe.yaml")
    manifest = json.loads((Path(recipe.data.path) / "manifest.json").read_text())
    counts = manifest["counts"]["validation"]
    return float((counts["tokens"] + counts["documents"]) / counts["words"])


def judge_bound(judge: Path) -> float:
    """Exact nats/token of the judge."""
    results = json.loads((judge / "eval.json").read_text())
    return float(results["bound"]["nats_per_token"])


def table(out: Path, corpora: Sequence[str] = CORPORA) -> str:
    """Markdown of all corpora that have finished runs."""
    results = {corpus: figures for corpus in corpora if (figures := read(corpus, out)) is not None}
    lines = [*_bounds(results, out), "", *_samples(results), "", *_differences(results)]
    return "\n".join(lines)


def _steps(results: dict[str, dict[str, Any]], figure: str) -> list[str]:
    """All T that some system has a figure for."""
    every = {
        t
        for figures in results.values()
        for variant in figures["variants"].values()
        for t in variant["figures"].get(figure, {})
    }
    return sorted(every, key=int)


def _bounds(results: dict[str, dict[str, Any]], out: Path) -> list[str]:
    shown = [t for t in _steps(results, "L") if t in ("1", "8", "32")]
    columns = [
        "corpus",
        "system",
        "seeds",
        "bound, nats/token",
        "perplexity per word",
        *(f"L_{t}" for t in shown),
    ]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for corpus, figures in results.items():
        judge = _judge(corpus, out, figures)
        per_word = tokens_per_word(judge)
        for name, variant in figures["variants"].items():
            own = variant["figures"]
            if "bound" not in own:
                continue
            words = [math.exp(value * per_word) for value in own["bound"]["by_seed"].values()]
            cells = [
                corpus,
                name,
                str(len(variant["seeds"])),
                spread_of(own["bound"]),
                spread(words, digits=0),
            ]
            cells += [spread_of(own["L"][t]) if t in own.get("L", {}) else "" for t in shown]
            lines.append("| " + " | ".join(cells) + " |")
        exact = judge_bound(judge)
        cells = [corpus, "autoregressive judge", "1", f"{exact:.3f}", f"{math.exp(exact * per_word):.0f}"]
        lines.append("| " + " | ".join([*cells, *("" for _ in shown)]) + " |")
    return lines


def _samples(results: dict[str, dict[str, Any]]) -> list[str]:
    steps = _steps(results, "judge_nll")
    lines = ["| corpus | system | " + " | ".join(f"T = {t}" for t in steps) + " |"]
    lines.append("|---" * (len(steps) + 2) + "|")
    for corpus, figures in results.items():
        for name, variant in figures["variants"].items():
            own = variant["figures"]
            if "judge_nll" in own:
                cells = [judged(own, t) if t in own["judge_nll"] else "" for t in steps]
                lines.append(f"| {corpus} | {name} | " + " | ".join(cells) + " |")
    return lines


def _differences(results: dict[str, dict[str, Any]]) -> list[str]:
    columns = (
        "corpus",
        "difference",
        "bound, 95 % interval",
        "verdict",
        "better judged at",
        "entropy lower by at most",
    )
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for corpus, figures in results.items():
        for gap in figures["differences"]:
            if gap["figure"] != "bound":
                continue
            wins = [
                f"{other['steps']}"
                for other in figures["differences"]
                if (other["variant"], other["reference"]) == (gap["variant"], gap["reference"])
                and other["figure"] == "judge_nll"
                and other["verdict"] == "better"
            ]
            cells = [corpus, f"{gap['variant']} - {gap['reference']}", with_interval(gap)]
            cells += [gap["verdict"], "T = " + ", ".join(wins) if wins else "none"]
            cells.append(_lowest_entropy(figures["variants"], gap["variant"], gap["reference"]))
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def _lowest_entropy(variants: dict[str, Any], variant: str, reference: str) -> str:
    """By how much, and at which T, the entropy of samples falls most below the reference, paired by seed."""
    ours, theirs = (variants[name]["figures"].get("unigram_entropy", {}) for name in (variant, reference))
    lowest = (0.0, "")
    for t in ours.keys() & theirs.keys():
        seeds = ours[t]["by_seed"].keys() & theirs[t]["by_seed"].keys()
        gaps = [ours[t]["by_seed"][seed] - theirs[t]["by_seed"][seed] for seed in seeds]
        if gaps and (mean := statistics.mean(gaps)) < lowest[0]:
            lowest = (mean, f"{-mean:.3f} (T = {t})")
    return lowest[1] or "none"


def main() -> None:
    """Parses the command line and runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the prepared data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/tournament"))
    parser.add_argument("--corpora", nargs="*", default=list(CORPORA), choices=CORPORA)
    parser.add_argument("--seeds", default="[0, 1, 2]", help="as in an ablation file")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings at a time")
    parser.add_argument("--set", nargs="*", default=[], help="further overrides of every run")
    parser.add_argument("--table", action="store_true", help="only print the table of finished runs")
    arguments = parser.parse_args()
    if not arguments.table:
        for corpus in arguments.corpora:
            ablate(corpus, arguments)
    for corpus in arguments.corpora:
        if read(corpus, arguments.out) is None:
            print(
                f"{corpus}: left out, its judge or its table is missing in {arguments.out}", file=sys.stderr
            )
    print(table(arguments.out, arguments.corpora))


if __name__ == "__main__":
    main()
