"""Which weights a run folder holds, told from its files alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


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


def used_step(newest: Path) -> int:
    """Updates done by the weights that whatever loads the run takes: the best ones if it keeps them."""
    return int(state_of(newest).get("used_step", step_of(newest)))


def state_of(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint keeps beside tensors; empty while it is pruned or if it is damaged."""
    try:
        state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
