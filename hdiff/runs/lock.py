"""run_lock: one training per run folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hdiff.errors import CheckpointError
from hdiff.files import lock

LOCK_FILE = ".lock"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keeps other trainings out of a run folder for as long as this one lives.

    The kernel gives the lock back when the process ends, however it ends, so nothing is left to be cleaned
    up after a kill. The file stays: removing it would let two processes lock two files of one name.

    Args:
        folder: The run folder; made if it is missing.

    Raises:
        CheckpointError: If another process trains there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a+", encoding="utf-8") as file:
        try:
            lock(file, folder)
        except BlockingIOError:
            owner = (folder / LOCK_FILE).read_text(encoding="utf-8") or "another process"
            raise CheckpointError(
                f"{folder} is being trained by {owner}; wait for it, stop it, or make another run:",
                "output=DIR",
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
