"""The tables of a page of docs/results/ that an ablation fills: bounds and costs, then judged samples.

`hdiff ablate` writes the figures; `recipes/benchmarks/results.py` puts these tables on the page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compare import spread

from hdiff.ablation.folder import find_ablation
from hdiff.ablation.results import read_results
from hdiff.ablation.summary import as_json, summarise

STEPS = ("1", "8", "32")


def figures_of(folder: Path) -> dict[str, Any]:
    """What `ablation.json` holds, made anew of the runs: the file may be older than how figures are counted.

    Args:
        folder: Output of an ablation.

    Returns:
        The object that `hdiff ablate --json` prints.
    """
    ablation = find_ablation(folder)
    return as_json(summarise(ablation, read_results(ablation)))


def table(folder: Path) -> str:
    """Markdown of one ablation.

    Args:
        folder: Its output, with ablation.json.

    Returns:
        Two tables, and a line about runs that failed or are not done.
    """
    return markdown(figures_of(folder))


def markdown(results: dict[str, Any]) -> str:
    """The tables, from the figures of an ablation."""
    lines = [
        f"| system | seeds | bound, nats/token | of it structure | bound - {results['baseline']} [95 %] | "
        + " | ".join(f"L_{t}" for t in STEPS)
        + " | non-embedding parameters | training FLOPs |",
        "|---" * (7 + len(STEPS)) + "|",
    ]
    for name, variant in results["variants"].items():
        own = variant["figures"]
        if "bound" not in own:
            continue
        cells = [name, str(len(variant["seeds"])), spread_of(own["bound"]), spread_of(own["structure"])]
        cells.append(_difference(results["differences"], name, results["baseline"]))
        cells += [spread_of(own["L"][t]) if t in own.get("L", {}) else "" for t in STEPS]
        cells += [f"{own['non_embedding']['mean']:,.0f}", f"{own['train_flops']['mean']:.2e}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "| system | " + " | ".join(f"T = {t}" for t in STEPS) + " |",
        "|---" * (1 + len(STEPS)) + "|",
    ]
    for name, variant in results["variants"].items():
        own = variant["figures"]
        if "judge_nll" not in own:
            continue
        cells = [judged(own, t) if t in own["judge_nll"] else "" for t in STEPS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    missing = [*results["failed"], *results["unfinished"]]
    return "\n".join([*lines, *(["", f"Not run: {', '.join(missing)}."] if missing else [])])


def _difference(differences: list[dict[str, Any]], variant: str, reference: str) -> str:
    """The paired difference of the bound; empty for the baseline itself."""
    for gap in differences:
        if (gap["variant"], gap["reference"], gap["figure"]) == (variant, reference, "bound"):
            return with_interval(gap)
    return ""


def with_interval(gap: dict[str, Any]) -> str:
    """A paired difference with its 95 % interval, if there is one."""
    interval = "" if gap["low"] is None else f" [{gap['low']:+.3f}, {gap['high']:+.3f}]"
    return f"{gap['mean']:+.3f}{interval}"


def judged(figures: dict[str, Any], steps: str) -> str:
    """Judge NLL of samples in T steps, with their unigram entropy in brackets."""
    entropy = figures["unigram_entropy"][steps]["mean"]
    return f"{spread_of(figures['judge_nll'][steps], 2)} ({entropy:.2f})"


def spread_of(figure: dict[str, Any], digits: int = 3) -> str:
    """Mean and standard deviation of a figure over its seeds."""
    return spread([value for value in figure["by_seed"].values() if value is not None], digits=digits)
