"""The table of kinds in docs/results/first_hours.md has the numbers of the tests."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PAGE = CHECKOUT / "docs" / "results" / "first_hours.md"
ROWS = re.findall(r"^\|[^|]+\|[^|]+\| (\d+) \| (`tests/.*`) \|$", PAGE.read_text(encoding="utf-8"), re.M)


def test_every_file_of_the_table_is_there() -> None:
    assert len(ROWS) >= 14
    for number, files in ROWS:
        assert int(number) >= 10
        assert all((CHECKOUT / name).exists() for name in re.findall(r"`([^`]+)`", files))


@pytest.mark.slow
def test_the_tests_are_as_many_as_the_table_says() -> None:
    names = sorted({name for _, files in ROWS for name in re.findall(r"`([^`]+)`", files)})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *names]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:]
    found = Counter(line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line)
    for number, files in ROWS:
        named = re.findall(r"`([^`]+)`", files)
        total = sum(count for file, count in found.items() if file.startswith(tuple(named)))
        assert total >= int(number), files
