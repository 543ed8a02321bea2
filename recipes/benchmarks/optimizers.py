"""Processor seconds that an optimiser needs to reach the validation bound at which AdamW ends.

`python recipes/benchmarks/optimizers.py --data data/tinystories` trains both systems with every optimiser and
rate, in turns of a few updates, so that other work on the machine hits all alike. Validation does not count.
A figure is the share of AdamW's seconds; AdamW has the best of its learning rates.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from hdiff.recipe import resolve
from hdiff.training.build import Training, build_training
from hdiff.training.update import Updates
from hdiff.training.validation import validate

SYSTEMS: dict[str, dict[str, Any]] = {
    "token masking": {"corruption": {"kind": "token_masking"}, "head": {"kind": "product"}},
    "spans": {
        "corruption": {"kind": "span_masking", "segmentation": "random", "lengths": [1] * 8},
        "head": {"kind": "autoregressive", "num_heads": 2},
    },
}


class Run:
    """One training, and its bound over the processor seconds that it took.

    Args:
        system: Name of a system.
        optimizer: Name of an optimiser.
        rate: Learning rate.
        seed: Seed.
        arguments: The command line.
    """

    def __init__(
        self, system: str, optimizer: str, rate: float, seed: int, arguments: argparse.Namespace
    ) -> None:
        folder = arguments.out / "unused"
        shutil.rmtree(folder, ignore_errors=True)
        train = {"steps": arguments.updates, "batch_size": arguments.rows, "optimizer": optimizer}
        train |= {"learning_rate": rate, "warmup_steps": arguments.updates // 10, "ema_decay": 0.98}
        recipe = resolve(
            {
                "name": "optimizers",
                "output": str(folder),
                "seed": seed,
                "data": {"path": str(arguments.data), "sequence_length": arguments.length},
                "model": {"width": arguments.width, "depth": arguments.depth, "num_heads": 2},
                "train": {**train, "validation_blocks": 64},
                **SYSTEMS[system],
            },
            where="optimizers.py",
        )
        self.training: Training = build_training(recipe)
        self.update = Updates(self.training)
        self.seconds = 0.0
        self.done = 0
        self.curve: list[tuple[float, float]] = []

    def turn(self, updates: int) -> None:
        """Does some updates, and validates."""
        began = time.process_time()
        for _ in range(updates):
            self.done += 1
            self.update(self.done)
        self.seconds += time.process_time() - began
        training = self.training
        blocks = training.data.blocks("validation", training.corruption.required_levels())
        model = training.state.average.model.eval()
        found = validate(model, blocks, training.corruption, training.recipe)
        self.curve.append((self.seconds, found.nats_per_token))

    def reached(self, bound: float) -> float | None:
        """Seconds after which the bound was that low, between validations along a line; None if never."""
        before = None
        for seconds, nats in self.curve:
            if nats <= bound:
                if before is None or before[1] == nats:
                    return seconds
                share = (before[1] - bound) / (before[1] - nats)
                return before[0] + share * (seconds - before[0])
            before = (seconds, nats)
        return None


def main() -> None:
    """Parses the command line, trains everything, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of hdiff prepare")
    parser.add_argument("--out", type=Path, default=Path("runs/optimizers"))
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--turn", type=int, default=20, help="updates between validations")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    print("| system | seed | optimiser, rate | bound | seconds | share of AdamW's seconds |")
    print("|---|---|---|---|---|---|")
    for seed in arguments.seeds:
        for system in SYSTEMS:
            keys = [(name, rate) for name in ("adamw", "muon") for rate in arguments.rates]
            runs = {key: Run(system, *key, seed, arguments) for key in keys}
            for _ in range(arguments.updates // arguments.turn):
                for run in runs.values():
                    run.turn(arguments.turn)
            best = min((runs[key] for key in keys if key[0] == "adamw"), key=lambda run: run.curve[-1][1])
            target, whole = best.curve[-1][1], best.seconds
            for (name, rate), run in runs.items():
                reached = run.reached(target)
                share = None if reached is None else reached / whole
                found.append(
                    {"system": system, "seed": seed, "optimizer": name, "rate": rate, "share": share}
                )
                found[-1] |= {"bound": run.curve[-1][1], "seconds": run.seconds, "curve": run.curve}
                cell = "never" if share is None else f"{share:.2f}"
                figures = f"{run.curve[-1][1]:.3f} | {run.seconds:.1f} | {cell}"
                print(f"| {system} | {seed} | {name}, {rate:g} | {figures} |", flush=True)
            (arguments.out / "optimizers.json").write_text(json.dumps(found, indent=1))
    for system in SYSTEMS:
        for name in ("adamw", "muon"):
            for rate in arguments.rates:
                of = [
                    row
                    for row in found
                    if (row["system"], row["optimizer"], row["rate"]) == (system, name, rate)
                ]
                shares = [row["share"] for row in of if row["share"] is not None]
                median = f"{statistics.median(shares):.2f}" if len(shares) == len(of) else "not in all seeds"
                bound = statistics.mean(row["bound"] for row in of)
                print(f"{system}, {name} at {rate:g}: share {median}, bound {bound:.3f}")


if __name__ == "__main__":
    main()
