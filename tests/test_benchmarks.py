"""Benchmarks that measure the trainer itself run, at a tiny size, and their tables add up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from shared_models import CHECKOUT


@pytest.mark.slow
def test_throughput_measures_every_system(prepared_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(CHECKOUT / "recipes" / "benchmarks" / "throughput.py"), "--no-memory"]
    command += [
        "--data",
        str(prepared_folder),
        "--out",
        str(tmp_path),
        "--sizes",
        "64x1",
        "--precisions",
        "fp32",
    ]
    command += ["--length", "256", "--rows", "4", "--steps", "2", "--repeats", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "throughput.json").read_text())
    (case,) = result["cases"]
    assert len(case["systems"]) == 6
    for name, row in case["systems"].items():
        assert sum(row["shares"].values()) == pytest.approx(1), name
        assert min(row["shares"].values()) > -0.01, name
        assert row["ratio_lowest"] <= row["ratio"] <= row["ratio_highest"]
        assert row["tokens_per_second"] > 0
    padding = {name: row["padding"] for name, row in case["systems"].items()}
    packed = [padding.pop(name) for name in list(padding) if name.startswith("hdiff") or "packed" in name]
    assert max(packed) < 0.1, "the last row of a data set of few rows"
    assert max(packed) < padding["plain, padded to the row"]
    assert case["systems"]["plain, padded to the longest"]["ratio"] == 1
    assert (tmp_path / "throughput.md").read_text().count("\n| hdiff") == 2
