"""metrics.jsonl of a run, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hdiff.errors import CheckpointError

METRICS_FILE = "metrics.jsonl"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl, each with a whole number `step`; one that a kill cut off is left out."""
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
            if not isinstance(line["step"], int):
                raise ValueError(f"step is {line['step']!r}")
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            if number == len(texts):
                break
            raise CheckpointError(f"{path} line {number} is damaged ({error}); remove that line") from error
        lines.append(line)
    return lines
