"""write_result: what a command found, written into a run folder beside what was asked for.

The newest result of a kind has the plain name, `eval.json`; one that was asked for differently is kept under
a name of its own, `eval_3f9c2ab1.json`. Options that make another kind of result are in the name:
`eval_sampler.json`, `samples_infill.json`.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hdiff.files import finite
from hdiff.outputs import keep

SAMPLE_KINDS = (
    "infill", "keywords", "rewrite", "skeleton", "sampler", "temperature", "top_k", "top_p",
)  # fmt: skip
"""Options that make samples other than free ones of the model as it is."""

EVALUATION_KINDS = ("given_structure", "sampler", "data", "seed")
"""Options that make the figures of an evaluation other ones, not more or fewer."""


def asked_for(result: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """A result with the options that were given (`asked`) and the time (`created`) before its figures."""
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    plain = json.loads(json.dumps(given, default=str))
    return {"asked": plain, "created": datetime.now(UTC).isoformat(timespec="seconds"), **result}


def kind_of(asked: Mapping[str, Any], name: str, kinds: Collection[str]) -> str:
    """Name of the file of a result, without `.json`, for the options that were given."""
    return "_".join((name, *(kind for kind in kinds if asked.get(kind))))


def write_result(folder: Path, kind: str, result: Mapping[str, Any], remedy: str) -> Path:
    """Writes a result; one that was asked for differently is renamed, not overwritten.

    Args:
        folder: The run folder.
        kind: Name of the file without `.json`.
        result: The result, with `asked`; numbers that JSON lacks are written as null.
        remedy: What can be typed to write elsewhere, for a folder that is read-only.

    Returns:
        The file.
    """
    file = folder / f"{kind}.json"
    try:
        before = json.loads(file.read_text(encoding="utf-8")).get("asked")
        if before != result.get("asked"):
            file.replace(folder / f"{kind}_{request_digest(before)}.json")
    except (OSError, ValueError, AttributeError):
        pass  # there is none, or it is damaged
    keep(file, json.dumps(finite(result), indent=1, allow_nan=False), remedy)
    return file


def request_digest(asked: Mapping[str, Any] | None) -> str:
    """Eight digits of what was asked for; `older` if a file does not say."""
    if asked is None:
        return "older"
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]


def request_text(asked: Mapping[str, Any] | None) -> str:
    """What was asked for, as options that can be typed: `--num 4 --seed 0`; empty if a file does not say."""
    words: list[str] = []
    for name, value in (asked or {}).items():
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, list):
            words.append(",".join(map(str, value)))
        elif value is not True:
            words.append(shlex.quote(value if isinstance(value, str) else json.dumps(value)))
    return " ".join(words)
