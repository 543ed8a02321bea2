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

    def at(self, limit: float) -> float:
        """The bound that was reached after so many seconds, of the last validation before."""
        return [nats for seconds, nats in self.curve if seconds <= limit][-1]


def compare(system: str, seed: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Trains one system with every optimiser in turns.

    Args:
        system: Name of a system.
        seed: Seed.
        arguments: The command line.

    Returns:
        A row for each optimiser, with AdamW's best rate as the measure.
    """
    runs = {key: Run(system, *key, seed, arguments) for key in arguments.optimizers}
    for _ in range(arguments.updates // arguments.turn):
        for run in runs.values():
            run.turn(arguments.turn)
    best = min((run for (name, _), run in runs.items() if name == "adamw"), key=lambda run: run.curve[-1][1])
    target, whole = best.curve[-1][1], best.seconds
    rows = []
    for (name, rate), run in runs.items():
        reached = run.reached(target)
        row = {"system": system, "seed": seed, "optimizer": name, "rate": rate}
        row |= {"share": None if reached is None else reached / whole, "bound": run.curve[-1][1]}
        row |= {"bound_at_equal_seconds": run.at(whole), "seconds": run.seconds, "curve": run.curve}
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each system and optimiser: medians over seeds, with the lowest and the highest."""
    lines = [
        "| system | optimiser, rate | seeds | bound | bound at AdamW's seconds | share of AdamW's seconds |",
        "|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((row["system"], row["optimizer"], row["rate"]) for row in rows):
        of = [row for row in rows if (row["system"], row["optimizer"], row["rate"]) == key]
        cells = [spread([row[name] for row in of]) for name in ("bound", "bound_at_equal_seconds", "share")]
        lines.append(f"| {key[0]} | {key[1]}, {key[2]:g} | {len(of)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float | None]) -> str:
    """Median (lowest to highest) of the values that there are."""
    known = [value for value in values if value is not None]
    if not known:
        return "never"
    missing = f", never in {len(values) - len(known)}" if len(known) < len(values) else ""
    return f"{statistics.median(known):.3f} ({min(known):.3f} to {max(known):.3f}{missing})"


def optimizer(text: str) -> tuple[str, float]:
    """A name and a learning rate: `muon:0.003`."""
    name, _, rate = text.partition(":")
    return name, float(rate)


def main() -> None:
    """Parses the command line, trains what is not yet in the folder, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of hdiff prepare")
    parser.add_argument("--out", type=Path, default=Path("runs/optimizers"), help="finished ones are kept")
    parser.add_argument(
        "--optimizers",
        type=optimizer,
        nargs="+",
        default=[("adamw", 1e-3), ("adamw", 3e-3), ("muon", 1e-3), ("muon", 3e-3)],
        help="names with rates: adamw:0.003 muon:0.003",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--turn", type=int, default=100, help="updates between validations")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    file = arguments.out / "optimizers.json"
    found: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    for seed in arguments.seeds:
        for system in SYSTEMS:
            if not any((row["system"], row["seed"]) == (system, seed) for row in found):
                found += compare(system, seed, arguments)
                file.write_text(json.dumps(found, indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
