"""Progress: no command falls silent, on a terminal or in a log."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from hdiff import progress as module
from hdiff.progress import FIRST_LINE_SECONDS, LONGEST_SILENCE_SECONDS, Progress
from hdiff.recipe import resolve
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

WAITING = """
import time
from hdiff.progress import Progress
display = Progress("train story")
display.stage("first update")
time.sleep(600)
"""


class Clock:
    """Seconds as a test wants them."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    monkeypatch.setattr(module, "_watch", lambda *_: None)  # lines are asked for by hand
    return found


def test_a_stage_is_told_after_two_seconds_and_less_often_later(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Progress("train story")
    display.stage("first update")
    told = []
    for _ in range(240):  # a minute
        clock.now += 0.25
        display.line_if_silent()
        if capsys.readouterr().err:
            told.append(clock.now - 100.0)
    display.close()
    pauses = [later - earlier for earlier, later in zip([0.0, *told], told, strict=False)]
    assert pauses[0] == FIRST_LINE_SECONDS
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_SILENCE_SECONDS


def test_a_line_tells_what_is_done_and_how_long_the_rest_takes(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Progress("train story")
    display.update(0, 10, "loss 5")
    clock.now += 3
    display.update(2, 10, "loss 4")
    display.line_if_silent()
    assert capsys.readouterr().err == "train story: 2/10 loss 4 (3 s, about 12 s left)\n"
    display.stage("validating")
    clock.now += 6
    display.line_if_silent()
    assert "2/10 validating (9 s" in capsys.readouterr().err
    display.update(10, 10, "loss 3")
    assert capsys.readouterr().err == "train story: 10/10 loss 3\n"


def test_a_quiet_or_closed_display_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = Progress("train story", quiet=True)
    display.stage("first update")
    display.update(3, 3)
    assert display._ended is None
    open_one = Progress("train story")
    open_one.stage("first update")
    ended = open_one._ended
    open_one.close()
    assert ended is not None
    assert ended.is_set()
    assert capsys.readouterr().err == ""


def test_training_tells_what_it_does_between_updates(tmp_path: Path, prepared_folder: Path) -> None:
    recipe = resolve(
        {
            "name": "stages",
            "output": str(tmp_path / "run"),
            "data": {"path": str(prepared_folder), "sequence_length": 16},
            "model": {"width": 16, "depth": 1, "num_heads": 2},
            "train": {"steps": 2, "batch_size": 2, "evaluate_every": 1, "validation_blocks": 2},
        },
        where="test",
    )
    told: list[str] = []
    display = Progress("train stages", quiet=True)
    display.stage = told.append  # type: ignore[method-assign]
    display.update = lambda done, total, note="": told.append(f"update {done}")  # type: ignore[method-assign]
    fit(build_training(recipe), progress=display)
    assert told == [
        *("opening the run", "first update", "update 1", "validating", "update 2", "validating", "saving")
    ]


def test_lines_come_while_nothing_is_reported() -> None:
    running = subprocess.Popen([sys.executable, "-c", WAITING], stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    began = time.monotonic()
    assert running.stderr.readline().startswith("train story: first update (")
    assert time.monotonic() - began >= FIRST_LINE_SECONDS
    running.kill()
    running.communicate()


def test_a_display_that_nobody_holds_ends_its_lines() -> None:
    import threading

    display = Progress("train story")
    before = set(threading.enumerate())
    display.stage("first update")
    (watcher,) = set(threading.enumerate()) - before
    del display
    watcher.join(120)
    assert not watcher.is_alive()
