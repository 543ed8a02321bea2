"""Benchmarks that measure the trainer itself run, at a tiny size, and their tables add up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_scripts import benchmark_script
from shared_models import CHECKOUT

from hdiff.heads import AutoregressiveHead, Sampling


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


def test_sampling_now_and_before_draw_the_same_tokens(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = benchmark_script("sampling_speed")
    before = Sampling.draw, AutoregressiveHead.sample
    given = [
        "x",
        "--widths",
        "32",
        "--depth",
        "1",
        "--vocab",
        "50",
        "--span",
        "3",
        "--length",
        "12",
        "--samples",
        "3",
        "--turns",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", given)
    script.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 4
    assert all(row.endswith("| all |") for row in rows)
    assert (Sampling.draw, AutoregressiveHead.sample) == before


def test_any_order_attention_draws_the_same_with_and_without_kept_keys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = benchmark_script("any_order_speed")
    given = "x --width 48 --depth 1 --vocab 50 --span 3 --length 12 --samples 2 --turns 1 --all-steps 1 4"
    monkeypatch.setattr(sys, "argv", given.split())
    script.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 4
    assert all(row.endswith("| 100.0 % equal |") for row in rows)


def test_optimisers_are_compared_by_the_seconds_to_a_bound(
    prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = benchmark_script("optimizers")
    given = f"x --data {prepared_folder} --out {tmp_path} --seeds 0 --updates 4 --turn 2".split()
    given += ["--optimizers", "adamw:0.003", "muon:0.003", "--width", "32", "--depth", "1"]
    monkeypatch.setattr(sys, "argv", [*given, "--rows", "2", "--length", "32"])
    script.main()
    table = capsys.readouterr().out
    assert table.count("\n| ") == 4
    written = (tmp_path / "optimizers.json").stat().st_mtime_ns
    script.main()  # nothing is left to do
    assert capsys.readouterr().out == table
    assert (tmp_path / "optimizers.json").stat().st_mtime_ns == written
    found = json.loads((tmp_path / "optimizers.json").read_text())
    assert {(row["system"], row["optimizer"]) for row in found} == {
        (system, name) for system in ("token masking", "spans") for name in ("adamw", "muon")
    }
    assert all(row["share"] <= 1 for row in found if row["optimizer"] == "adamw")
    run = script.Run.__new__(script.Run)
    run.curve = [(1.0, 5.0), (2.0, 4.0), (3.0, 3.0)]
    assert run.reached(3.5) == pytest.approx(2.5)
    assert run.reached(6.0) == 1.0
    assert run.reached(1.0) is None
