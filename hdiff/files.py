"""Durable files: whole or not there, on the disk and not only in memory, known by their digest."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hdiff.errors import CheckpointError

_READ_BYTES = 1 << 20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers that mean the disk, a quota or a size limit is full."""


@contextmanager
def disk_errors(what: object) -> Iterator[None]:
    """Says of a full disk what is lost, and what is not.

    Args:
        what: Run folder that is written to, or a part of it.

    Raises:
        CheckpointError: If there is no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise CheckpointError(
            f"no room on the disk for {what} ({error.strerror}); free some space and start again with "
            f"resume=auto: earlier checkpoints are intact"
        ) from error


def file_sha256(path: Path) -> str:
    """Digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_synced(path: Path, data: bytes) -> None:
    """Writes a file and waits until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that under its name there is all of it or nothing, even after a power cut.

    Args:
        path: The file.
        data: All of it.

    Raises:
        OSError: If it cannot be written, for example because the disk is full.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")  # others may write the same file
    write_synced(aside, data)
    aside.replace(path)


def sync(paths: Iterable[Path]) -> None:
    """Waits until files are on the disk.

    Args:
        paths: Files that are written and closed.

    Raises:
        OSError: If the disk is full.
    """
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
