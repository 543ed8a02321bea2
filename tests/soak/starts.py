"""Starts: one `hdiff train` at a time, forked from a process that has the libraries loaded, or really new.

A forked start costs half a second instead of ten: a soak of hundreds of kills takes minutes.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ANSWERED = tuple(128 + number for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT))
"""Exit codes of a run that has saved and left."""

PATIENCE_SECONDS = 300.0
"""A start that takes longer hangs."""

LIBRARIES = (
    "hdiff.cli",
    "hdiff.progress",
    "hdiff.training.trainer",
    "accelerate",
    "datasets",
    "torch._dynamo",  # which the optimiser imports
    "torch.utils.tensorboard.writer",
)


@dataclass(frozen=True)
class Ending:
    """How a start ended.

    Attributes:
        codes: Per process the exit code, or minus the signal that ended it.
        points: Kill points passed, in order.
        output: What it printed.
        seconds: How long it took.
    """

    codes: tuple[int, ...]
    points: tuple[str, ...]
    output: str
    seconds: float

    @property
    def is_killed(self) -> bool:
        """Whether SIGKILL ended one of its processes."""
        return -signal.SIGKILL in self.codes


def load_libraries() -> None:
    """Imports what a training needs; nothing is computed, so forking is safe."""
    for name in LIBRARIES:
        importlib.import_module(name)


def fork(
    arguments: Sequence[str],
    log: Path,
    *,
    prepare: Callable[[int, int], None] | None = None,
    processes: int = 1,
    kill_after: float | None = None,
) -> Ending:
    """Runs `hdiff` with some arguments in forked processes.

    Args:
        arguments: Words after `hdiff`.
        log: File for what is printed.
        prepare: Called in each process with its rank and a descriptor to report to, before hdiff runs.
        processes: As `torchrun --nproc_per_node` sets them up. When one dies the others are killed.
        kill_after: Seconds until SIGKILL from outside.

    Returns:
        The ending.
    """
    report = log.with_suffix(".points")
    for file in (log, report):  # empty, whatever moment a kill comes at
        file.write_text("", encoding="utf-8")
    began = time.monotonic()
    port = _free_port()
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            _be_hdiff(arguments, log, report, rank, processes, port, prepare)
        children.append(child)
    codes = _wait(children, began, kill_after)
    points = tuple(report.read_text(encoding="utf-8").splitlines())
    return Ending(codes, points, log.read_text(encoding="utf-8"), time.monotonic() - began)


def new_process(arguments: Sequence[str], log: Path, *, kill_after_change_of: Path, delay: float) -> Ending:
    """Runs `python -m hdiff` as anybody does and kills it from outside.

    Args:
        arguments: Words after `hdiff`.
        log: File for what is printed.
        kill_after_change_of: The kill comes after this file has changed.
        delay: And so many seconds later.

    Returns:
        The ending.
    """
    began = time.monotonic()
    before = _modified(kill_after_change_of)
    with log.open("w", encoding="utf-8") as output:
        command = [sys.executable, "-m", "hdiff", *arguments]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None and time.monotonic() - began < PATIENCE_SECONDS:
            if _modified(kill_after_change_of) != before:
                time.sleep(delay)
                break
            time.sleep(0.005)
        process.kill()
        code = process.wait()
    return Ending((code,), (), log.read_text(encoding="utf-8"), time.monotonic() - began)


def _be_hdiff(
    arguments: Sequence[str],
    log: Path,
    report: Path,
    rank: int,
    processes: int,
    port: int,
    prepare: Callable[[int, int], None] | None,
) -> None:
    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if processes > 1:
            world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in world.items()})
            os.environ.update({"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"})
        if prepare is not None:
            prepare(rank, os.open(report, os.O_WRONLY | os.O_APPEND))
        from hdiff.cli import run

        code = run(arguments)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _wait(children: list[int], began: float, kill_after: float | None) -> tuple[int, ...]:
    codes: dict[int, int] = {}
    while len(codes) < len(children):
        for child in children:
            if child not in codes:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    codes[child] = os.waitstatus_to_exitcode(status)
        passed = time.monotonic() - began
        is_over = any(code not in (0, *ANSWERED) for code in codes.values())
        if is_over or passed > PATIENCE_SECONDS or (kill_after is not None and passed > kill_after):
            for child in children:
                if child not in codes:
                    os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    return tuple(codes[child] for child in children)


def _modified(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
