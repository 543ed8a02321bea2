"""Digests of prepared data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

PLAIN: dict[str, Any] = {"parser": "plain", "levels": ("sentence",), "tokenizer": "train:300"}


def arrow_digests(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*.arrow"))
    }
