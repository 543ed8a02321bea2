"""What structure costs: a training update and rows of samples of each system, against random spans.

    python recipes/benchmarks/structure_cost.py --data data/tinystories

Systems are those of `data_limited.yaml`. They take turns, and processor time is compared, so that other work
on the machine hits all alike: a ratio is the median over turns of the ratio within a turn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from hdiff.ablation import load_ablation
from hdiff.runs.provenance import facts
from hdiff.samplers import hidden_rows
from hdiff.samplers.build import build_sampler
from hdiff.training.build import Training, build_training
from hdiff.training.update import Updates

BASELINE = "spans"
STEPS = 4
ROWS = 8


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of a piece of work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def sample(training: Training, generator: torch.Generator) -> object:
    """Rows of free samples, by the sampler of the recipe."""
    model = training.model
    corruption = training.corruption.unconditional().of_model(model)
    spec = training.recipe.evaluation.sampler or corruption.plain_sampler(STEPS)
    sampler = build_sampler(spec, num_steps=STEPS)
    rows = hidden_rows(model, ROWS, training.recipe.data.sequence_length)
    with torch.no_grad():
        return sampler.sample(model.eval(), corruption, rows, generator=generator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared data set with the parser's labels")
    parser.add_argument(
        "--systems", nargs="+", default=["spans", "spans_supervised", "spans_classes", "spans_parsed"]
    )
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("overrides", nargs="*", help="key=value for all systems")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    file = Path(__file__).with_name("data_limited.yaml")
    with tempfile.TemporaryDirectory() as folder:
        words = [f"data.path={arguments.data}", f"output={folder}", "seeds=[0]", *arguments.overrides]
        recipes = {run.variant: run.recipe for run in load_ablation(file, words).runs}
        trainings = {
            name: build_training(recipes[name]) for name in dict.fromkeys([BASELINE, *arguments.systems])
        }
        updates = {name: Updates(training) for name, training in trainings.items()}
        generator = torch.Generator().manual_seed(0)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in trainings}
        for turn in range(1, arguments.turns + 2):
            for name, training in trainings.items():
                pair = (
                    seconds(lambda name=name, turn=turn: updates[name](turn)),
                    seconds(lambda training=training: sample(training, generator)),
                )
                if turn > 1:  # the first one warms up
                    times[name].append(pair)
    print(f"{facts()['commit']}, torch {torch.__version__}, one thread, {arguments.turns} turns")
    print(f"| system | update | sampling {ROWS} rows in {STEPS} steps |\n|---|---|---|")
    for name, pairs in times.items():
        ratios = [
            statistics.median(a[part] / b[part] for a, b in zip(pairs, times[BASELINE], strict=True))
            for part in (0, 1)
        ]
        print(f"| {name} | {ratios[0]:.3f} | {ratios[1]:.3f} |")


if __name__ == "__main__":
    main()
