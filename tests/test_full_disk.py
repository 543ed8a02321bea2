"""A disk that fills while a run is logged stops it with a sentence; what was saved before stays whole."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hdiff.cli import run as run_command
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.metrics_file import read_metrics
from hdiff.training.build import build_training
from hdiff.training.skipped_steps import SkippedSteps
from hdiff.training.trainer import fit

RECIPE = """
name: small
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2}}
corruption: {{kind: token_masking}}
train: {{steps: 40, batch_size: 4, warmup_steps: 2, ema_decay: 0, log_every: 1, checkpoint_every: 4}}
evaluation: {{steps: [1], blocks: 4, draws: 1, samples: 0}}
"""

# The kernel refuses to write past a limit, as on a full disk. It is one for all files, and a checkpoint is
# larger than the log; so it is set when the log is what is written next.
FULL_DISK = """
import resource, sys
from hdiff.cli import run
from hdiff.training.metrics import MetricsLog
written = MetricsLog.write
def write(log, step, values):
    written(log, step, values)
    if step == 6:
        size = (log.path / "metrics.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, size + 10))
MetricsLog.write = write
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture
def recipe_file(tmp_path: Path, prepared_folder: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "full", data=prepared_folder))
    return file


@pytest.mark.parametrize(
    "place", ["hdiff.runs.lock.socket.gethostname", "hdiff.training.skipped_steps.write_synced"]
)
def test_no_room_anywhere_in_a_run_folder_is_said_in_a_sentence(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """As the lock is written, and as the batch of a skipped update is kept."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(place, full)
    monkeypatch.setattr(SkippedSteps, "is_sound", lambda *_: False)
    assert run_command(["train", str(recipe_file), "-q"]) == 2
    assert "(No space left on device); free some space and start again" in capsys.readouterr().err


def test_a_full_disk_under_the_log_stops_the_run_and_leaves_the_checkpoint(
    recipe_file: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", FULL_DISK, "train", str(recipe_file), "-q"]
    full = subprocess.run(command, capture_output=True, text=True, check=False)
    assert full.returncode == 2, full.stderr
    (sentence,) = [line for line in full.stderr.splitlines() if line.startswith("hdiff: ")]
    assert "no room on the disk for" in sentence
    assert "start again, earlier checkpoints are intact: resume=auto" in sentence
    run = tmp_path / "full"
    assert load_checkpoint(run / "checkpoints").step == 4
    assert read_metrics(run / "metrics.jsonl")[-1]["step"] == 6, "the line that did not fit was cut off"
    fit(build_training(load_recipe(recipe_file, ["resume=auto", "train.steps=40"])))
    assert json.loads((run / "run.json").read_text())["steps"] == 40
    assert [line["step"] for line in read_metrics(run / "metrics.jsonl") if "loss" in line] == list(
        range(1, 41)
    )
