"""Tables of `hdiff parser eval`."""

from __future__ import annotations

from typing import Any


def print_scores(result: dict[str, Any], gold: str, parser: str) -> None:
    """Prints the scores of a parser, its figures by group, and errors, as `scores_of` returned them."""
    from rich.table import Table

    from hdiff.progress import console as make_console

    console = make_console()
    table = Table(title=f"{parser} on {gold}", title_justify="left", box=None)
    for column in ("spans", "precision", "recall", "F1", "gold", "found"):
        table.add_column(column, justify="left" if column == "spans" else "right")
    rows = {"unlabelled": result["unlabelled"], "labelled": result["labelled"], "EVALB": result["evalb"]}
    rows |= {f"level {level}": score for level, score in result["by_level"].items()}
    rows |= {f"label {label}": score for label, score in result["by_label"].items()}
    rows |= {name: result[key] for key, name in _ENDS.items() if key in result}
    for name, score in rows.items():
        figures = (f"{100 * score[key]:.1f}" for key in ("precision", "recall", "f1"))
        table.add_row(name, *figures, f"{score['gold']:,}", f"{score['found']:,}")
    console.print(table)
    shares = {side: result["unbalanced"][side] for side in ("gold", "parser")}
    console.print(
        "Spans with one bracket or quote of a pair and not the other: "
        + ", ".join(
            f"{side} {100 * share['share']:.1f} % of {share['spans']:,}" for side, share in shares.items()
        )
        + " with a mark.",
        highlight=False,
    )
    if "by_group" in result:
        console.print(_groups(result["by_group"]))
    console.print(
        f"{result['sentences']:,} sentences, {result['words']:,} words, {result['failed']} failed, "
        f"{result.get('fallbacks', 0)} too long for the parser; "
        f"{result['tokens_per_second']:,} words per second. Gold words; spans of two words or more, outer "
        "punctuation stripped, each extent once; labels in the categories shown. EVALB: every bracket with "
        "its treebank label.",
        highlight=False,
    )
    if result["errors"]:
        console.print(_errors(result["errors"]))


_ENDS = {
    "sentence_boundaries": "sentence ends",
    "sentence_boundaries_without_layout": "  without layout",
}


def _groups(groups: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title="by group", title_justify="left", box=None)
    for column in ("group", "unlabelled F1", "labelled F1", "EVALB F1", "unbalanced %", "sentences"):
        table.add_column(column, justify="left" if column == "group" else "right")
    for name, scores in sorted(groups.items()):
        figures = (f"{100 * scores[key]['f1']:.1f}" for key in ("unlabelled", "labelled", "evalb"))
        share = f"{100 * scores['unbalanced']['parser']['share']:.1f}"
        table.add_row(name, *figures, share, f"{scores['sentences']:,}")
    return table


def _errors(errors: list[dict[str, str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="errors", title_justify="left", box=None)
    for column in ("span", "gold", "parser", "sentence"):
        table.add_column(column, overflow="fold")
    for error in errors:
        cells = (error["span"], error["gold"] or "-", error["parser"] or "-", error["sentence"])
        table.add_row(*(Text(cell) for cell in cells))
    return table
