"""Seconds per sample of trained runs at several steps, measured in turns so that noise hits all alike.

`python recipes/benchmarks/parallel_speed.py runs/parallel/token_product-0 runs/parallel/structured-0`
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from hdiff.models.denoiser import Denoiser
from hdiff.runs.folder import RunFolder
from hdiff.samplers import hidden_rows
from hdiff.samplers.build import build_sampler
from hdiff.strict_yaml import parse_yaml

CASES = [
    ("baseline", "{kind: ancestral}", (8, 64)),
    ("own", "{kind: ancestral, lengths: {8: 1.0}}", (1, 2, 4, 8)),
    ("own", "{kind: planned, boundaries: likely, order: spaced}", (1, 2, 4, 8)),
    ("own", "{kind: planned, boundaries: likely, order: spaced, refresh: 4}", (8,)),
]


def main() -> None:
    """Parses the command line and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("baseline", type=Path)
    parser.add_argument("own", type=Path)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    runs = {name: RunFolder.load(getattr(arguments, name)) for name in ("baseline", "own")}
    cases = [(name, spec, steps) for name, spec, every in CASES for steps in every]
    seconds: dict[tuple[str, str, int], list[float]] = {case: [] for case in cases}
    for repeat in range(arguments.repeats):
        for name, spec, steps in cases:
            run = runs[name]
            assert isinstance(run.denoiser, Denoiser), "runs of masked units are compared"
            sampler = build_sampler(parse_yaml(spec, where="a case"), num_steps=steps)
            began = time.perf_counter()
            sampler.sample(
                run.denoiser,
                run.corruption.unconditional(),
                hidden_rows(run.denoiser, arguments.samples, run.recipe.data.sequence_length),
                generator=torch.Generator().manual_seed(repeat),
            )
            seconds[name, spec, steps].append((time.perf_counter() - began) / arguments.samples)
    reference = statistics.median(seconds[cases[1]])
    print("| run | sampler | T | milliseconds per sample | faster than the baseline at 64 |")
    print("|---|---|---|---|---|")
    for (name, spec, steps), values in seconds.items():
        median = statistics.median(values)
        folder = getattr(arguments, name).name
        print(f"| {folder} | `{spec}` | {steps} | {1000 * median:.1f} | {reference / median:.1f} |")


if __name__ == "__main__":
    main()
