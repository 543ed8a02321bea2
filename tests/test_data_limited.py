"""The data-limited comparison at a tiny size: trained to the minimum, measured there, tabulated."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from benchmark_scripts import benchmark_script

SYSTEMS = ["autoregressive", "token_masking", "spans", "block_diffusion"]
TINY = [
    "data.train_tokens=400",
    "data.sequence_length=32",
    "model.width=16",
    "model.num_heads=2",
    "train.learning_rate=0.3",
    "train.warmup_steps=2",
    "train.batch_size=8",
    "train.steps=24",
    "train.evaluate_every=3",
    "train.validation_blocks=16",
    "train.patience=2",
    "evaluation.blocks=6",
    "evaluation.steps=[1, 8]",
    "evaluation.samples=2",
]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return benchmark_script("data_limited")


def test_systems_are_trained_measured_and_tabulated(
    script: ModuleType,
    prepared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, out = tmp_path / "data", tmp_path / "runs"
    data.mkdir()
    for name in ("e2e", "e2e.other", "e2e.gold"):
        (data / name).symlink_to(prepared_folder)
    options = ["--data", str(data), "--out", str(out), "--corpora", "e2e", "--sizes", "60k", "--seeds", "[0]"]
    options += ["--json", str(tmp_path / "figures.json"), "--systems", *SYSTEMS, "--max-pairs", "1"]
    options += ["--set", *TINY]
    monkeypatch.setattr(sys, "argv", ["data_limited.py", *options])
    script.main()
    found = json.loads((tmp_path / "figures.json").read_text())["e2e/60k"]
    assert set(found) == set(SYSTEMS)
    for system, seeds in found.items():
        own = seeds["0"]
        record = json.loads((out / "e2e" / "60k" / f"{system}-0" / "run.json").read_text())
        assert own["step"] == record["best_step"] <= record["steps"]
        assert own["tokens"] == own["step"] * 8 * 32
        assert own["epochs"] == pytest.approx(own["tokens"] / 400)
        assert own["best_process"]["nats"] <= own["bound"]
        assert 0 <= own["agreement"] <= 1
        assert own["other"] == pytest.approx(own["bound"], rel=0.2)  # the same text, other rows
        assert ("gold_gaps" in own) is (system in ("token_masking", "spans"))
        assert set(own["L"]) == set({"autoregressive": (), "block_diffusion": ("8",)}.get(system, ("1", "8")))
    figures, pairs = capsys.readouterr().out.split("\n\n")[-2:]
    rows = [line.split(" | ") for line in figures.splitlines() if line.startswith("| e2e/60k")]
    assert [row[1] for row in rows] == sorted(SYSTEMS)
    differences = {
        row.split(" | ")[2]: float(row.split(" | ")[3].split(",")[0]) for row in pairs.splitlines()[2:]
    }
    assert set(differences) == {"spans - token_masking", "token_masking - autoregressive"}
    best = {system: seeds["0"]["validation_bound"] for system, seeds in found.items()}
    expected = best["spans"] - best["token_masking"]
    assert differences["spans - token_masking"] == pytest.approx(expected, abs=6e-4)
    files = {
        file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file() and file.suffix != ".lock"
    }
    monkeypatch.setattr(sys, "argv", ["data_limited.py", *options, "--stage", "measure"])
    script.main()
    assert files == {file: file.stat().st_mtime_ns for file in files}, "nothing is done twice"
