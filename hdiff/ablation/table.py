"""Tables of an ablation as text: Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from hdiff.ablation.statistics import Spread
from hdiff.ablation.summary import Comparison, Summary
from hdiff.evaluation.perplexity import shown
from hdiff.pages.text_table import DASH, Table, aligned

TITLES = {
    "bound": "bound, nats/token",
    "conditional_bound": "bound GIVEN STRUCTURE, not comparable",
    "structure": "of it structure",
    "L": "L_T, nats/token",
    "judge_nll": "judge NLL of samples, nats/token",
    "unigram_entropy": "unigram entropy of samples, nats",
    "distinct_2": "distinct-2 of samples",
    "seconds_per_sample": "seconds per sample",
    "nfe": "NFE (mean trunk calls)",
    "head_passes": "sequential passes of the head, mean",
    "parameters": "parameters",
    "non_embedding": "non-embedding",
    "tokens_seen": "tokens seen",
    "train_flops": "training FLOPs, estimate",
    "train_seconds": "training, s",
}
ROWS_OF_STEPS = (
    "L",
    "judge_nll",
    "unigram_entropy",
    "distinct_2",
    "seconds_per_sample",
    "nfe",
    "head_passes",
)


def tables(summary: Summary) -> list[Table]:
    """The tables of a summary, in the order of a page."""
    made = [_main_table(summary), _changes_table(summary)]
    for figure in ROWS_OF_STEPS:
        if steps := summary.steps(figure):
            made.append(_steps_table(summary, figure, steps))
    references = list(dict.fromkeys(c.reference for c in summary.comparisons))
    for reference in references:
        chosen = [c for c in summary.comparisons if c.reference == reference]
        rows = tuple((f"{c.variant}: {_name(c.figure, c.steps)}", *difference_cells(c)) for c in chosen)
        title = f"Paired differences to {reference}, nats/token; lower is better"
        made.append(Table(title, ("variant", "seeds", "mean", "95 % interval", "verdict"), rows))
    return made


def _main_table(summary: Summary) -> Table:
    has_given = any(("conditional_bound", None) in spreads for spreads in summary.spreads.values())
    figures = ["bound", *(["conditional_bound"] if has_given else []), "structure"]
    costs: dict[str, Callable[[float], str]] = {
        "parameters": lambda value: f"{value:,.0f}",
        "non_embedding": lambda value: f"{value:,.0f}",
        "tokens_seen": lambda value: f"{value:,.0f}",
        "train_flops": lambda value: f"{value:.2e}",
        "train_seconds": lambda value: f"{value:,.0f}",
    }
    rows = []
    for variant, spreads in summary.spreads.items():
        cells = [_spread(spreads.get((figure, None))) for figure in figures]
        bound = spreads.get(("bound", None))
        cells.insert(1, DASH if bound is None else shown(bound.mean))
        cells += [
            show(spreads[figure, None].mean) if (figure, None) in spreads else DASH
            for figure, show in costs.items()
        ]
        rows.append((variant, _seeds(summary, variant), *cells, _fairness(summary, variant)))
    titles = [TITLES[figure] for figure in (*figures, *costs)]
    titles.insert(1, "perplexity per token (upper bound)")
    columns = ("variant", "seeds", *titles, "fairness")
    return Table("Variants, mean ± sd over seeds", columns, tuple(rows))


def _seeds(summary: Summary, variant: str) -> str:
    runs = [result for result in summary.results.values() if result.run.variant == variant]
    done = ", ".join(str(result.run.seed) for result in runs if result.state == "done")
    failed = ", ".join(str(result.run.seed) for result in runs if result.state == "failed")
    return (done or DASH) + (f" (failed: {failed})" if failed else "")


def _fairness(summary: Summary, variant: str) -> str:
    baseline = summary.ablation.baseline
    if not summary.spreads[variant]:
        return DASH
    if variant == baseline:
        return "baseline"
    reasons = summary.fairness[variant]
    if reasons is None:
        return f"not known: no run of {baseline} is finished"
    return f"not capacity-matched: {', '.join(reasons)}" if reasons else "matched"


def _changes_table(summary: Summary) -> Table:
    rows = []
    for variant in summary.ablation.variants:
        changes = summary.ablation.changes(variant)
        text = ", ".join(f"{key} = {value}" for key, value in changes.items())
        rows.append((variant, text or "the baseline"))
    return Table(f"What differs from {summary.ablation.baseline}", ("variant", "keys"), tuple(rows))


def _steps_table(summary: Summary, figure: str, steps: Sequence[int]) -> Table:
    rows = [
        (variant, *(_spread(spreads.get((figure, t))) for t in steps))
        for variant, spreads in summary.spreads.items()
    ]
    reference = next((r.reference for r in summary.results.values() if r.reference), {})
    if (value := reference.get(figure)) is not None:
        rows.append(("held-out text", *(f"{value:.3f}" for _ in steps)))
    return Table(TITLES[figure], ("variant", *(f"T = {t}" for t in steps)), tuple(rows))


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return DASH
    return f"{spread.mean:.3f}" + ("" if spread.sd is None else f" ± {spread.sd:.3f}")


def difference_cells(comparison: Comparison) -> tuple[str, str, str, str]:
    """Seeds, mean, interval and verdict of a comparison as text."""
    gap = comparison.difference
    interval = DASH if gap.low is None else f"[{gap.low:+.3f}, {gap.high:+.3f}]"
    return str(len(gap.seeds)), f"{gap.mean:+.3f}", interval, gap.verdict


def _name(figure: str, steps: int | None) -> str:
    return {"bound": "bound", "L": f"L_{steps}", "judge_nll": f"judge NLL at T = {steps}"}[figure]


def notes(summary: Summary) -> list[str]:
    """Sentences a reader needs beside the tables."""
    lines = []
    judge = summary.ablation.judge
    if judge is not None and ("bound", None) in (figures := summary.results[judge.name].figures):
        lines.append(f"Autoregressive judge, exact: {figures['bound', None]:.3f} nats/token.")
    lines.append(
        "Training FLOPs are an estimate: 6 × non-embedding parameters × tokens seen. Differences are paired "
        "by seed; an interval is Student's t at 95 %, so of twenty intervals one excludes 0 by chance. "
        "Judge NLL says little without entropy and distinct-2 beside it."
    )
    records = [result.record for result in summary.results.values() if result.record]
    for key, noun in (("commit", "Commit"), ("device", "Device")):
        values = sorted({str(record[key]) for record in records if record.get(key)})
        if values:
            lines.append(f"{noun}: {', '.join(values)}.")
    lines += [f"FAILED {name}: {reason}" for name, reason in summary.failed.items()]
    if summary.unfinished:
        missing = ", ".join(f"{name} ({reason})" for name, reason in summary.unfinished.items())
        lines.append(f"Not finished: {missing}.")
    return lines


def markdown(summary: Summary) -> str:
    """The tables and notes as Markdown."""
    lines = [f"# Ablation {summary.ablation.name}", ""]
    for table in tables(summary):
        lines += [f"## {table.title}", "", "| " + " | ".join(table.columns) + " |"]
        lines.append("|---" * len(table.columns) + "|")
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table.rows]
        lines.append("")
    return "\n".join([*lines, *(f"- {note}" for note in notes(summary)), ""])


def plain_text(summary: Summary) -> str:
    """The tables and notes for a terminal."""
    parts = [f"{table.title}\n\n{aligned(table)}" for table in tables(summary)]
    return "\n\n".join([f"Ablation {summary.ablation.name}", *parts, "\n".join(notes(summary))])


def csv_text(summary: Summary) -> str:
    """One line per finished run with every figure, for other programs."""
    keys = list(dict.fromkeys(key for variant in summary.spreads.values() for key in variant))
    keys.sort(key=lambda key: (list(TITLES).index(key[0]) if key[0] in TITLES else len(TITLES), key[1] or 0))
    names = [key if steps is None else f"{key}_{steps}" for key, steps in keys]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["variant", "seed", *names])
    for variant in summary.spreads:
        for seed, figures in summary.by_seed(variant).items():
            writer.writerow([variant, seed, *(figures.get(key, "") for key in keys)])
    return text.getvalue()


def short_line(summary: Summary) -> str:
    """How much is done, in one line."""
    done = sum(result.state == "done" for result in summary.results.values())
    return f"{done} of {len(summary.results)} runs are done"
