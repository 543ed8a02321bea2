"""MetricsLog: metrics.jsonl, always, and the trackers of the recipe."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff.files import disk_errors, write_synced
from hdiff.runs.metrics_file import METRICS_FILE, read_metrics

if TYPE_CHECKING:
    from hdiff.training.trackers import Trackers


class MetricsLog:
    """Appends a run's numbers.

    Lines after `first_step` are dropped on opening: a resumed run writes them again.

    Args:
        path: Run folder.
        first_step: Updates already done.
        trackers: Get the same numbers.
        enabled: False on all but the main process.

    Raises:
        CheckpointError: If the disk is full.
    """

    def __init__(
        self, path: Path, first_step: int, *, trackers: Trackers | None = None, enabled: bool = True
    ) -> None:
        self.path = path
        self.enabled = enabled
        self.file: Any = None
        self.trackers = trackers
        if not enabled:
            return
        log = path / METRICS_FILE
        kept = [line for line in read_metrics(log) if line["step"] <= first_step]
        # A kill in here must not cost the lines of the updates that are not done again.
        aside = path / ".writing-metrics.jsonl"
        with disk_errors(self.path):
            write_synced(aside, "".join(json.dumps(line) + "\n" for line in kept).encode())
            aside.replace(log)
        self.file = log.open("a", encoding="utf-8")

    def write(self, step: int, values: dict[str, float]) -> None:
        """Appends one line, and gives it to the trackers."""
        if not self.enabled:
            return
        with disk_errors(self.path):
            self.file.write(json.dumps({"step": step, **values}) + "\n")
            self.file.flush()
            if self.trackers is not None:
                self.trackers.log(step, values)

    def sync(self) -> None:
        """Waits until the lines are on the disk: before a checkpoint, which must not know more than they."""
        if self.file is not None:
            with disk_errors(self.path):
                os.fsync(self.file.fileno())

    def close(self) -> None:
        """Closes the files."""
        with disk_errors(self.path):
            if self.file is not None:
                self.file.close()
            if self.trackers is not None:
                self.trackers.close()
