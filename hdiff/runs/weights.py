"""Which weights a run folder holds, told from its files alone. No torch."""

from __future__ import annotations

import hashlib
from pathlib import Path


def weights_of(path: Path) -> str | None:
    """Digest of the newest checkpoint of a run folder; its manifest holds a hash of every file."""
    newest = newest_checkpoint(path)
    return None if newest is None else hashlib.sha256((newest / "manifest.json").read_bytes()).hexdigest()


def newest_checkpoint(path: Path) -> Path | None:
    """Folder of the newest complete checkpoint of a run."""
    return max((file.parent for file in path.glob("checkpoints/step-*/manifest.json")), default=None)


def step_of(checkpoint: Path) -> int:
    """Updates done by a checkpoint, as the name of its folder has them."""
    return int(checkpoint.name.split("-")[1])
