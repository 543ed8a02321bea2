"""Python source as documents: files, and the standard library of the Python that runs.

A file is one document, whole, as a part of it need not parse.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import sysconfig
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hdiff.data.sources.folders import text_files
from hdiff.data.sources.rejected import Row
from hdiff.errors import DataError

PREFIX = "python:"
SUFFIX = ".py"
LIBRARY = "stdlib"
LIBRARY_VALIDATION = "stdlib:validation"

_LICENCE = "PSF-2.0, see LICENSE.txt of CPython and https://docs.python.org/3/license.html"
_HELD_OUT = 0.1
"""Share of the modules and packages of the library that are for validation."""

_LEFT_OUT = frozenset(
    (
        *("test", "tests", "idle_test", "__pycache__", "site-packages", "dist-packages"),
        *("encodings", "pydoc_data"),  # tables of characters; the text of builtin:pydoc
    )
)
_LINE_END = re.compile(r"\r\n?")


def read_python(path: str, note: Callable[[str], None]) -> Iterator[Row]:
    """Rows of Python files, one a file; `note` is told of files that are left out."""
    for file in text_files(path, note, kinds=(SUFFIX,)):
        yield _row(file, str(file))


def read_library(name: str) -> Iterator[Row]:
    """Rows of the standard library, in the order of their paths.

    Args:
        name: `stdlib`, or `stdlib:validation` for the modules and packages that are held out.

    Yields:
        A row per file.

    Raises:
        DataError: If this Python keeps no source.
    """
    folder = _library_folder()
    for path in library_files(name):
        yield _row(folder / path, path)


def library_files(name: str) -> list[str]:
    """Files of the standard library, as paths inside its folder; without tests and tables of data."""
    folder = _library_folder()
    files: list[Path] = []
    for root, inside, names in os.walk(folder):
        inside[:] = sorted(set(inside) - _LEFT_OUT)  # the others are not looked into
        files += [Path(root, file).relative_to(folder) for file in names if file.endswith(SUFFIX)]
    chosen = [
        path
        for path in files
        if _is_held_out(path.parts[0]) == (name == LIBRARY_VALIDATION)
        and not path.name.startswith("_sysconfigdata")
    ]
    if not chosen:
        raise DataError(
            f"this Python keeps no source of its standard library in {folder}; run one that does, or give "
            "other files as python:FOLDER"
        )
    return sorted(path.as_posix() for path in chosen)


def origin(source: str) -> dict[str, Any] | None:
    """What to record of a corpus that is part of the Python that runs: version, licence and files."""
    if source not in (f"builtin:{LIBRARY}", f"builtin:{LIBRARY_VALIDATION}"):
        return None
    return {
        "corpus": f"the standard library of {platform.python_implementation()}",
        "version": platform.python_version(),
        "folder": str(_library_folder()),
        "licence": _LICENCE,
        "files": library_files(source.removeprefix("builtin:")),
    }


def _library_folder() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _is_held_out(name: str) -> bool:
    """The same modules and packages, whatever the version."""
    digest = hashlib.sha256(name.removesuffix(SUFFIX).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56 < _HELD_OUT


def _row(file: Path, place: str) -> Row:
    """A file in the encoding that it declares, its lines ending alike."""
    try:
        data = file.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        reason = f"cannot be read ({getattr(error, 'msg', None) or type(error).__name__}); save it as UTF-8"
        return Row("", place, reason)
    return Row(_LINE_END.sub("\n", text).strip("\n\f"), place, is_whole=True)
