"""Signals that ask a run to save and stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")
"""What terminals and clusters send; the last is Slurm's `--signal`. Some platforms lack it."""


@contextmanager
def stop_signals(on_stop: Callable[[int], None]) -> Iterator[None]:
    """Calls a function in place of ending the process; a second Ctrl-C ends it at once."""
    caught: set[int] = set()

    def stop(number: int, _frame: Any) -> None:
        # Launchers send again what the terminal or cluster has sent: only a second Ctrl-C is haste.
        if number == signal.SIGINT and caught:
            raise KeyboardInterrupt
        caught.add(number)
        on_stop(number)

    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    previous: dict[int, Any] = {}
    try:
        for number in numbers:
            previous[number] = signal.signal(number, stop)
    except ValueError:  # not the main thread: signals are its business
        previous = {}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
