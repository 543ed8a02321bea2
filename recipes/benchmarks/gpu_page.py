"""docs/results/gpu.md from gpu.json, which `gpu.py` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "docs" / "results"

HEAD = """# One GPU

What only a GPU can tell, from one command of at most nine minutes:

    bash recipes/benchmarks/gpu.sh runs/gpu
    python recipes/benchmarks/gpu.py --page runs/gpu    # makes this page

| part | what it measures |
|---|---|
| tests | the tests marked `gpu` |
| backends | attention of every backend against the reference in float64, forward and gradients |
| training | tokens per second, FLOP/s and memory of both systems beside plain loops; xformers, compiling |
| sampling | tokens per second that are written at 1, 4 and 16 steps |
| tournament | token masking and spans, trained for equal shares of the time that is left |

Each row is saved as soon as it is known. `--sizes tiny` rehearses all of it on a CPU, as a test does.
FLOP/s count 6 per token and parameter of the trunk and the head.
"""

NOTHING = "\n**None was run yet.** No figure in this documentation was measured on a GPU.\n"


def page(result: dict[str, Any] | None) -> str:
    """The page.

    Args:
        result: What gpu.json holds; None if there is none.

    Returns:
        Markdown.
    """
    if result is None:
        return HEAD + NOTHING
    commit, torch = (result.get(key, "unknown") for key in ("commit", "torch"))
    lines = [HEAD, f"Device: {result['device']}. Commit {commit}, torch {torch}."]
    for name, part in result["parts"].items():
        lines += ["", f"## {name.capitalize()}", ""]
        if "problem" in part:
            lines += [f"It ended early: `{part['problem']}`", ""]
        lines += _table(part["rows"]) if part["rows"] else ["Nothing was measured."]
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    body = ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|", *body]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 or abs(value) >= 1e7 else f"{value:.0f}"
    return str(value).replace("|", "/")


def write(file: Path) -> None:
    """Makes the page of the documentation of a result, and keeps the result beside it."""
    text = file.read_text(encoding="utf-8")
    (RESULTS / "gpu.json").write_text(text, encoding="utf-8")
    (RESULTS / "gpu.md").write_text(page(json.loads(text)), encoding="utf-8")
