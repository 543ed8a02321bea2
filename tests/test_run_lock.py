"""The lock of a run folder: one training at a time, and nothing left behind by a kill."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hdiff.errors import CheckpointError
from hdiff.runs.lock import run_lock

OWNER = """
import sys, time
from pathlib import Path
from hdiff.runs.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_second_process_is_told_who_trains_and_what_to_do(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "locked\n"
    try:
        with (
            pytest.raises(
                CheckpointError, match=rf"{tmp_path} is being trained by process {owner.pid} on .*output=DIR"
            ),
            run_lock(tmp_path),
        ):
            pass
    finally:
        owner.kill()
        owner.wait()
    with run_lock(tmp_path):  # the kernel took the lock back
        pass


def test_lock_is_given_back_at_the_end_and_on_errors(tmp_path: Path) -> None:
    with run_lock(tmp_path / "new"):
        pass
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path / "new"):
        raise ZeroDivisionError
    with run_lock(tmp_path / "new"):
        pass
