"""Times a training step with every head on one trunk; prints a markdown table.

`python recipes/benchmarks/head_cost.py --length 256`. A step hides half of the spans of a batch (the mean
over all times, and cost is linear in it), scores them and propagates back; the optimiser is left out. The
heads take turns on the same masks, so that what else the machine does hits all alike: a ratio is the median
over turns.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from hdiff.corruption import SpanMasking
from hdiff.data.batch import Batch
from hdiff.heads import HEADS
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.objectives import nelbo

LENGTHS = {1: 0.5, 2: 0.25, 3: 0.15, 5: 0.1}
"""Tokens of a span and their probability, as in parsed text."""

HEAD_WIDTH = 64


def step_seconds(denoiser: Denoiser, batch: Batch, corruption: SpanMasking, seed: int) -> float:
    """Seconds of one step; its masks depend on the seed only."""
    device = batch.input_ids.device
    generator = torch.Generator(device).manual_seed(seed)
    t = torch.full((len(batch.input_ids),), 0.5, device=device)
    denoiser.zero_grad(set_to_none=True)
    _synchronise(device)
    began = time.perf_counter()
    corrupted = corruption.corrupt(batch, t, generator=generator)
    nelbo(denoiser(corrupted), batch, corrupted).mean.backward()
    _synchronise(device)
    return time.perf_counter() - began


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--width", type=int, default=768, help=f"a multiple of {HEAD_WIDTH}")
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument(
        "--repeats", type=int, default=3, help="steps per head, after one that does not count"
    )
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = Batch.of(torch.randint(0, chosen.vocab, (chosen.rows, chosen.length))).to(device)
    corruption = SpanMasking(segmentation="random", lengths=LENGTHS, mask_id=chosen.vocab)
    # One trunk for all: the memory of a large model is needed once.
    trunk = Trunk(chosen.width, depth=chosen.depth, num_heads=chosen.width // HEAD_WIDTH)
    denoisers = {
        name: Denoiser(trunk, head(chosen.vocab, chosen.width)).to(device) for name, head in HEADS.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in denoisers}
    for repeat in range(chosen.repeats + 1):
        for name, denoiser in denoisers.items():
            taken[name].append(step_seconds(denoiser, batch, corruption, seed=repeat))
    size = {name: sum(p.numel() for p in denoiser.head.parameters()) for name, denoiser in denoisers.items()}
    print(
        f"{chosen.rows} x {chosen.length} tokens, vocabulary {chosen.vocab}, trunk {chosen.width} x "
        f"{chosen.depth}, {device.type}, {chosen.threads} threads, median of {chosen.repeats} steps\n"
    )
    print("| head | seconds per step | ratio to product | extra parameters |\n|---|---:|---:|---:|")
    for name in denoisers:
        seconds = taken[name][1:]
        ratio = statistics.median(
            one / other for one, other in zip(seconds, taken["product"][1:], strict=True)
        )
        extra = size[name] - size["product"]
        print(f"| {name} | {statistics.median(seconds):.3f} | {ratio:.2f} | {extra:,} |")


if __name__ == "__main__":
    main()
