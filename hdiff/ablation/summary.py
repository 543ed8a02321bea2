"""Summary of an ablation: figures over seeds, paired differences, fairness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hdiff.ablation.results import Figures, RunResult
from hdiff.ablation.specification import Ablation
from hdiff.ablation.statistics import Difference, Spread, paired_difference

CAPACITY_TOLERANCE = 0.02
"""Largest relative difference of non-embedding parameters that still counts as matched."""
BUDGET = ("non_embedding", "tokens_seen")
COMPARED = ("bound", "L", "judge_nll")
"""Figures whose differences are taken; lower is better in all of them."""


@dataclass(frozen=True)
class Comparison:
    """One paired difference.

    Attributes:
        variant: What is compared.
        reference: With what.
        figure: `bound`, `L` or `judge_nll`.
        steps: T, or None.
        difference: The variant less the reference.
    """

    variant: str
    reference: str
    figure: str
    steps: int | None
    difference: Difference


@dataclass(frozen=True)
class Summary:
    """All that the tables and plots show.

    Attributes:
        ablation: The ablation.
        results: Run name -> result.
        spreads: Variant -> figure -> values over its finished seeds.
        comparisons: Differences to the baseline, then to controls.
        fairness: Variant -> why it is not matched with the baseline; empty if it is, None if one of both has
            no finished run.
    """

    ablation: Ablation
    results: Mapping[str, RunResult]
    spreads: Mapping[str, Mapping[tuple[str, int | None], Spread]]
    comparisons: tuple[Comparison, ...]
    fairness: Mapping[str, tuple[str, ...] | None]

    @property
    def failed(self) -> dict[str, str]:
        """Run name -> reason, for runs that crashed."""
        return {name: r.reason or "" for name, r in self.results.items() if r.state == "failed"}

    @property
    def unfinished(self) -> dict[str, str]:
        """Run name -> what is missing, for runs that are still to do."""
        return {name: r.reason or "" for name, r in self.results.items() if r.state == "unfinished"}

    def steps(self, figure: str) -> list[int]:
        """All T for which some variant has a figure."""
        counts = {t for spreads in self.spreads.values() for key, t in spreads if key == figure}
        return sorted(t for t in counts if t is not None)

    def by_seed(self, variant: str) -> dict[int, Figures]:
        """Seed -> figures of the finished runs of a variant."""
        return {r.run.seed: r.figures for r in self.results.values() if _counts(r, variant)}


def summarise(ablation: Ablation, results: Mapping[str, RunResult]) -> Summary:
    """Statistics of everything that is finished."""
    spreads = {variant: _spreads(variant, results) for variant in ablation.variants}
    pairs = [(variant, ablation.baseline) for variant in ablation.variants if variant != ablation.baseline]
    pairs += [pair for pair in ablation.control_of.items() if pair not in pairs]
    comparisons = tuple(c for variant, other in pairs for c in _compare(variant, other, spreads))
    baseline = spreads[ablation.baseline]
    fairness = {variant: _unmatched(spreads[variant], baseline) for variant in ablation.variants}
    return Summary(ablation, results, spreads, comparisons, fairness)


def _counts(result: RunResult, variant: str) -> bool:
    return result.state == "done" and result.run.variant == variant


def _spreads(variant: str, results: Mapping[str, RunResult]) -> dict[tuple[str, int | None], Spread]:
    values: dict[tuple[str, int | None], dict[int, float]] = {}
    for result in results.values():
        if _counts(result, variant):
            for key, value in result.figures.items():
                values.setdefault(key, {})[result.run.seed] = value
    return {key: Spread.of(by_seed) for key, by_seed in values.items()}


def _compare(
    variant: str, other: str, spreads: Mapping[str, Mapping[tuple[str, int | None], Spread]]
) -> list[Comparison]:
    ours, theirs = spreads[variant], spreads[other]
    keys = sorted((key for key in ours if key in theirs and key[0] in COMPARED), key=_order)
    differences = [(key, paired_difference(ours[key].by_seed, theirs[key].by_seed)) for key in keys]
    return [Comparison(variant, other, *key, gap) for key, gap in differences if gap is not None]


def _order(key: tuple[str, int | None]) -> tuple[int, int]:
    return COMPARED.index(key[0]), key[1] or 0


def _unmatched(
    ours: Mapping[tuple[str, int | None], Spread], baseline: Mapping[tuple[str, int | None], Spread]
) -> tuple[str, ...] | None:
    if any((key, None) not in ours or (key, None) not in baseline for key in BUDGET):
        return None
    sizes = [tuple(spreads[key, None].mean for key in BUDGET) for spreads in (ours, baseline)]
    return tuple(unmatched(sizes[0], sizes[1]))


def unmatched(ours: tuple[float, ...], baseline: tuple[float, ...]) -> list[str]:
    """What differs from the baseline too much for a fair comparison, with its excess in percent."""
    named = zip(("non-embedding parameters", "tokens seen"), (CAPACITY_TOLERANCE, 0.0), strict=True)
    excesses = [one / other - 1 for one, other in zip(ours, baseline, strict=True)]
    return [
        f"{title} {100 * excess:+.1f} %"
        for (title, tolerance), excess in zip(named, excesses, strict=True)
        if abs(excess) > tolerance
    ]


def as_json(summary: Summary) -> dict[str, Any]:
    """The object that `hdiff ablate --json` prints; docs/ablate.md lists its keys."""
    ablation = summary.ablation
    variants = {}
    for variant, spreads in summary.spreads.items():
        figures: dict[str, Any] = {}
        for (key, steps), spread in spreads.items():
            if steps is None:
                figures[key] = asdict(spread)
            else:
                figures.setdefault(key, {})[str(steps)] = asdict(spread)
        variants[variant] = {
            "seeds": sorted(summary.by_seed(variant)),
            "changes": ablation.changes(variant),
            "figures": figures,
            "not_matched": None if (reasons := summary.fairness[variant]) is None else list(reasons),
        }
    return {
        "name": ablation.name,
        "output": str(ablation.output),
        "baseline": ablation.baseline,
        "seeds": list(ablation.seeds),
        "variants": variants,
        "differences": [
            {
                "variant": c.variant,
                "reference": c.reference,
                "figure": c.figure,
                "steps": c.steps,
                **asdict(c.difference),
                "verdict": c.difference.verdict,
            }
            for c in summary.comparisons
        ],
        "failed": summary.failed,
        "unfinished": list(summary.unfinished),
        "missing": summary.unfinished,
    }
