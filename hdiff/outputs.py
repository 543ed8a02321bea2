"""Outputs: files and folders that a command is to write, tried before its work begins."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hdiff.errors import UserError
from hdiff.files import open_device, write_atomically

PAGE = b"<!doctype html"
RESULT = b'{ "asked"'
"""How the files begin that commands write, white space apart."""


def check_output_file(path: Path, remedy: str, begins: bytes = PAGE) -> None:
    """Refuses a file that cannot be written, or is another one; missing folders above it are no reason.

    Args:
        path: The file. What is there is kept; a device or a pipe is opened and closed.
        remedy: What can be typed to write elsewhere, `--output FILE`.
        begins: How the files begin that the command writes: it replaces these and empty ones, nothing else.

    Raises:
        UserError: If it is a folder, the system refuses it, or it holds something else.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        if path.is_file() and (words := _first_words(path)) and not words.startswith(begins):
            raise FileExistsError(0, "it holds something else, which is not overwritten")
        if path.exists() and not path.is_file():
            open_device(path).close()
        elif path.parent.is_dir():
            _try_file(path.parent)
            if not path.exists():
                _try_file(path.parent, path.resolve().name)
        else:
            _try_folder(path.parent)
    except (OSError, ValueError, RuntimeError) as error:
        raise _refusal("file", path, error, remedy) from error


def check_output_folder(path: Path, remedy: str) -> None:
    """Refuses a folder into which no file can be written, or that cannot be made."""
    try:
        _try_folder(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise _refusal("folder", path, error, remedy) from error


def keep(path: Path, content: str, remedy: str) -> None:
    """Writes what a command prints anyway; warns where it cannot, as in a run folder that is read-only."""
    try:
        write_atomically(path, content)
    except (OSError, UserError) as error:
        reason = getattr(error, "strerror", None) or error
        note = f"{path} cannot be written ({reason}), so it is only printed; write it with {remedy}"
        print(note, file=sys.stderr)


def _first_words(path: Path) -> bytes:
    with path.open("rb") as file:
        return b" ".join(file.read(64).lower().split())


def _try_folder(path: Path) -> None:
    if path.is_dir():
        _try_file(path)
        return
    if os.path.lexists(path):
        raise NotADirectoryError(0, "it is no folder")
    missing = path
    while not os.path.lexists(missing.parent):
        missing = missing.parent
    missing.mkdir()
    missing.rmdir()


def _try_file(folder: Path, name: str | None = None) -> None:
    tried = folder / (name or f".writing-{os.getpid()}")
    tried.touch(exist_ok=False)
    tried.unlink()


def _refusal(kind: str, path: Path, error: Exception, remedy: str) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    return UserError(f"'{path}' cannot be written as a {kind} ({reason}); give another {kind}:", remedy)
