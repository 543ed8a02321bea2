"""The tables of a page of docs/results/ that an ablation fills: bounds and costs, then judged samples.

`hdiff ablate` writes the figures; `recipes/benchmarks/results.py` puts these tables on the page.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compare import spread

STEPS = ("1", "8", "32")


def table(folder: Path) -> str:
    """Markdown of one ablation.

    Args:
        folder: Its output, with ablation.json.

    Returns:
        Two tables, and a line about runs that failed or are not done.
    """
    found = json.loads((folder / "ablation.json").read_text(encoding="utf-8"))
    lines = [
        f"| system | seeds | bound, nats/token | of it structure | bound - {found['baseline']} [95 %] | "
        + " | ".join(f"L_{t}" for t in STEPS)
        + " | non-embedding parameters | training FLOPs |",
        "|---" * (7 + len(STEPS)) + "|",
    ]
    for name, variant in found["variants"].items():
        own = variant["figures"]
        if "bound" not in own:
            continue
        cells = [name, str(len(variant["seeds"])), _spread(own["bound"]), _spread(own["structure"])]
        cells.append(_difference(found["differences"], name, found["baseline"]))
        cells += [_spread(own["L"][t]) if t in own.get("L", {}) else "" for t in STEPS]
        cells += [f"{own['non_embedding']['mean']:,.0f}", f"{own['train_flops']['mean']:.2e}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "| system | " + " | ".join(f"T = {t}" for t in STEPS) + " |",
        "|---" * (1 + len(STEPS)) + "|",
    ]
    for name, variant in found["variants"].items():
        own = variant["figures"]
        if "judge_nll" not in own:
            continue
        cells = [
            f"{_spread(own['judge_nll'][t], 2)} ({own['unigram_entropy'][t]['mean']:.2f})"
            if t in own["judge_nll"]
            else ""
            for t in STEPS
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    missing = [*found["failed"], *found["unfinished"]]
    return "\n".join([*lines, *(["", f"Not run: {', '.join(missing)}."] if missing else [])])


def _difference(differences: list[dict[str, Any]], variant: str, reference: str) -> str:
    """The paired difference of the bound; empty for the baseline itself."""
    for gap in differences:
        if (gap["variant"], gap["reference"], gap["figure"]) == (variant, reference, "bound"):
            interval = "" if gap["low"] is None else f" [{gap['low']:+.3f}, {gap['high']:+.3f}]"
            return f"{gap['mean']:+.3f}{interval}"
    return ""


def _spread(figure: dict[str, Any], digits: int = 3) -> str:
    return spread([value for value in figure["by_seed"].values() if value is not None], digits=digits)
