"""Progress: what a long command is doing, on stderr; a bar on a terminal, plain lines in a log.

rich writes no escape codes to what is no terminal or a dumb one.
"""

from __future__ import annotations

import os
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LINE_EVERY_SECONDS = 15.0


def console(*, stderr: bool = False) -> Console:
    """The console of results, or of remarks; NO_COLOR takes colours, bold and dim alike."""
    return Console(stderr=stderr, color_system=None if os.environ.get("NO_COLOR") else "auto")


class Progress:
    """One progress display at a time.

    Args:
        title: Shown before the bar.
        quiet: Shows nothing at all.
    """

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self.title = title
        self.quiet = quiet
        self.console = console(stderr=True)
        # A bar on a dumb terminal would not be drawn before its end.
        self.has_bar = self.console.is_terminal and not self.console.is_dumb_terminal
        self.bar: RichProgress | None = None
        self.task: object = None
        self.last_line = time.monotonic()

    def update(self, done: int, total: int | None, note: str = "") -> None:
        """Shows `done` of `total`, None if unknown, with a short text behind the bar."""
        if self.quiet:
            return
        if not self.has_bar:
            now = time.monotonic()
            if now - self.last_line >= LINE_EVERY_SECONDS or (total is not None and done >= total):
                self.last_line = now
                of = f"/{total}" if total is not None else ""
                self.console.print(f"{self.title}: {done}{of} {note}", highlight=False)
            return
        if self.bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self.bar = RichProgress(*columns, TextColumn("{task.fields[note]}"), console=self.console)
            self.task = self.bar.add_task(self.title, total=total, note=note)
            self.bar.start()
        self.bar.update(self.task, completed=done, total=total, note=note)  # type: ignore[arg-type]
        if total is not None and done >= total:
            self.close()

    def message(self, text: str) -> None:
        """Prints one line."""
        if not self.quiet:
            self.console.print(text, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Ends the bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
