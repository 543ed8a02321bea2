"""Trainings that are stopped where a test wants them to stop, by a real signal."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def stop_at(stop: int, *signals: signal.Signals) -> Callable[[int], None]:
    """A `before_update` of `fit` that stops the run after an update.

    Args:
        stop: The update.
        *signals: What is sent, in this order; none given: SIGTERM.

    Returns:
        The function.
    """

    def before_update(step: int) -> None:
        if step == stop:
            for sent in signals or (signal.SIGTERM,):
                os.kill(os.getpid(), sent)

    return before_update
