"""Job: one step of one shard, a pure function of files.

A job writes its output aside, syncs and renames it, and last writes `.ok.json` with the digests, versions
and counts. An output without it does not exist, so any process may do any job at any time, twice even.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hdiff.files import file_sha256, write_atomically

OnDocument = Callable[[int], None]
"""Called with the position of each document: before it if documents are taken one by one, else after it."""

Report = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One step of one shard.

    Attributes:
        step: `parse` or `align`.
        source: What it reads.
        out: What it writes.
        settings: A JSON file with everything else that decides the output.
        one_by_one: Take documents one at a time, so that one that kills the process can be told.
        quarantined: Documents to leave out, by position, with the reason.
    """

    step: str
    source: Path
    out: Path
    settings: Path
    one_by_one: bool = False
    quarantined: Mapping[int, str] = field(default_factory=dict)

    def finished(self, identity: Mapping[str, Any]) -> Report | None:
        """The report of an output made from the same things and undamaged; None if there is work to do."""
        return finished_report(self.out, identity)

    def finish(self, identity: Mapping[str, Any], data: bytes, facts: Mapping[str, Any]) -> Report:
        """Writes output and report."""
        write_atomically(self.out, data)
        report = {**identity, "sha256": hashlib.sha256(data).hexdigest(), **facts}
        write_atomically(ok_path(self.out), json.dumps(report).encode("ascii"))
        return report


def finished_report(out: Path, identity: Mapping[str, Any]) -> Report | None:
    """The report of an output that is there, made from the same things, and undamaged."""
    try:
        report: Report = json.loads(ok_path(out).read_bytes())
        is_same = all(report[key] == value for key, value in identity.items())
        return report if is_same and report["sha256"] == file_sha256(out) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def ok_path(out: Path) -> Path:
    """Where the report of an output lies."""
    return out.with_name(f"{out.name}.ok.json")


@cache
def read_settings(path: Path) -> dict[str, Any]:
    """Settings of a step; they are written once per folder and run."""
    settings: dict[str, Any] = json.loads(path.read_bytes())
    return settings
