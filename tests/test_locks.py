"""Locks of folders: what dead processes leave behind, file systems without locks, a clock set back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hdiff.files import lock
from hdiff.runs.lock import LOCK_FILE, run_lock

LEFT = [
    "",
    "process 1 on elsewhere",
    "process 99999999 on " + "h" * 300,
    "\0\0",
    "é",
    "process -1",
    "{}",
    "x\n" * 9,
]
SOURCE = """
#include <errno.h>
int flock(int file, int operation) { errno = %s; return -1; }
"""
REFUSALS = ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EINVAL", "EBADF", "EIO", "EPERM"]
LOCKED = """
import sys
from pathlib import Path
from hdiff.runs.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("trains")
"""


@pytest.mark.parametrize("text", LEFT)
def test_a_lock_that_a_dead_host_left_is_no_obstacle(text: str, tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text(text, encoding="utf-8")
    os.utime(tmp_path / LOCK_FILE, (2**33, 2**33))  # a clock that was set back since
    with run_lock(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK_FILE).read_text()


@pytest.mark.parametrize("reason", REFUSALS)
@pytest.mark.skipif(not shutil.which("cc") or sys.platform != "linux", reason="needs a C compiler and Linux")
def test_a_file_system_without_locks_is_warned_of(reason: str, tmp_path: Path) -> None:
    (tmp_path / "flock.c").write_text(SOURCE % reason)
    library = tmp_path / "flock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "flock.c"], check=True)
    done = subprocess.run(
        [sys.executable, "-c", LOCKED, tmp_path / "run"],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "trains\n", done.stderr
    assert "cannot be locked" in done.stderr
    assert "see to it that nothing else writes there" in done.stderr


def test_those_who_share_keep_out_those_who_do_not(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        lock(first, tmp_path, shared=True)
        lock(second, tmp_path, shared=True)
        with (tmp_path / "lock").open("w") as third, pytest.raises(BlockingIOError):
            lock(third, tmp_path)
