"""What commands print: UTF-8 in files, one line on a full device, no control characters on terminals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shared_models import save_untrained
from terminals import on_a_terminal

from hdiff.pages.terminal_text import visible_controls

FULL = Path("/dev/full")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hdiff", *arguments]


def sample(folder: Path) -> list[str]:
    return command("sample", str(folder), "--num", "1", "--length", "4")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_files_and_pipes_get_utf_8_whatever_the_locale(encoding: str, tmp_path: Path) -> None:
    folder = save_untrained(tmp_path / "shared", always="\u00e9")  # its first byte alone: U+FFFD
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(sample(folder), capture_output=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("utf-8").splitlines()[1] == "\ufffd" * 4


def test_a_terminal_of_another_encoding_gets_question_marks(tmp_path: Path) -> None:
    folder = save_untrained(tmp_path / "shared", always="\u00e9")
    assert b"????" in on_a_terminal(sample(folder), PYTHONIOENCODING="cp1252")


def test_a_terminal_is_sent_no_control_characters_of_a_text(tmp_path: Path) -> None:
    folder = save_untrained(tmp_path / "shared", always="\x1b")
    shown = on_a_terminal(sample(folder))
    assert b"\x1b" not in shown
    assert rb"\x1b\x1b\x1b\x1b" in shown
    done = subprocess.run(sample(folder), capture_output=True, timeout=300, check=False)
    assert b"\x1b" * 4 in done.stdout, "a file gets the text as it is"


def test_newlines_and_tabs_stay_and_other_controls_are_written_out() -> None:
    text = "a\tb\nc \u00e9\u4e2d \x1b[2J\x08\r\x00\x7f\x9b"
    assert visible_controls(text) == "a\tb\nc \u00e9\u4e2d " + r"\x1b[2J\x08\x0d\x00\x7f\x9b"


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_device_is_said_in_one_line() -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            command("--version"), stdout=full, stderr=subprocess.PIPE, text=True, timeout=300, check=False
        )
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            "hdiff: no room to write (No space left on device); free some space, or write elsewhere"
        ]
        assert subprocess.run(command("--version"), stdout=full, stderr=full, check=False).returncode == 2


def test_a_reader_that_goes_away_is_told_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        done = subprocess.run(
            command("--version"), stdout=pipe, stderr=subprocess.PIPE, timeout=300, check=False
        )
    assert done.stderr == b""
