"""Accuracy of finished runs on minimal pairs: BLiMP and the package's own pairs on agreement, as one table.

Runs called NAME-SEED make one line. Run it from the checkout, with the folder `data` of
github.com/alexwarstadt/blimp: `python recipes/benchmarks/blimp.py runs/token-* --blimp blimp/data`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hdiff.errors import DataError
from hdiff.evaluation.agreement_pairs import agreement_pairs
from hdiff.evaluation.minimal_pair_files import MinimalPair, read_minimal_pairs
from hdiff.evaluation.minimal_pairs import evaluate_minimal_pairs
from hdiff.runs.folder import RunFolder
from hdiff.samplers.build import build_sampler
from hdiff.strict_yaml import parse_yaml


def evaluate(path: Path, blimp: Sequence[MinimalPair], arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures of one run, or why there are none."""
    run = RunFolder.load(path)
    options: dict[str, Any] = {"draws": arguments.draws, "seed": arguments.seed}
    if arguments.sampler is not None:
        # More steps than units: one unit at a time.
        spec = parse_yaml(arguments.sampler, where="--sampler")
        options["sampler"] = build_sampler(spec, num_steps=run.recipe.data.sequence_length)
    began = time.perf_counter()
    try:
        figures = {
            "blimp": evaluate_minimal_pairs(run, blimp, max_pairs=arguments.max_pairs, **options),
            "agreement": evaluate_minimal_pairs(run, agreement_pairs(), **options),
        }
    except DataError as error:
        return {"run": str(path), "refused": str(error)}
    return {"run": str(path), **figures, "seconds": time.perf_counter() - began}


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: mean and standard deviation over the runs of a name; chance is 50 %."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if "refused" not in result:
            groups.setdefault(re.sub(r"-\d+$", "", Path(result["run"]).name), []).append(result)
    lines = [
        "| system | runs | BLiMP, % | agreement, % | likelihood | seconds per run |",
        "|---|---|---|---|---|---|",
    ]
    for name, scores in groups.items():
        likelihoods = sorted(
            {result[part]["likelihood"] for result in scores for part in ("blimp", "agreement")}
        )
        cells = [
            name,
            str(len(scores)),
            _spread(result["blimp"]["accuracy"] for result in scores),
            _spread(result["agreement"]["accuracy"] for result in scores),
            "; ".join(likelihoods),
            f"{statistics.fmean(result['seconds'] for result in scores):.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    refused = [
        f"Not scored: {result['run']}: {result['refused']}." for result in results if "refused" in result
    ]
    return "\n".join([*lines, *(["", *refused] if refused else [])])


def _spread(shares: Iterable[float]) -> str:
    values = [100 * share for share in shares]
    sd = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{sd}"


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the command line, scores every run and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folder, called NAME-SEED")
    parser.add_argument("--blimp", required=True, help="folder or glob of BLiMP's .jsonl files")
    parser.add_argument("--max-pairs", type=int, default=100, help="pairs per paradigm of BLiMP")
    parser.add_argument("--draws", type=int, default=2, help="random orders per sentence")
    parser.add_argument("--sampler", help="whose bound is compared, as YAML; default: unit by unit at random")
    parser.add_argument("--seed", type=int, default=0, help="seed of the orders")
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    arguments = parser.parse_args(argv)
    blimp = read_minimal_pairs(arguments.blimp)
    results = [evaluate(path, blimp, arguments) for path in arguments.runs]
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
