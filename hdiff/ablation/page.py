"""Files of an ablation: tables, plots and one offline page, written beside its runs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from hdiff.ablation.folder import SOURCE_FILE, UNKNOWN_FILE
from hdiff.ablation.plots import plots
from hdiff.ablation.results import RunResult
from hdiff.ablation.summary import Summary, as_json
from hdiff.ablation.table import csv_text, markdown, notes, short_line, tables
from hdiff.files import write_atomically
from hdiff.pages.page import render_page
from hdiff.pages.report_text import duration
from hdiff.pages.svg import PAGE

TITLES = {
    "bound": "Bound",
    "t_step": "Cost of parallel decoding",
    "judge_nll": "Sample quality over NFE",
    "judge_nll_seconds": "Sample quality over seconds",
}


def write_ablation(summary: Summary) -> list[Path]:
    """Writes the page, tables and plots of an ablation into its folder and returns the files."""
    contents = {
        "ablation.md": markdown(summary),
        "ablation.csv": csv_text(summary),
        "ablation.json": json.dumps(as_json(summary), indent=1),
        "ablation.html": ablation_page(summary),
        **{f"{name}.svg": svg for name, svg in plots(summary).items()},
    }
    if summary.ablation.file != UNKNOWN_FILE:
        source = {"file": str(summary.ablation.file), "overrides": summary.ablation.overrides}
        contents[SOURCE_FILE] = json.dumps(source)
    files = [summary.ablation.output / name for name in contents]
    for file, content in zip(files, contents.values(), strict=True):
        write_atomically(file, content)
    return files


def ablation_page(summary: Summary) -> str:
    """The page: plots, tables, runs and notes, self-contained."""
    from markupsafe import Markup

    is_behind = summary.failed or summary.unfinished
    return render_page(
        "ablation.html",
        title=summary.ablation.name,
        data=as_json(summary),
        scripts=(),
        context={
            "lede": f"Differences are taken to {summary.ablation.baseline}; {short_line(summary)}.",
            # Names in the plots are escaped where they are drawn.
            "figures": [(name, TITLES[name], Markup(svg)) for name, svg in plots(summary, PAGE).items()],
            "tables": tables(summary),
            "runs": [_run_facts(summary, name, result) for name, result in summary.results.items()],
            "command": summary.ablation.command if is_behind else None,
            "notes": notes(summary),
        },
    )


def _run_facts(summary: Summary, name: str, result: RunResult) -> dict[str, Any]:
    """What a reader wants to know of one run; `link` is relative to the page."""
    figures, record = result.figures, result.record
    bound = figures.get(("bound", None), figures.get(("conditional_bound", None)))
    has_report = (result.run.path / "report.html").is_file()
    seconds = figures.get(("train_seconds", None))
    return {
        "name": name,
        "state": result.state,
        "reason": result.reason,
        "bound": "" if bound is None else f"{bound:.3f}",
        "given": ("conditional_bound", None) in figures,
        "training": "" if seconds is None else duration(seconds),
        "commit": record.get("commit") or "",
        "link": f"{result.run.path.name}/report.html" if has_report else None,
        "command": f"hdiff report {shlex.quote(str(summary.ablation.output / result.run.path.name))}",
    }
