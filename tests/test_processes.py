"""Processes: the same global batch gives the same training on one, two and four, and on what is resumed."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import multiprocessing.process
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from hdiff.cli import run
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.metrics_file import read_metrics
from hdiff.training import build as training
from hdiff.training.losses import DiffusionLoss

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


def split(processes: int, accumulation: int = 1) -> Sequence[str]:
    """Overrides under which an update has 8 rows."""
    return (
        f"train.batch_size={8 // processes // accumulation}",
        f"train.gradient_accumulation={accumulation}",
    )


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


def in_update_3_of_process_1(happens: Callable[[], None]) -> None:
    """Lets something happen to one of two processes in the middle of a run."""
    forward = DiffusionLoss.forward
    updates = itertools.count(1)

    def changed(self: DiffusionLoss, *arguments: Any) -> Any:
        if next(updates) == 3 and os.environ["RANK"] == "1":
            happens()
        return forward(self, *arguments)

    DiffusionLoss.forward = changed  # type: ignore[method-assign]


def hang() -> None:
    in_update_3_of_process_1(lambda: os.kill(os.getpid(), signal.SIGSTOP))


def die() -> None:
    in_update_3_of_process_1(lambda: os.kill(os.getpid(), signal.SIGKILL))


def die_before_the_first_update() -> None:
    def dying(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    if os.environ.get("RANK") == "1":
        training.build_model = dying


def say_when_gradients_are_exchanged() -> None:
    forward = DistributedDataParallel.forward

    def changed(self: DistributedDataParallel, *arguments: Any) -> Any:
        print("exchanged:", self.require_backward_grad_sync, flush=True)
        return forward(self, *arguments)

    DistributedDataParallel.forward = changed  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path) -> Path:
    file = tmp_path_factory.mktemp("processes") / "many.yaml"
    file.write_text(RECIPE.format(output=file.parent / "run", data=prepared_folder))
    return file


@pytest.fixture(scope="module")
def on_two(recipe: Path) -> Path:
    """A run on two processes, in single precision and without dropout."""
    train(recipe, f"output={recipe.parent / 'two'}", *split(2), processes=2)
    record = json.loads((recipe.parent / "two" / "run.json").read_text())
    assert record["processes"] == 2
    assert record["data"]["train_tokens"] % 256 != 0  # so a row is padded
    assert record["data"]["train_tokens"] <= 16 * 8 * 256  # and was trained on
    return recipe.parent / "two"


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "accumulation"), [(1, 1), (1, 4), (4, 1), (2, 2)])
def test_training_is_the_same_on_any_number_of_processes(
    recipe: Path, on_two: Path, processes: int, accumulation: int
) -> None:
    """What is minimised is the mean over all tokens of an update, however its rows are split."""
    run = recipe.parent / f"{processes}-{accumulation}"
    train(recipe, f"output={run}", *split(processes, accumulation), processes=processes)
    assert_same_training(on_two, run, relative=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "accumulation"), [(1, 2), (4, 1)])
def test_run_of_two_processes_goes_on_with_fewer_and_more(
    recipe: Path, on_two: Path, tmp_path: Path, processes: int, accumulation: int
) -> None:
    run = stopped_at_8(on_two, tmp_path / "run")
    train(recipe, f"output={run}", "resume=auto", *split(processes, accumulation), processes=processes)
    assert_same_training(on_two, run, relative=1e-6)


@pytest.mark.slow
def test_run_does_not_go_on_with_other_updates(recipe: Path, on_two: Path, tmp_path: Path) -> None:
    run = stopped_at_8(on_two, tmp_path / "run")
    [said] = train(recipe, f"output={run}", "resume=auto", *split(2), code=2)
    assert "has 8 rows per update, this start would have 4: train.batch_size 4 x" in said


@pytest.mark.slow
def test_bf16_on_two_processes_learns_alike_and_exchanges_gradients_once_per_update(
    recipe: Path, on_two: Path, tmp_path: Path
) -> None:
    options = ("train.steps=4", "train.mixed_precision=bf16", *split(2, 4))
    said = train(
        recipe,
        f"output={tmp_path / 'run'}",
        *options,
        processes=2,
        prepare=say_when_gradients_are_exchanged,
    )
    for text in said:
        exchanged = [line.split()[1] for line in text.splitlines() if line.startswith("exchanged:")]
        assert exchanged == ["False", "False", "False", "True"] * 4
    whole, half = (
        [line["loss"] for line in read_metrics(run / "metrics.jsonl")][:3]
        for run in (on_two, tmp_path / "run")
    )
    assert half == pytest.approx(whole, rel=5e-3)
    assert half != whole


LEAVING = """
import atexit, sys
import torch
from hdiff import __main__, cli

if sys.argv[1:]:
    torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
atexit.register(print, "Python's own ending")
cli.run = lambda arguments: print("done") or 3
__main__.main()
"""


@pytest.mark.parametrize("is_connected", [True, False])
def test_connected_processes_leave_before_threads_of_gloo_can_abort_them(
    tmp_path: Path, is_connected: bool
) -> None:
    command = [sys.executable, "-c", LEAVING, *([str(tmp_path / "meeting")] if is_connected else [])]
    left = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert left.returncode == 3, left.stderr
    assert left.stdout.split("\n") == ["done", *([] if is_connected else ["Python's own ending"]), ""]


@pytest.mark.slow
def test_hanging_process_ends_the_other_with_a_message(recipe: Path, tmp_path: Path) -> None:
    started = start(
        recipe, f"output={tmp_path / 'run'}", *split(2), "train.process_timeout=20", processes=2, prepare=hang
    )
    started[0].join(200)
    code, said = end(recipe, started, seconds=0)[0]
    assert code == 2, said
    assert "another process did not answer (train.process_timeout is 20 seconds)" in said


@pytest.mark.slow
@pytest.mark.parametrize("prepare", [die, die_before_the_first_update])
def test_dead_process_ends_the_other_with_a_message(
    recipe: Path, tmp_path: Path, prepare: Callable[[], None]
) -> None:
    (code, said), (killed, _) = end(
        recipe, start(recipe, f"output={tmp_path / 'run'}", *split(2), processes=2, prepare=prepare)
    )
    assert killed == -signal.SIGKILL
    assert code == 2, said
    assert "another process is gone" in said
