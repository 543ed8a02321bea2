"""The soak itself, in short: kills, a stop and damages end in the line that is promised."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_short_soak_loses_nothing() -> None:
    command = [sys.executable, str(Path(__file__).parent), "--kills", "3", "--stops", "1", "--damages", "40"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "soak: 3 kills, 3 resumed, 3 bit-identical"
