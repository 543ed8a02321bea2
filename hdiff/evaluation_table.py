"""print_evaluation: the figures of `hdiff eval` as a table for people. No torch."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_evaluation(result: dict[str, Any], *, title: str) -> None:
    """Prints an evaluation to stdout.

    Args:
        result: What `evaluate_run` returns.
        title: Name of the run.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(
            width=140
        )  # a pipe or a file has no width of its own; wrapped figures are unreadable
    bound = result["bound"]
    if bound["kind"] == "exact":
        meaning = "exact -log p(x_0)"
    elif bound["conditional_on_structure"]:
        meaning = "bound on -log p(x_0 | structure): NOT comparable with -log p(x_0)"
    elif bound["structure_nats_per_token"]:
        paid = f"{bound['structure_nats_per_token']:.4f} of it pay for types or speeds"
        meaning = f"upper bound on -log p(x_0); {paid}"
    else:
        meaning = "upper bound on -log p(x_0)"
    console.print(
        f"{title}: {bound['nats_per_token']:.4f} ± {bound['stderr']:.4f} nats/token "
        f"over {bound['tokens']:,} tokens "
        f"({meaning}; a uniform guess has {bound['uniform_nats_per_token']:.4f})",
        highlight=False,
        soft_wrap=True,
    )
    if not result["t_step"]:
        return
    columns = ["T", "L_T nats/token", "±", "judge NLL", "entropy", "distinct-2", "s/sample", "NFE"]
    with_phrases = "phrase_valid" in result
    if with_phrases:
        columns += ["valid phrases", "factorised ceiling"]
    table = Table(*columns)
    for steps, nats in result["t_step"].items():
        row = [steps, f"{nats:.4f}", f"{result['t_step_stderr'][steps]:.4f}"]
        row += _quality_cells(result["quality"].get(steps), speed=True)
        if with_phrases:
            row += [f"{result['phrase_valid'][steps]:.3f}", f"{result['phrase_ceiling'][steps]:.3f}"]
        table.add_row(*row)
    if "reference" in result:
        table.add_row("held-out text", "", "", *_quality_cells(result["reference"], speed=False))
    console.print(table)


def _quality_cells(figures: dict[str, Any] | None, *, speed: bool) -> list[str]:
    if figures is None:
        return [""] * 5
    judge = figures["judge_nll"]
    cells = [
        "–" if judge is None else f"{judge:.3f}",
        f"{figures['unigram_entropy']:.3f}",
        f"{figures['distinct_2']:.3f}",
    ]
    return cells + ([f"{figures['seconds_per_sample']:.3f}", str(figures["nfe"])] if speed else ["", ""])
