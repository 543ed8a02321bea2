"""The one command for a GPU, rehearsed on a CPU at a tiny size; its page is made from what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_scripts import BENCHMARKS, benchmark_script
from shared_models import CHECKOUT


def rehearse(data: Path, out: Path, *options: str) -> dict[str, dict[str, list[dict[str, object]]]]:
    command = [
        sys.executable,
        str(BENCHMARKS / "gpu.py"),
        "--out",
        str(out),
        "--data",
        str(data),
        "--sizes",
        "tiny",
    ]
    command += ["--rows", "2", "--length", "64", "--seconds", "0.01", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    parts = json.loads((out / "gpu.json").read_text())["parts"]
    assert not [part["problem"] for part in parts.values() if "problem" in part]
    return parts  # type: ignore[no-any-return]


@pytest.mark.slow
def test_every_part_runs_on_a_cpu_and_is_saved_as_it_is_done(prepared_folder: Path, tmp_path: Path) -> None:
    parts = rehearse(
        prepared_folder,
        tmp_path,
        "--parts",
        "backends",
        "training",
        "sampling",
        "--minutes",
        "14",
        "--reserve",
        "1",
    )
    for row in parts["backends"]["rows"]:
        limit = 1e-5 if row["type"] == "float32" else 0.05
        assert row["error"] < limit  # type: ignore[operator]
        assert row["error of gradients"] < 40 * limit  # type: ignore[operator]
    assert {row["type"] for row in parts["backends"]["rows"]} == {"float32", "bfloat16"}
    training = parts["training"]["rows"]
    assert len(training) == 4
    assert not [row["problem"] for row in training if "problem" in row]
    assert all(row["tokens/s"] > 0 for row in training)  # type: ignore[operator]
    assert {(row["system"], row["T"]) for row in parts["sampling"]["rows"]} == {
        (system, steps) for system in ("token masking", "spans") for steps in (1, 4, 16)
    }
    page = (tmp_path / "gpu.md").read_text()
    assert "Device: CPU." in page
    assert page.count("\n## ") == 3
    parts = rehearse(prepared_folder, tmp_path, "--parts", "tournament", "--minutes", "0.3")
    bounds = [row["validation bound, nats/token"] for row in parts["tournament"]["rows"]]
    assert len(bounds) == 2
    assert all(0 < bound < 20 for bound in bounds)  # type: ignore[operator]


def test_a_part_that_fails_is_named_and_the_next_one_runs(prepared_folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(BENCHMARKS / "gpu.py"),
        "--out",
        str(tmp_path),
        "--data",
        str(prepared_folder),
    ]
    command += ["--sizes", "tiny", "--rows", "0", "--length", "64", "--parts", "sampling", "backends"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert "Error" in parts["sampling"]["problem"]
    assert parts["backends"]["rows"]
    assert "It ended early" in (tmp_path / "gpu.md").read_text()


def test_the_page_is_made_from_the_result_or_says_that_there_is_none() -> None:
    pages = benchmark_script("gpu_page")
    result = pages.RESULTS / "gpu.json"
    found = json.loads(result.read_text()) if result.exists() else None
    assert (pages.RESULTS / "gpu.md").read_text(encoding="utf-8") == pages.page(found)
    assert "None was run yet" in pages.page(None)
