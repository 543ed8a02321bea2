"""Noise of the bound's estimators: standard deviation of the batch-64 NELBO of a trained model.

`python recipes/benchmarks/estimator_noise.py RUN` needs a run of a product head (token masking). Every
estimator scores the same texts with one trunk call per batch, so only the random states differ.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from hdiff.corruption import Corruption, SpanMasking, TokenMasking, sample_times
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.objectives import nelbo
from hdiff.runs.folder import RunFolder

LENGTHS = {1: 0.5, 2: 0.2, 3: 0.15, 4: 0.1, 6: 0.05}


@torch.no_grad()
def main() -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--rows", type=int, default=64)
    arguments = parser.parse_args()
    run = RunFolder.load(arguments.run)
    prepared = PreparedData.load(run.recipe.data.path)
    blocks = PackedBlocks.build(prepared, "validation", **run.recipe.data.packing())
    batch = blocks.batch(range(arguments.rows))
    vocab_size = run.tokenizer.vocab_size

    def spans(count: str) -> Corruption:
        return SpanMasking(segmentation="random", lengths=LENGTHS, count=count, mask_id=vocab_size)  # type: ignore[arg-type]

    def tokens(count: str) -> Corruption:
        return TokenMasking(count=count, mask_id=vocab_size)  # type: ignore[arg-type]

    for name, make in (("token masking", tokens), ("random spans", spans)):
        baseline = 0.0
        reference = 0.0
        for title, count, stratified, controlled in (
            ("independent t", "bernoulli", False, False),
            ("stratified t", "bernoulli", True, False),
            ("stratified t, exact counts", "exact", True, False),
            ("stratified t, exact counts, control variate", "exact", True, True),
        ):
            generator = torch.Generator().manual_seed(0)
            values = []
            for _ in range(arguments.batches):
                t = sample_times(batch, generator=generator, stratified=stratified)
                corrupted = make(count).corrupt(batch, t, generator=generator)
                output = run.denoiser(corrupted)
                loss = nelbo(output, batch, corrupted, baselines=(baseline if controlled else 0.0,))
                values.append(float(loss.mean))
            deviation = statistics.stdev(values)
            reference = reference or deviation
            baseline = statistics.mean(values)
            print(
                f"{name:14s} {title:45s} mean {baseline:.3f}  sd {deviation:.4f}  "
                f"of independent t: {deviation / reference:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
