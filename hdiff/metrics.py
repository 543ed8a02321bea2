"""MetricsLog: metrics.jsonl, always, and TensorBoard scalars where it is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class MetricsLog:
    """Appends a run's numbers.

    Lines after `first_step` are dropped on opening: a resumed run writes them again.

    Args:
        path: Run folder.
        first_step: Updates already done.
        enabled: False on all but the main process.
    """

    def __init__(self, path: Path, first_step: int, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.file: Any = None
        self.writer: SummaryWriter | None = None
        if not enabled:
            return
        log = path / "metrics.jsonl"
        kept = [line for line in read_metrics(log) if line["step"] <= first_step]
        self.file = log.open("w", encoding="utf-8")
        for line in kept:
            self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self.writer = SummaryWriter(str(path / "tensorboard"), purge_step=first_step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Appends one line and one scalar per value."""
        if not self.enabled:
            return
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        self.file.flush()
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes the files."""
        if self.file is not None:
            self.file.close()
        if self.writer is not None:
            self.writer.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads metrics.jsonl; a last line cut off by a kill is left out."""
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
