"""OutputFolder: a folder that holds either a finished data set, an unfinished one, or nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdiff.data.manifest import MANIFEST, read_manifest
from hdiff.errors import CheckpointError, DataError
from hdiff.files import NO_ROOM, lock, write_atomically

BYTES_PER_CHARACTER = 40
"""Peak disk use of a prepare, per character of text (measured: 30 with spaCy and all levels; 9 remain)."""


@dataclass(frozen=True)
class OutputFolder:
    """Where a data set is prepared; it counts as finished once manifest.json is there."""

    path: Path

    @property
    def staging(self) -> Path:
        """Everything unfinished lies in this folder, which goes away at the end."""
        return self.path / "unfinished"

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of a finished data set, None if there is none."""
        if self.path.exists() and not self.path.is_dir():
            raise DataError(f"{self.path} is a file; give a folder:", "--out FOLDER")
        if (self.path / MANIFEST).exists():
            return read_manifest(self.path)
        if self.path.exists() and any(self.path.iterdir()) and not self.staging.exists():
            raise DataError(f"{self.path} is not empty and holds no data set; give another:", "--out FOLDER")
        return None

    @contextmanager
    def claimed(self, *, shared: bool = False) -> Iterator[None]:
        """Makes the staging folder and keeps other processes out of it, but for those that share it too."""
        try:
            self.staging.mkdir(parents=True, exist_ok=True)
            file = (self.staging / "lock").open("w")
        except OSError as error:
            raise DataError(
                f"cannot write {self.path}: {error.strerror}; give another folder:", "--out FOLDER"
            ) from error
        with file:
            try:
                lock(file, self.path, shared=shared)
            except BlockingIOError:
                raise DataError(
                    f"another process prepares into {self.path}; wait for it, or give another folder:",
                    "--out FOLDER",
                ) from None
            yield

    def finish(self, names: list[str], manifest: dict[str, Any]) -> None:
        """Moves finished parts out of staging, then writes the manifest."""
        for name in names:
            target = self.path / name
            if target.is_dir():
                shutil.rmtree(target)
            (self.staging / name).replace(target)
        write_atomically(self.path / MANIFEST, json.dumps(manifest, indent=1).encode("ascii"))
        shutil.rmtree(self.staging, ignore_errors=True)

    @contextmanager
    def disk_errors(self, num_characters: int | None = None) -> Iterator[None]:
        """Turns a full disk into an error that says how much is needed."""
        try:
            yield
        except (OSError, CheckpointError) as error:
            reason = error.__cause__ if isinstance(error, CheckpointError) else error
            if not isinstance(reason, OSError) or reason.errno not in NO_ROOM:
                raise
            free = shutil.disk_usage(self.path).free / 1e6
            needed = f"{BYTES_PER_CHARACTER} bytes are needed per character of text"
            if num_characters is not None:
                megabytes = num_characters * BYTES_PER_CHARACTER / 1e6
                needed = f"{num_characters:,} characters need about {megabytes:,.0f} MB"
            raise DataError(
                f"cannot write {self.path}: {reason.strerror or reason}; {needed}, {free:,.0f} MB are free: "
                "make room (or raise the quota) and run again, finished shards are kept; "
                "or give another folder or fewer documents:",
                "--out FOLDER",
                "--limit NUMBER",
            ) from error
