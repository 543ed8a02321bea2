"""Compares two processes that train one model with two trainings side by side, on this machine.

`python recipes/benchmarks/processes.py recipes/quickstart.yaml --data data/pydoc` starts four processes: two
that train together (DistributedDataParallel) and two that train alone. They take turns, a few updates at a
time, so that what else runs on the machine hits both alike. Tokens per second are summed over processes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

Pipes = list["Connection[object, object]"]


def work(
    pipe: Connection[object, object], environment: dict[str, str], recipe: Path, overrides: list[str]
) -> None:
    """Trains as many updates as it is told to, and says how many seconds they took."""
    os.environ.update(environment)
    import torch

    from hdiff.recipe import load_recipe
    from hdiff.training import Trainer

    torch.set_num_threads(1)
    trainer = Trainer(load_recipe(recipe, overrides))
    pipe.send(trainer.config.batch_size * trainer.recipe.data.sequence_length)
    step = 0
    while updates := pipe.recv():
        began = time.perf_counter()
        for _ in range(int(str(updates))):
            step += 1
            trainer._update(step)
        pipe.send(time.perf_counter() - began)


def start(processes: int, folder: Path, recipe: Path, overrides: Sequence[str]) -> Pipes:
    """Starts processes that train together; ends of the pipes to them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    pipes = []
    context = multiprocessing.get_context("spawn")
    for rank in range(processes):
        ours, theirs = context.Pipe()
        environment = {"ACCELERATE_USE_CPU": "true"}
        if processes > 1:
            environment |= {"WORLD_SIZE": str(processes), "RANK": str(rank), "LOCAL_RANK": str(rank)}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        arguments = (theirs, environment, recipe, [*overrides, f"output={folder}"])
        context.Process(target=work, args=arguments, daemon=True).start()
        pipes.append(ours)
    return pipes


def tokens_per_second(pipes: Pipes, tokens: int, updates: int) -> float:
    """Tokens of all processes over the seconds of each, summed."""
    for pipe in pipes:
        pipe.send(updates)
    return sum(tokens * updates / float(str(pipe.recv())) for pipe in pipes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", required=True, help="folder made by hdiff prepare")
    parser.add_argument("--updates", type=int, default=5, help="updates per turn")
    parser.add_argument("--repeats", type=int, default=10, help="turns of each kind")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes to the recipe")
    options = parser.parse_args()
    overrides = [f"data.path={options.data}", *options.set]
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        together = start(2, folder / "together", options.recipe, overrides)
        alone = [start(1, folder / f"alone-{k}", options.recipe, overrides)[0] for k in range(2)]
        sizes = [int(str(pipe.recv())) for pipe in (*together, *alone)]
        tokens = sizes[0]
        for pipes in (together, alone):  # the first updates allocate
            tokens_per_second(pipes, tokens, 2)
        speeds: list[tuple[float, float]] = []
        for turn in range(options.repeats):
            kinds = (together, alone) if turn % 2 else (alone, together)
            found = {id(pipes): tokens_per_second(pipes, tokens, options.updates) for pipes in kinds}
            speeds.append((found[id(together)], found[id(alone)]))
            print(
                f"turn {turn + 1}: together {speeds[-1][0]:,.0f}, side by side {speeds[-1][1]:,.0f}",
                flush=True,
            )
        for pipe in (*together, *alone):
            pipe.send(0)
    ratios = [a / b for a, b in speeds]
    quarters = statistics.quantiles(ratios, n=4)
    medians = [statistics.median(column) for column in zip(*speeds, strict=True)]
    print(f"tokens per second, medians: together {medians[0]:,.0f}, side by side {medians[1]:,.0f}")
    print(f"ratio: median {statistics.median(ratios):.3f}, quartiles {quarters[0]:.3f} to {quarters[2]:.3f}")
    print(f"ratio of the fastest turns: {max(a for a, _ in speeds) / max(b for _, b in speeds):.3f}")


if __name__ == "__main__":
    main()
