"""Durable files: whole or not there, on the disk and not only in memory, known by their digest."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from hdiff.errors import CheckpointError

_READ_BYTES = 1 << 20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers that mean the disk, a quota or a size limit is full."""


@contextmanager
def disk_errors(what: object) -> Iterator[None]:
    """Says of a full disk what is lost, and what is not."""
    with disk_room(what, "resume=auto"):
        yield


@contextmanager
def disk_room(what: object, *remedies: str) -> Iterator[None]:
    """Says what a full disk has no room for, and what to type once there is space."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        then = " and start again, earlier checkpoints are intact:" if remedies else ""
        raise CheckpointError(
            f"no room on the disk for {what} ({error.strerror}); free some space{then}", *remedies
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


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes a file so that under its name there is all of it or nothing, even after a power cut.

    A link is followed. A device or a pipe is no file to be replaced: it gets the bytes.

    Args:
        path: The file; folders above it are made.
        data: All of it.

    Raises:
        CheckpointError: If there is no room; the old file stays.
        OSError: If it cannot be written for another reason.
    """
    if isinstance(data, str):
        data = data.encode()
    if path.exists() and not path.is_file():
        with disk_room(path), open_device(path) as device:
            device.write(data)
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".writing-{os.getpid()}-{path.name[:40]}")  # others may write the same file
    with disk_room(path):
        try:
            write_synced(aside, data)
            aside.replace(path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise


def lock(file: IO[Any], folder: Path, *, shared: bool = False) -> None:
    """Takes a lock on a folder by a file in it; the kernel gives it back however the process ends."""
    try:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError) as error:  # some network file systems have none: work must go on there
        warnings.warn(
            f"{folder} cannot be locked ({error}); see to it that nothing else writes there", stacklevel=4
        )


def open_device(path: Path) -> BinaryIO:
    """Opens a device or a pipe to write to, without waiting for a reader."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return open(descriptor, "wb", buffering=0)


def sync(paths: Iterable[Path]) -> None:
    """Waits until files are on the disk."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def finite(value: object) -> object:
    """JSON-able values with None for numbers that JSON lacks."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
