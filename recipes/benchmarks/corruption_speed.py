"""Times corrupting a batch against the training step of a model, on this machine.

`python recipes/benchmarks/corruption_speed.py` prints, for each corruption, milliseconds per batch and the
share of the step. The step may be timed on fewer rows and scaled up, since its cost is linear in rows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from hdiff.corruption import (
    Corruption,
    RateMatched,
    SoftMasking,
    SpanMasking,
    TokenMasking,
    TreeCascade,
    sample_times,
)
from hdiff.data.batch import Batch
from hdiff.heads import ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.objectives import nelbo

VOCAB = 4096
LEVELS = ("sentence", "clause", "phrase", "word")


def random_batch(rows: int, length: int, device: torch.device) -> Batch:
    """Random tokens under a random tree of four levels."""
    generator = torch.Generator().manual_seed(0)
    begins = torch.ones(rows, length, dtype=torch.bool)
    units = {}
    for level, share in zip(reversed(LEVELS), (0.8, 0.5, 0.4, 0.3), strict=True):
        begins = begins & (torch.rand(rows, length, generator=generator) < share)
        begins[:, 0] = True
        units[level] = begins.long().cumsum(1) - 1
    labels = {level: ids % 20 for level, ids in units.items()}
    salience = torch.rand(rows, length, generator=generator)
    tokens = torch.randint(0, VOCAB, (rows, length), generator=generator)
    batch = Batch(tokens, torch.ones_like(begins), units, labels, salience, (4 * salience).long())
    return batch.to(device)


def seconds(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median seconds of a call, after one that does not count."""
    taken = []
    for _ in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def main() -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--step-rows", type=int, default=64, help="rows the training step is timed on")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = random_batch(arguments.rows, arguments.length, device)
    t = sample_times(batch)
    corruptions: dict[str, Corruption] = {
        "token masking": TokenMasking(mask_id=VOCAB),
        "span masking, parsed": SpanMasking(mask_id=VOCAB),
        "span masking, random": SpanMasking(segmentation="random", lengths={1: 0.5, 4: 0.5}, mask_id=VOCAB),
        "rate matched": RateMatched(mask_id=VOCAB),
        "soft masking": SoftMasking(table=[v % 64 for v in range(VOCAB)], mask_id=VOCAB),
        "tree cascade, 4 levels": TreeCascade(
            levels=LEVELS,
            types=("boundary", "label", "salience"),
            num_labels=20,
            num_buckets=4,
            mask_id=VOCAB,
        ),
        "tree cascade, 4 levels, whole nodes": TreeCascade(
            levels=LEVELS, types=("boundary", "label"), unit="node", type_unit="node", mask_id=VOCAB
        ),
    }
    denoiser = Denoiser(
        Trunk(arguments.width, depth=arguments.depth, num_heads=12), ProductHead(VOCAB, arguments.width)
    ).to(device)
    optimizer = torch.optim.AdamW(denoiser.parameters())
    few = random_batch(arguments.step_rows, arguments.length, device)
    flat = corruptions["token masking"]

    def step() -> None:
        corrupted = flat.corrupt(few, sample_times(few))
        nelbo(denoiser(corrupted), few, corrupted).mean.backward()
        optimizer.step()
        optimizer.zero_grad()

    whole = seconds(step, arguments.repeats, device) * arguments.rows / arguments.step_rows
    print(
        f"{arguments.rows} x {arguments.length} tokens, {device.type}, {torch.get_num_threads()} threads: "
        f"training step {whole:.2f} s (timed on {arguments.step_rows} rows)"
    )
    for name, corruption in corruptions.items():
        taken = seconds(lambda c=corruption: c.corrupt(batch, t), arguments.repeats, device)  # type: ignore[misc]
        print(f"{name:38s} {1000 * taken:8.1f} ms  {100 * taken / whole:6.3f} % of the step")


if __name__ == "__main__":
    main()
