"""Plan of an ablation: its runs, the keys in which they differ, and their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hdiff.ablation.results import RunResult
from hdiff.ablation.specification import Ablation
from hdiff.ablation.summary import unmatched
from hdiff.config import Recipe


def plan(
    ablation: Ablation, parameters: Mapping[str, Mapping[str, int]], results: Mapping[str, RunResult]
) -> dict[str, Any]:
    """What `hdiff ablate --plan --json` prints.

    Args:
        ablation: The ablation.
        parameters: Variant -> parameter counts; empty if the data is not there.
        results: What runs have left behind.

    Returns:
        `name`, `output`, `baseline`, `variants` (`changes`, `parameters`, `not_matched`), and `runs` (`run`,
        `output`, `state`).
    """
    variants = {}
    for variant in ablation.variants:
        sizes = parameters.get(variant)
        entry: dict[str, Any] = {"changes": ablation.changes(variant), "parameters": sizes}
        if sizes is not None:
            ours, baseline = (
                (_inner(parameters[name]), _tokens(ablation.variants[name]))
                for name in (variant, ablation.baseline)
            )
            entry["not_matched"] = unmatched(ours, baseline)
        variants[variant] = entry
    return {
        "name": ablation.name,
        "output": str(ablation.output),
        "baseline": ablation.baseline,
        "variants": variants,
        "runs": [
            {"run": run.name, "output": str(run.path), "state": results[run.name].state}
            for run in ablation.all_runs
        ],
    }


def plan_lines(planned: Mapping[str, Any]) -> list[str]:
    """A plan as lines for a person."""
    lines = []
    for variant, entry in planned["variants"].items():
        changes = [f"{key} = {value}" for key, value in entry["changes"].items()]
        lines.append(f"{variant}: {', '.join(changes) or 'the baseline'}")
        if entry["parameters"] is not None:
            sizes = entry["parameters"]
            reasons = ", ".join(entry["not_matched"])
            remark = f"; not capacity-matched: {reasons}" if reasons else ""
            lines.append(f"  {sizes['total']:,} parameters, {_inner(sizes):,} non-embedding{remark}")
    lines += [f"{run['state']:>10}  {run['output']}" for run in planned["runs"]]
    done = sum(run["state"] == "done" for run in planned["runs"])
    return [*lines, f"{len(planned['runs']) - done} of {len(planned['runs'])} runs to do"]


def _inner(sizes: Mapping[str, int]) -> int:
    return sizes["total"] - sizes["embedding"]


def _tokens(recipe: Recipe) -> int:
    """Tokens that one process sees."""
    rows = recipe.train.steps * recipe.train.batch_size * recipe.train.gradient_accumulation
    return rows * recipe.data.sequence_length
