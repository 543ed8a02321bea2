"""The fuzzer itself, in short: every reader gets some inputs, and an undocumented error is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent


@pytest.mark.slow
def test_short_fuzzing_finds_nothing() -> None:
    command = [sys.executable, str(FUZZ), "--inputs", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "fuzz: 1600 inputs, 16 readers, 0 undocumented errors"


FAULTY = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import readers, worker
def read(data, folder):
    if b"\\xff" in data:
        raise KeyError("not documented")
reader = readers.Reader(("hdiff.errors",), lambda: (b"a",), read, (b"\\xff",))
readers.READERS["faulty"] = reader
found = worker.Worker("faulty", "hypothesis", 3, 0, Path(sys.argv[2]))
for data in (b"a", b"\\xff1", b"\\xff2"):
    found.try_input(data)
"""


def test_an_undocumented_error_is_kept_once_with_its_input(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FAULTY, str(FUZZ), str(tmp_path)], check=True)
    (kept,) = [file for file in tmp_path.glob("input-*") if file.suffix != ".txt"]
    assert kept.read_bytes() == b"\xff1"
    assert "KeyError" in (tmp_path / "result.json").read_text()
