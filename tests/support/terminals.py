"""A terminal for a command, and what it is sent."""

from __future__ import annotations

import os
import subprocess

import pytest


def on_a_terminal(command: list[str], **environment: str) -> bytes:
    """What a command writes to a terminal of its own."""
    pty = pytest.importorskip("pty", reason="pseudo terminals are those of Unix")
    leader, follower = pty.openpty()
    values = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        command, stdout=follower, stderr=follower, env={**values, "TERM": "xterm-256color", **environment}
    )
    os.close(follower)
    written = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # Linux: the other end is closed
            part = b""
        if not part:
            break
        written += part
    os.close(leader)
    assert process.wait(timeout=600) == 0, written
    return written
