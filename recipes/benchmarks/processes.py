"""Compares two processes that train one model with two trainings side by side, on this machine.

`python recipes/benchmarks/processes.py recipes/quickstart.yaml --data data/pydoc` starts four processes: two
that train together (DistributedDataParallel) and two that train alone. They take turns, a few updates at a
time, so that what else runs on the machine hits both alike. Tokens per second are summed over processes;
tokens per CPU-second leave out waiting, for each other and for the processor.
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
from typing import cast

Pipes = list["Connection[object, object]"]


def work(
    pipe: Connection[object, object], environment: dict[str, str], recipe: Path, overrides: list[str]
) -> None:
    """Trains as many updates as it is told to, and says how many seconds and CPU-seconds they took."""
    os.environ.update(environment)
    import torch

    from hdiff.recipe import load_recipe
    from hdiff.training.build import build_training
    from hdiff.training.update import Updates

    torch.set_num_threads(1)
    training = build_training(load_recipe(recipe, overrides))
    update = Updates(training)
    pipe.send(training.config.batch_size * training.recipe.data.sequence_length)
    step = 0
    while updates := pipe.recv():
        began, cpu_began = time.perf_counter(), time.process_time()
        for _ in range(int(str(updates))):
            step += 1
            update(step)
        pipe.send((time.perf_counter() - began, time.process_time() - cpu_began))


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


def tokens_per_second(pipes: Pipes, tokens: int, updates: int) -> tuple[float, float]:
    """Tokens of each process over its seconds, and over its CPU-seconds, summed over processes."""
    for pipe in pipes:
        pipe.send(updates)
    seconds = [cast(tuple[float, float], pipe.recv()) for pipe in pipes]
    wall, cpu = (sum(tokens * updates / value for value in column) for column in zip(*seconds, strict=True))
    return wall, cpu


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
        turns: list[dict[str, tuple[float, float]]] = []
        for turn in range(options.repeats):
            kinds = [("together", together), ("side by side", alone)]
            turns.append(
                {
                    kind: tokens_per_second(pipes, tokens, options.updates)
                    for kind, pipes in (kinds if turn % 2 else reversed(kinds))
                }
            )
            said = (f"{kind} {wall:,.0f} ({cpu:,.0f})" for kind, (wall, cpu) in sorted(turns[-1].items()))
            print(f"turn {turn + 1}, tokens per second (per CPU-second): {', '.join(said)}", flush=True)
        for pipe in (*together, *alone):
            pipe.send(0)
    for index, unit in enumerate(("second", "CPU-second")):
        ratios = [turn["together"][index] / turn["side by side"][index] for turn in turns]
        first, median, third = statistics.quantiles(ratios, n=4)
        print(f"tokens per {unit}, together over side by side: {median:.3f} ({first:.3f} to {third:.3f})")


if __name__ == "__main__":
    main()
