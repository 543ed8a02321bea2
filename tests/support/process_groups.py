"""Trainings on several processes, as tests start and end them."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch

from hdiff.cli import run
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.metrics_file import read_metrics

RECIPE = """
name: many
output: {output}
data: {{path: {data}, sequence_length: 256, max_unit_tokens: 6}}
model: {{width: 16, depth: 2, num_heads: 2}}
head: {{kind: autoregressive, num_heads: 2}}
planner: {{}}
corruption: {{kind: span_masking, segmentation: mixture, level: phrase, lengths: corpus}}
train: {{steps: 16, batch_size: 8, warmup_steps: 4, ema_decay: 0.9, log_every: 1, checkpoint_every: 8}}
"""
"""16 updates of 8 rows are more than an epoch, whose last row is padded."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["accelerate", "hdiff.cli", "hdiff.training.trainer", "torch"])
"""Processes that find the libraries loaded: loading them takes longer than such a training."""


def no_change() -> None:
    """What happens in a process before it trains, where a test makes nothing happen."""


def _train(
    arguments: Sequence[str], environment: Mapping[str, str], log: Path, prepare: Callable[[], None]
) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    prepare()
    code = run(arguments)
    sys.stderr.flush()
    os._exit(code)  # as a killed launcher would leave it: no process waits for another while it ends


def start(
    recipe: Path,
    *overrides: str,
    processes: int = 1,
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[], None] = no_change,
) -> list[multiprocessing.process.BaseProcess]:
    """Starts a training on some CPU processes (gloo), in the environment that torchrun makes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    started = []
    for rank in range(processes):
        world = {"ACCELERATE_USE_CPU": "true"}
        if processes > 1:
            world |= {"WORLD_SIZE": str(processes), "RANK": str(rank), "LOCAL_RANK": str(rank)}
            world |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        arguments = ["train", str(recipe), *overrides, "-q"]
        everything = {**world, **(environment or {})}
        log = recipe.with_name(f"messages-{rank}.txt")
        log.unlink(missing_ok=True)
        started.append(FORKS.Process(target=_train, args=(arguments, everything, log, prepare)))
        started[-1].start()
    return started


def end(
    recipe: Path, started: Sequence[multiprocessing.process.BaseProcess], *, seconds: float = 300
) -> list[tuple[int | None, str]]:
    """Exit code and messages of each process; those that do not end in time are killed and have none."""
    deadline = time.monotonic() + seconds
    codes = []
    for process in started:
        process.join(max(0.0, deadline - time.monotonic()))
        codes.append(process.exitcode)
        process.kill()
        process.join()
    return [(code, recipe.with_name(f"messages-{rank}.txt").read_text()) for rank, code in enumerate(codes)]


def split(processes: int, accumulation: int = 1) -> Sequence[str]:
    """Overrides under which an update has 8 rows."""
    return (
        f"train.batch_size={8 // processes // accumulation}",
        f"train.gradient_accumulation={accumulation}",
    )


def train(
    recipe: Path,
    *overrides: str,
    processes: int = 1,
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[], None] = no_change,
    code: int = 0,
) -> list[str]:
    """Trains to the end of all processes, which must have this exit code; returns their messages."""
    ended = end(
        recipe, start(recipe, *overrides, processes=processes, environment=environment, prepare=prepare)
    )
    for found, said in ended:
        assert found == code, said
    return [said for _, said in ended]


def assert_same_training(one: Path, other: Path, *, relative: float) -> None:
    """Equal losses, gradient norms, weights, averages and optimiser states (as distances) of two runs."""
    first, second = (
        [line for line in read_metrics(run / "metrics.jsonl") if "loss" in line] for run in (one, other)
    )
    assert [line["step"] for line in first] == [line["step"] for line in second] == list(range(1, 17))
    for line, same in zip(first, second, strict=True):
        for key in ("loss", "planner_loss", "grad_norm", "learning_rate"):
            assert line[key] == pytest.approx(same[key], rel=relative), (line["step"], key)
    saved = [load_checkpoint(run / "checkpoints").tensors for run in (one, other)]
    for part in ("model", "ema", "optimizer"):
        assert saved[0][part].keys() == saved[1][part].keys()
        for name, stored in saved[0][part].items():
            tensor = stored.double()  # tables of classes are whole numbers
            distance = torch.linalg.vector_norm(tensor - saved[1][part][name].double())
            # Moments are far smaller than weights, and squares have twice the relative error.
            allowed = relative * (10 if part == "optimizer" else 1)
            assert distance <= allowed * torch.linalg.vector_norm(tensor), (part, name)


def stopped_at_8(run: Path, copy: Path) -> Path:
    """A copy of a run of which everything after the eighth update is lost."""
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints" / "step-00000016")
    written = copy / "recipe.yaml"
    written.write_text(written.read_text().replace(f"output: {run}", f"output: {copy}"))
    return copy
