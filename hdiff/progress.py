"""Progress: what a long command is doing, on stderr; a bar on a terminal, plain lines in a log.

rich writes no escape codes to what is no terminal or a dumb one.
"""

from __future__ import annotations

import os
import threading
import time
import weakref

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

FIRST_LINE_SECONDS = 2.0
"""Silence in a log after which a line tells what is done; then twice as long, up to the longest."""

LONGEST_SILENCE_SECONDS = 15.0


def console(*, stderr: bool = False) -> Console:
    """The console of results, or of remarks; NO_COLOR takes colours, bold and dim alike."""
    return Console(stderr=stderr, color_system=None if os.environ.get("NO_COLOR") else "auto")


class Progress:
    """One progress display at a time, which never falls silent while it is open.

    On a terminal the bar turns by itself. In a log a line comes after two seconds, whoever works or waits.

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
        self.done, self.note = 0, ""
        self.total: int | None = None
        self.began = self.last_line = time.monotonic()
        self.silence = FIRST_LINE_SECONDS
        self._ended: threading.Event | None = None

    def stage(self, note: str) -> None:
        """Says what begins and may take a while, in a word or two."""
        self._show(self.done, self.total, note)

    def update(self, done: int, total: int | None, note: str = "") -> None:
        """Shows `done` of `total`, None if unknown, with a short text behind the bar."""
        self._show(done, total, note)
        if total is not None and done >= total:
            if not self.quiet and not self.has_bar:
                self._line(f"{done}/{total} {note}")
            self.close()

    def message(self, text: str) -> None:
        """Prints one line."""
        if not self.quiet:
            self.console.print(text, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Ends the bar, or the lines."""
        if self.bar is not None:
            self.bar.live.transient = self.total is None  # of stages nothing stays on the screen
            self.bar.stop()
            self.bar = None
        if self._ended is not None:
            self._ended.set()
            self._ended = None
        self.done, self.total, self.silence = 0, None, FIRST_LINE_SECONDS

    def line_if_silent(self) -> None:
        """Prints what is being done, and how much is left, after a while without a line."""
        now = time.monotonic()
        if now - self.last_line < self.silence:
            return
        self.silence = min(2 * self.silence, LONGEST_SILENCE_SECONDS)
        of = "" if self.total is None else f"{self.done}/{self.total} "
        seconds = now - self.began
        left = ""
        if self.total and self.done:
            left = f", about {seconds / self.done * (self.total - self.done):.0f} s left"
        self._line(f"{of}{self.note} ({seconds:.0f} s{left})")

    def _show(self, done: int, total: int | None, note: str) -> None:
        if self.quiet:
            return
        if self.bar is None and self._ended is None:
            self.began = self.last_line = time.monotonic()
        self.done, self.total, self.note = done, total, note
        if self.has_bar:
            self._show_bar()
        elif self._ended is None:
            self._ended = threading.Event()
            threading.Thread(target=_watch, args=(weakref.ref(self), self._ended), daemon=True).start()

    def _show_bar(self) -> None:
        if self.bar is None:
            times = (MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), *times)
            self.bar = RichProgress(*columns, TextColumn("{task.fields[note]}"), console=self.console)
            self.task = self.bar.add_task(self.title, total=self.total, note=self.note)
            self.bar.start()
        self.bar.update(self.task, completed=self.done, total=self.total, note=self.note)  # type: ignore[arg-type]

    def _line(self, text: str) -> None:
        self.last_line = time.monotonic()
        self.console.print(f"{self.title}: {text}", highlight=False, soft_wrap=True)


def _watch(progress: weakref.ref[Progress], ended: threading.Event) -> None:
    """Has lines printed while a display is open; one that nobody holds any more is closed."""
    while not ended.wait(0.25):
        shown = progress()
        if shown is None:
            return
        shown.line_if_silent()
        del shown
