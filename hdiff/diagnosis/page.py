"""Files of a diagnosis: JSON, Markdown, two plots and one offline page. No torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hdiff.diagnosis.diagnosis import Diagnosis
from hdiff.diagnosis.plots import frequency_plot, pair_plot
from hdiff.diagnosis.tables import collapse_sentences, collapse_table, trap_sentences, trap_tables
from hdiff.files import write_atomically
from hdiff.pages.page import render_page
from hdiff.pages.svg import PAGE
from hdiff.pages.text_table import Table

MEANING = (
    "Likelihoods are the figures of true tokens and true pairs: -log p of what the text has, given what is "
    "visible. KL, entropy, total correlation, excess surprise and the shares compare distributions of the "
    "model itself and say nothing of how good it is.",
    "A small KL far from text is no error by itself: with nothing near, even the exact marginal of a token "
    "is close to the unigram distribution. The failure is to fill many such tokens at once, apart.",
)


def write_diagnosis(diagnosis: Diagnosis, folder: Path) -> list[Path]:
    """Writes diagnosis.json, .md, .html, frequency_collapse.svg and marginal_trap.svg.

    Args:
        diagnosis: The diagnosis.
        folder: Where to; made if it is not there.

    Returns:
        The files.

    Raises:
        CheckpointError: If the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "diagnosis.json": json.dumps(json_of(diagnosis), indent=1, allow_nan=False),
        "diagnosis.md": markdown(diagnosis),
        "diagnosis.html": diagnosis_page(diagnosis),
        "frequency_collapse.svg": frequency_plot(diagnosis),
        "marginal_trap.svg": pair_plot(diagnosis),
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def json_of(diagnosis: Diagnosis) -> dict[str, Any]:
    """The object of diagnosis.json; a number that JSON lacks (an infinite KL) is null."""
    return {key: _finite(value) for key, value in diagnosis.as_json().items()}


def markdown(diagnosis: Diagnosis) -> str:
    """The findings as text."""
    parts = [f"# Diagnosis of {diagnosis.model}", _lede(diagnosis)]
    parts += ["## Frequency collapse", *collapse_sentences(diagnosis), _text(collapse_table(diagnosis))]
    parts += ["![predictions over distance](frequency_collapse.svg)"]
    parts += ["## Marginal trap", *trap_sentences(diagnosis)]
    parts += [f"{table.title}:\n\n{_text(table)}" for table in trap_tables(diagnosis)]
    parts += ["![pairs filled at once and in turn](marginal_trap.svg)"]
    parts += ["## Notes", *diagnosis.notes, *MEANING]
    return "\n\n".join(parts) + "\n"


def diagnosis_page(diagnosis: Diagnosis) -> str:
    """The page: findings, plots and tables, self-contained.

    Args:
        diagnosis: The diagnosis.

    Returns:
        The page as HTML.
    """
    from markupsafe import Markup

    return render_page(
        "diagnosis.html",
        title=f"Diagnosis of {diagnosis.model}",
        data=diagnosis.as_json(),
        scripts=(),
        context={
            "lede": _lede(diagnosis),
            "sections": [
                {
                    "id": "frequency_collapse",
                    "title": "Frequency collapse",
                    "sentences": collapse_sentences(diagnosis),
                    # Names in the plots are escaped where they are drawn.
                    "figure": Markup(frequency_plot(diagnosis, PAGE)),
                    "tables": [collapse_table(diagnosis)],
                },
                {
                    "id": "marginal_trap",
                    "title": "Marginal trap",
                    "sentences": trap_sentences(diagnosis),
                    "figure": Markup(pair_plot(diagnosis, PAGE)),
                    "tables": trap_tables(diagnosis),
                },
            ],
            "notes": [*diagnosis.notes, *MEANING],
        },
    )


def _lede(diagnosis: Diagnosis) -> str:
    return f"Text: {diagnosis.text}. Seed {diagnosis.seed}. Figures are means ± standard errors, in nats."


def _text(table: Table) -> str:
    lines = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Text that Markdown shows as it is: a bar would end the cell, a tag would vanish."""
    return text.replace("|", "¦").replace("&", "&amp;").replace("<", "&lt;")


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
