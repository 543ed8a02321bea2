"""A folder into which nobody may write, not even root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder into which nobody may write: mounted so for root, by its permissions for others."""
    if os.getuid() != 0:
        modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*")) if path.is_dir()}
        for path in modes:
            path.chmod(0o555)
        try:
            yield
        finally:
            for path, mode in modes.items():
                path.chmod(mode)
        return
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        with suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", "--lazy", folder], check=True)
