"""Compressed files, read as streams."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from hdiff.errors import DataError
from hdiff.plugins import install_command

READ_ERRORS = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""What reading a file raises that is damaged, cut off or not allowed."""


def _open_zstandard(path: Path) -> IO[bytes]:
    try:
        import pyarrow
    except ImportError:
        raise DataError(f"reading {path} needs pyarrow;", install_command("train")) from None
    return pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")  # type: ignore[no-any-return]


COMPRESSIONS: Mapping[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zstandard,
}
"""Suffix -> how a file is opened."""


def open_decompressed(path: Path) -> io.BufferedReader:
    """The bytes of a file, decompressed if its suffix is one of `COMPRESSIONS`."""
    opened = COMPRESSIONS.get(path.suffix.lower())
    return path.open("rb") if opened is None else io.BufferedReader(opened(path))
