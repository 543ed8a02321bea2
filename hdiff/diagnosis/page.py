"""Files of a diagnosis: JSON, Markdown, two plots and one offline page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hdiff.diagnosis.diagnosis import Diagnosis
from hdiff.diagnosis.plots import frequency_plot, pair_plot
from hdiff.diagnosis.tables import collapse_sentences, collapse_table, trap_sentences, trap_tables
from hdiff.files import finite, write_atomically
from hdiff.pages.page import render_page
from hdiff.pages.svg import PAGE
from hdiff.pages.text_table import Table, aligned
from hdiff.runs.results import write_result

MEANING = (
    "Likelihoods are the figures of true tokens and true pairs: -log p of what the text has, given what is "
    "visible. KL, entropy, total correlation, excess surprise and the shares compare distributions of the "
    "model itself and say nothing of how good it is.",
    "A small KL far from text is no error by itself: with nothing near, even the exact marginal of a token "
    "is close to the unigram distribution. The failure is to fill many such tokens at once, apart.",
)


def write_diagnosis(
    diagnosis: Diagnosis, folder: Path, *, result: Mapping[str, Any] | None = None
) -> list[Path]:
    """Writes diagnosis.json, .md, .html and both plots into a folder and returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "diagnosis.md": markdown(diagnosis),
        "diagnosis.html": diagnosis_page(diagnosis),
        "frequency_collapse.svg": frequency_plot(diagnosis),
        "marginal_trap.svg": pair_plot(diagnosis),
    }
    written = write_result(folder, "diagnosis", result or json_of(diagnosis), "--output DIR")
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [written, *(folder / name for name in contents)]


def json_of(diagnosis: Diagnosis) -> dict[str, Any]:
    """The object of diagnosis.json; a number that JSON lacks (an infinite KL) is null."""
    return {key: finite(value) for key, value in diagnosis.as_json().items()}


def markdown(diagnosis: Diagnosis) -> str:
    """The findings as Markdown, with its plots."""
    plots = ("![predictions over distance](frequency_collapse.svg)", "![pairs](marginal_trap.svg)")
    return _text(_parts(diagnosis, plots), heading="## ", table=_markdown_table)


def plain_text(diagnosis: Diagnosis) -> str:
    """The findings as text for a terminal."""
    return _text(_parts(diagnosis), heading="", table=aligned)


def _parts(diagnosis: Diagnosis, plots: Sequence[str] = ()) -> list[tuple[str, list[str | Table]]]:
    """Headings, and what stands under each."""
    shown = [[plot] for plot in plots] or [[], []]
    return [
        (f"Diagnosis of {diagnosis.model}", [_lede(diagnosis)]),
        (
            "Frequency collapse",
            [*collapse_sentences(diagnosis), collapse_table(diagnosis), *shown[0]],
        ),
        ("Marginal trap", [*trap_sentences(diagnosis), *trap_tables(diagnosis), *shown[1]]),
        ("Notes", [*diagnosis.notes, *MEANING]),
    ]


def _text(
    parts: Sequence[tuple[str, Sequence[str | Table]]], *, heading: str, table: Callable[[Table], str]
) -> str:
    blocks = []
    for title, content in parts:
        blocks.append(f"{heading}{title}")
        blocks += [
            block if isinstance(block, str) else f"{block.title}:\n\n{table(block)}" for block in content
        ]
    return "\n\n".join(blocks).removeprefix(heading[:1]) + "\n"


def diagnosis_page(diagnosis: Diagnosis) -> str:
    """The page: findings, plots and tables, self-contained."""
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


def _markdown_table(table: Table) -> str:
    lines = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Text that Markdown shows as it is: a bar would end the cell, a tag would vanish."""
    return text.replace("|", "¦").replace("&", "&amp;").replace("<", "&lt;")
