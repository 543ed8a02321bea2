"""Files of an ablation: tables, plots and one offline page, written beside its runs."""

from __future__ import annotations

import json
from pathlib import Path

from hdiff.ablation.plots import PAGE, plots
from hdiff.ablation.summary import Summary, as_json
from hdiff.ablation.table import csv_text, markdown, notes, short_line, tables
from hdiff.checkpoint import write_atomically
from hdiff.pages import render_page


def write_ablation(summary: Summary) -> list[Path]:
    """Writes ablation.md, .csv, .json, .html and the plots into the folder of the ablation.

    Args:
        summary: What was found.

    Returns:
        The files.

    Raises:
        CheckpointError: If the disk is full.
    """
    contents = {
        "ablation.md": markdown(summary),
        "ablation.csv": csv_text(summary),
        "ablation.json": json.dumps(as_json(summary), indent=1),
        "ablation.html": ablation_page(summary),
        **{f"{name}.svg": svg for name, svg in plots(summary).items()},
    }
    files = [summary.ablation.output / name for name in contents]
    for file, content in zip(files, contents.values(), strict=True):
        write_atomically(file, content)
    return files


def ablation_page(summary: Summary) -> str:
    """The page: plots, tables and notes, self-contained.

    Args:
        summary: What was found.

    Returns:
        The page as HTML.
    """
    from markupsafe import Markup

    return render_page(
        "ablation.html",
        title=summary.ablation.name,
        data=as_json(summary),
        scripts=(),
        context={
            "lede": f"Differences are taken to {summary.ablation.baseline}; {short_line(summary)}.",
            # Names in the plots are escaped where they are drawn.
            "figures": [(name, Markup(svg)) for name, svg in plots(summary, PAGE).items()],
            "tables": tables(summary),
            "notes": notes(summary),
        },
    )
