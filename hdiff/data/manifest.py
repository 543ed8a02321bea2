"""manifest.json of a prepared data set: what is in it, read and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hdiff.errors import DataError

MANIFEST = "manifest.json"
SALIENCE_FILE = "salience.json"
TOKEN_SALIENCE_FILE = "token_salience.npy"
FORMAT_VERSION = 2


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads the manifest of a finished data set; DataError if it is missing or damaged."""
    remedy = f"hdiff prepare SOURCE --out {path}"
    try:
        if (path / MANIFEST).exists() and not (path / MANIFEST).is_file():
            raise ValueError("it is no file")
        manifest = json.loads((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        state = "is unfinished" if path.is_dir() else "does not exist"
        raise DataError(f"the data set {path} {state} (no {MANIFEST}); make it with: {remedy}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path / MANIFEST} is damaged: {error}; delete the folder, then: {remedy}") from None
    if not isinstance(manifest, dict):
        raise DataError(f"{path / MANIFEST} is damaged: no JSON object; delete the folder, then: {remedy}")
    if manifest.get("format_version") == FORMAT_VERSION and (problem := _problem(manifest)):
        raise DataError(f"{path / MANIFEST} is damaged: {problem}; delete the folder, then: {remedy}")
    return manifest


def _problem(manifest: dict[str, Any]) -> str | None:
    """What a manifest lacks of the facts that readers rely on; other versions their readers refuse."""
    tokenizer, levels, hashes = (manifest.get(key) for key in ("tokenizer", "levels", "sha256"))
    if not isinstance(tokenizer, dict) or not isinstance(tokenizer.get("sha256"), str):
        return "no tokenizer with a sha256"
    if not isinstance(levels, list) or not all(isinstance(level, str) for level in levels):
        return "levels are no list of words"
    if not isinstance(hashes, dict) or not all(isinstance(value, str) for value in hashes.values()):
        return "sha256 holds no hashes"
    if not isinstance(manifest.get("counts"), dict):
        return "no counts"
    inside = [name for name in hashes if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name]
    return f"it names a file outside of the folder: {inside[0]!r}" if inside else None
