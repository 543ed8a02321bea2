"""Processes that hang, die or leave end the others with a message."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from process_groups import RECIPE, end, split, start

from hdiff.training import build as training
from hdiff.training.losses import DiffusionLoss


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


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path) -> Path:
    file = tmp_path_factory.mktemp("processes") / "many.yaml"
    file.write_text(RECIPE.format(output=file.parent / "run", data=prepared_folder))
    return file


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
