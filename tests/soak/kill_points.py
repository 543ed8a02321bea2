"""Kill points: places in a training process at which it kills itself, counted as they are passed.

Nothing of this is in the package: the functions that change files are wrapped in the process that is to die.
"""

from __future__ import annotations

import builtins
import io
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hdiff.data.batch import Batch
    from hdiff.data.rows.training_rows import TrainingRows

CHANGES = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync")
"""Functions of os that change a run folder."""


class KillPoints:
    """Counts points of two kinds, `file` and `batch`, and dies at one of them.

    Args:
        folder: Run folder; only operations on its files count, those of TensorBoard's thread do not.
        kind: Kind of the point to die at.
        number: Its number, from 1; 0 never dies.
        name: Or its name.
        report: Open file descriptor that gets the name of each point passed, a line each.
        number_of_signal: What is sent at the point.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kind: str,
        number: int = 0,
        name: str | None = None,
        report: int,
        number_of_signal: int = signal.SIGKILL,
    ) -> None:
        self.folder = str(folder.resolve())
        self.kind = kind
        self.number = number
        self.name = name
        self.report = report
        self.signal = number_of_signal
        self.passed = 0

    def install(self) -> None:
        """Wraps file operations and the drawing of batches in this process."""
        for name in CHANGES:
            setattr(os, name, self._around(getattr(os, name), name))
        io.open = builtins.open = self._opening(io.open)  # type: ignore[assignment]
        self._watch_batches()

    def pass_by(self, kind: str, name: str) -> None:
        """Notes a point, and dies if it is the one."""
        if kind != self.kind:
            return
        self.passed += 1
        os.write(self.report, f"{name}\n".encode())
        if self.passed == self.number or name == self.name:
            os.kill(os.getpid(), self.signal)

    def _around(self, operation: Callable[..., Any], verb: str) -> Callable[..., Any]:
        def watched(target: Any, *arguments: Any, **options: Any) -> Any:
            name = self._name_of(target, options.get("dir_fd"))
            if name is None:
                return operation(target, *arguments, **options)
            self.pass_by("file", f"before {verb} of {name}")
            result = operation(target, *arguments, **options)
            self.pass_by("file", f"after {verb} of {name}")
            return result

        return watched

    def _opening(self, opening: Callable[..., Any]) -> Callable[..., Any]:
        def watched(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            name = None if isinstance(file, int) or mode[0] not in "wa" else self._name_of(file, None)
            if name is None:
                return opening(file, mode, *arguments, **options)
            self.pass_by("file", f"before open of {name}")
            torn = TornWriter(
                file, mode[0], lambda: self.pass_by("file", f"in the middle of write to {name}")
            )
            return torn if "b" in mode else io.TextIOWrapper(torn, encoding="utf-8")

        return watched

    def _name_of(self, target: Any, folder_descriptor: int | None) -> str | None:
        """Name of a file of the run folder without numbers, None for other files."""
        if isinstance(target, int):
            path = os.readlink(f"/proc/self/fd/{target}")
        elif folder_descriptor is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder_descriptor}"), os.fsdecode(target))
        else:
            path = os.path.realpath(os.fsdecode(target))
        if not path.startswith(self.folder) or "/tensorboard" in path:
            return None
        inside = path[len(self.folder) :].strip("/").replace("checkpoints/", "")
        return "".join(character for character in inside if not character.isdigit()) or "run folder"

    def _watch_batches(self) -> None:
        from hdiff.training import build as training

        opening = training.open_rows

        def opened(*arguments: Any, **options: Any) -> TrainingRows:
            rows = opening(*arguments, **options)
            rows.batch = self._watched(rows)  # type: ignore[method-assign]
            return rows

        training.open_rows = opened

    def _watched(self, rows: TrainingRows) -> Callable[[Sequence[int]], Batch]:
        drawing = rows.batch

        def batch(places: Sequence[int]) -> Batch:
            before = _epochs(rows, places[0] - 1)
            drawn = drawing(places)
            self.pass_by("batch", f"{places[0]} {before != _epochs(rows, places[-1]):d}")
            return drawn

        return batch


def _epochs(rows: TrainingRows, place: int) -> object:
    """Which epoch of its text a place is in; of a stream, of all streams of a mixture, where they are now."""
    state = rows.state()
    if state is None:
        return place // rows.order.num_rows  # type: ignore[attr-defined]
    streams = state.get("corpora", [state])
    return [own["place"]["epoch"] for own in streams if own is not None] if state["rows"] else None


class TornWriter(io.BufferedWriter):
    """A file that is written in halves, with something done in between."""

    def __init__(self, path: Any, mode: str, between: Callable[[], None]) -> None:
        super().__init__(io.FileIO(path, mode))
        self.between = between

    def write(self, data: Any) -> int:
        """Writes the first half down to the kernel, then the second."""
        content = bytes(data)
        half = len(content) // 2
        super().write(content[:half])
        super().flush()
        self.between()
        super().write(content[half:])
        return len(content)
