"""Bits: what a finished run must share, to the last bit, with one that nothing has interrupted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

TIMINGS = ("seconds", "tokens_per_second")


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two finished run folders.

    Args:
        one: A run folder.
        other: Another.

    Returns:
        Names of the parts that differ: model, optimizer, ema, losses ...; empty if the runs are the same.
    """
    first, second = _facts(one), _facts(other)
    return [name for name in first if first[name] != second.get(name)]


def _facts(run: Path) -> dict[str, object]:
    checkpoints = sorted((run / "checkpoints").glob("step-*"))
    newest = checkpoints[-1]
    facts: dict[str, object] = {
        part: hashlib.sha256((newest / f"{part}.safetensors").read_bytes()).hexdigest()
        for part in ("model", "optimizer", "ema")
    }
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    facts["losses"] = [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines]
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    facts["record"] = [record["steps"], record["tokens_seen"], record["seed"]]
    unfinished = [path.name for path in (run / "checkpoints").iterdir() if path not in checkpoints]
    facts["checkpoints"] = [newest.name, *unfinished]
    facts["files"] = sorted(path.name for path in run.iterdir())
    return facts
