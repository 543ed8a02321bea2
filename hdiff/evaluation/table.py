"""print_evaluation: the figures of `hdiff eval` as a table for people."""

from __future__ import annotations

from math import isfinite
from typing import Any

from rich.table import Table

from hdiff.evaluation.perplexity import perplexity_text, shown, what_is_bounded
from hdiff.evaluation.reading import FEWEST_JUDGED, best_process, judged_text, parallel_cost, sampler_text
from hdiff.progress import console as make_console


def print_evaluation(result: dict[str, Any], *, title: str) -> None:
    """Prints an evaluation to stdout."""
    console = make_console()
    if not console.is_terminal:
        console.width = 170  # a pipe or a file has no width of its own; wrapped figures are unreadable
    bound = result["bound"]
    what = what_is_bounded(bound)
    if bound["kind"] == "exact":
        meaning = f"exact {what}"
    elif bound["conditional_on_structure"]:
        given = what[:-1] + (", " if "|" in what else " | ")
        meaning = f"bound on {given}structure): NOT comparable with {what}"
    elif bound["structure_nats_per_token"]:
        paid = f"{bound['structure_nats_per_token']:.4f} of it pay for types or speeds"
        meaning = f"upper bound on {what}; {paid}"
    else:
        meaning = f"upper bound on {what}"
    perplexity = f", {words}," if (words := perplexity_text(bound)) else ""
    console.print(
        f"{title}, step {result['step']:,}: {bound['nats_per_token']:.4f} ± {_nats(bound['stderr'])} "
        f"nats/token"
        f"{perplexity} over {bound['tokens']:,} tokens "
        f"({meaning}; a uniform guess has {bound['uniform_nats_per_token']:.4f})",
        highlight=False,
        soft_wrap=True,
    )
    for name, accuracy in result.get("minimal_pairs", {}).items():
        error = "" if accuracy["stderr"] is None else f" ± {100 * accuracy['stderr']:.1f}"
        console.print(
            f"{name}: {100 * accuracy['accuracy']:.1f}{error} % of minimal pairs right, mean of "
            f"{len(accuracy['paradigms'])} paradigms, {accuracy['pairs']} pairs ({accuracy['likelihood']})",
            highlight=False,
            soft_wrap=True,
        )
    figures = [key for key in result["quality"] if key not in result["t_step"]]
    steps_of = [*result["t_step"], *figures]  # samplers without a bound have samples only
    if not steps_of:
        return
    spec = result.get("sampler") or {"kind": "ancestral"}
    sampler = sampler_text(spec)
    if not result["t_step"]:
        console.print(f"sampler {sampler}: no likelihood bound", highlight=False)
    elif result.get("sampler_is_exact"):
        meaning = "L_T is -log p of exactly this sampler, whose order depends on visible tokens alone"
        console.print(f"sampler {sampler}: {meaning} (DUEL)", highlight=False, soft_wrap=True)
    elif spec != {"kind": "ancestral"}:
        console.print(f"sampler {sampler}: L_T is the bound of exactly this sampler", highlight=False)
    has_perplexity = bool(result["t_step"]) and not bound["conditional_on_structure"]
    columns = [
        "T",
        "L_T nats/token",
        "±",
        *(["perplexity (upper bound)"] if has_perplexity else []),
        "judge NLL",
        "entropy",
        "distinct-2",
        "repeated 4-grams",
        "s/sample",
        "NFE",
        "head passes",
    ]
    with_outside = any("ngram_nll" in figures for figures in result["quality"].values())
    if with_outside:
        columns += ["n-gram NLL", "parsed"]
    with_phrases = "phrase_valid" in result
    if with_phrases:
        columns += ["valid phrases", "factorised ceiling"]
    table = Table(*columns)
    best = best_process([result])
    for steps in steps_of:
        nats, error = result["t_step"].get(steps), result["t_step_stderr"].get(steps)
        row = [steps, *map(_nats, (nats, error))]
        if best is not None and nats == best.nats:
            row[1] += " *"
        if has_perplexity:
            row.append("–" if nats is None else shown(nats))
        row += _quality_cells(result["quality"].get(steps), speed=True)
        if with_outside:
            row += _outside_cells(result["quality"].get(steps, {}))
        if with_phrases:
            row += [f"{result['phrase_valid'][steps]:.3f}", f"{result['phrase_ceiling'][steps]:.3f}"]
        table.add_row(*row)
    if "reference" in result:
        outside = _outside_cells(result["reference"]) if with_outside else []
        blank = [""] * (3 if has_perplexity else 2)
        table.add_row("held-out text", *blank, *_quality_cells(result["reference"], speed=False), *outside)
    console.print(table)
    if "list_operations" in result:
        console.print(_list_table(result["list_operations"]))
    for line in _readings(result):
        console.print(line, highlight=False, soft_wrap=True)


def _readings(result: dict[str, Any]) -> list[str]:
    """What the table says, in sentences."""
    lines = []
    if (best := best_process([result])) is not None:
        perplexity = f"perplexity (upper bound) {shown(best.nats)}"
        lines.append(f"best process (*): {best.name}, {best.shown} nats/token, {perplexity}")
    if (cost := parallel_cost(result)) is not None:
        lines.append(f"cost of parallel decoding: {cost.meaning}")
    if (dependence := result.get("total_correlation_nats_per_token")) is not None:
        lines.append(
            f"total correlation of the units: about {dependence:.3f} nats/token (L_1 less the bound, same "
            f"network and units)"
        )
    sets = [figures for figures in result["quality"].values() if figures.get("judge_nll") is not None]
    if sets and sets[0].get("samples", 0) < FEWEST_JUDGED:
        lines.append(
            f"judge NLL is shown of {FEWEST_JUDGED} samples or more: set evaluation.samples={FEWEST_JUDGED} "
            f"in the recipe"
        )
    return lines


def _list_table(figures: dict[str, Any]) -> Table:
    """Shares of right answers, by operation and steps over the answer, beside the factorised ceiling."""
    steps = list(figures["nfe"])
    table = Table("operation", *(f"right at T = {t}" for t in steps), *(f"ceiling, T = {t}" for t in steps))
    for operation, shares in figures["valid"].items():
        ceilings = figures["ceiling"][operation]
        table.add_row(operation, *(f"{shares[t]:.3f}" for t in steps), *(f"{ceilings[t]:.3f}" for t in steps))
    return table


def _outside_cells(figures: dict[str, Any]) -> list[str]:
    values = (figures.get("ngram_nll"), figures.get("link_grammar_rate"))
    return ["–" if value is None else f"{value:.3f}" for value in values]


def _quality_cells(figures: dict[str, Any] | None, *, speed: bool) -> list[str]:
    if figures is None:
        return [""] * 7
    cells = [
        judged_text(figures) or "–",
        f"{figures['unigram_entropy']:.3f}",
        f"{figures['distinct_2']:.3f}",
        f"{figures['repetition_4']:.3f}" if "repetition_4" in figures else "–",
    ]
    if not speed:
        return [*cells, "", "", ""]
    passes = f"{figures['head_passes']:g}" if "head_passes" in figures else "–"
    return [*cells, f"{figures['seconds_per_sample']:.3f}", f"{figures['nfe']:g}", passes]


def _nats(value: float | None) -> str:
    """A figure, or a dash where there is none, as the error of one row alone."""
    return "–" if value is None or not isfinite(value) else f"{value:.4f}"
