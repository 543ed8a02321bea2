"""Training: a run repeats exactly, resumes exactly, and refuses what does not fit."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_training import RECIPE, recipe_of, weights
from stops import stop_at

from hdiff.data.rows.data_order import DataOrder
from hdiff.errors import CheckpointError, DataError, RecipeError
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.folder import RunFolder
from hdiff.runs.metrics_file import read_metrics
from hdiff.training.build import build_training
from hdiff.training.trainer import fit
from hdiff.training.update import Updates


@pytest.fixture
def recipe_file(tmp_path: Path, prepared_folder: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    return file


def assert_equal_runs(one: Path, other: Path) -> None:
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(other)[name]), name
    losses = [
        [(line["step"], line["loss"]) for line in read_metrics(run / "metrics.jsonl")] for run in (one, other)
    ]
    assert losses[0] == losses[1]


def test_run_folder_holds_what_is_needed_and_loads(recipe_file: Path, tmp_path: Path) -> None:
    assert fit(build_training(recipe_of(recipe_file))).stopped_by is None
    run = RunFolder.load(tmp_path / "run")
    assert run.step == 8
    assert run.record["steps"] == 8
    assert run.record["tokens_seen"] == 8 * 4 * 32
    assert run.record["parameters"]["total"] == sum(p.numel() for p in run.model.parameters())
    assert run.corruption.unconditional().conditional_on_structure is False
    assert not any(path.suffix in (".pt", ".pkl", ".bin") for path in (tmp_path / "run").rglob("*"))
    assert list((tmp_path / "run" / "tensorboard").iterdir())


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR1])
def test_stopped_and_resumed_run_equals_the_uninterrupted_one(
    recipe_file: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    """Bit for bit: weights, losses and their log, with dropout and averaging on.

    SIGUSR1 is what Slurm sends before the time of a job is over. Launchers send signals again: no matter.
    """
    fit(build_training(recipe_of(recipe_file, f"output={tmp_path / 'whole'}")))
    interrupted = build_training(recipe_of(recipe_file, f"output={tmp_path / 'parts'}"))
    stopping = stop_at(5, sent, signal.SIGTERM)
    assert fit(interrupted, before_update=stopping).stopped_by == sent
    stopped = load_checkpoint(tmp_path / "parts" / "checkpoints")
    assert stopped.step == 5
    assert (
        fit(build_training(recipe_of(recipe_file, f"output={tmp_path / 'parts'}", "resume=auto"))).stopped_by
        is None
    )
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    seconds = json.loads((tmp_path / "parts" / "run.json").read_text())["train_seconds"]
    assert seconds >= stopped.state["train_seconds"] > 0  # what was trained before the stop counts


@pytest.mark.slow
def test_killed_run_goes_on_with_the_same_numbers(recipe_file: Path, tmp_path: Path) -> None:
    """SIGKILL at an arbitrary moment, from outside, then resume=auto."""
    longer = ["train.steps=60", "train.checkpoint_every=5"]
    fit(build_training(recipe_of(recipe_file, *longer, f"output={tmp_path / 'whole'}")))
    command = [
        sys.executable,
        "-m",
        "hdiff",
        "train",
        str(recipe_file),
        *longer,
        f"output={tmp_path / 'killed'}",
    ]
    process = subprocess.Popen([*command, "resume=auto", "-q"])
    deadline = time.monotonic() + 120
    while not RunFolder.has_checkpoint(tmp_path / "killed") and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert RunFolder.has_checkpoint(tmp_path / "killed")
    subprocess.run([*command, "resume=auto", "-q"], check=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "killed")


def test_finished_run_is_left_as_it_is(recipe_file: Path, tmp_path: Path) -> None:
    fit(build_training(recipe_of(recipe_file)))
    record = (tmp_path / "run" / "run.json").read_text()
    assert fit(build_training(recipe_of(recipe_file, "resume=auto"))).stopped_by is None
    assert (tmp_path / "run" / "run.json").read_text() == record
    with pytest.raises(CheckpointError, match=r"already holds a run; .* resume=auto or output=DIR"):
        fit(build_training(recipe_of(recipe_file)))


def test_run_killed_between_its_last_checkpoint_and_its_record_is_recorded(
    recipe_file: Path, tmp_path: Path
) -> None:
    fit(build_training(recipe_of(recipe_file)))
    file = tmp_path / "run" / "run.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps({**whole, "steps": 0, "tokens_seen": 0}))  # as it is before the end
    fit(build_training(recipe_of(recipe_file, "resume=auto")))
    record = json.loads(file.read_text())
    assert (record["steps"], record["tokens_seen"]) == (whole["steps"], whole["tokens_seen"])


@pytest.mark.parametrize(
    "content", [None, "", '{"name": "sma', "[]", "{}", '{"data": {"sha256": "0"}}', "\xff"]
)
def test_lost_or_damaged_record_is_named_with_what_to_do(
    recipe_file: Path, tmp_path: Path, content: str | None
) -> None:
    fit(build_training(recipe_of(recipe_file, "train.steps=1")))
    file = tmp_path / "run" / "run.json"
    file.unlink()
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"run\.json is (missing|damaged).*; put back a copy"):
        fit(build_training(recipe_of(recipe_file, "train.steps=1", "resume=auto")))


def test_damaged_checkpoint_costs_time_and_nothing_else(recipe_file: Path, tmp_path: Path) -> None:
    for name in ("whole", "damaged"):
        fit(build_training(recipe_of(recipe_file, f"output={tmp_path / name}")))
    (tmp_path / "damaged" / "checkpoints" / "step-00000008" / "ema.safetensors").write_bytes(b"")
    checkpoints = tmp_path / "damaged" / "checkpoints"
    with pytest.warns(UserWarning, match="step-00000008: ema.safetensors .* step-00000004 is used instead"):
        RunFolder.load(tmp_path / "damaged")
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-00000004", "step-00000008"]
    with pytest.warns(UserWarning, match="step-00000008: ema.safetensors .* step-00000004 is used instead"):
        fit(build_training(recipe_of(recipe_file, f"output={tmp_path / 'damaged'}", "resume=auto")))
    assert_equal_runs(tmp_path / "whole", tmp_path / "damaged")
    names = sorted(path.name for path in checkpoints.iterdir())
    assert names == [".damaged-step-00000008", "step-00000004", "step-00000008"]


FULL_DISK = """
import resource, sys
from hdiff.cli import run
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
sys.exit(run(sys.argv[1:]))
"""


def test_full_disk_stops_the_run_and_room_lets_it_go_on(recipe_file: Path, tmp_path: Path) -> None:
    fit(build_training(recipe_of(recipe_file, f"output={tmp_path / 'whole'}")))
    words = ["train", str(recipe_file), f"output={tmp_path / 'full'}", "resume=auto", "-q"]
    trainer = build_training(recipe_of(recipe_file, f"output={tmp_path / 'full'}"))
    fit(trainer, before_update=stop_at(1))
    full = subprocess.run([sys.executable, "-c", FULL_DISK, *words], capture_output=True, text=True)
    assert full.returncode == 2, full.stderr
    assert "no room on the disk" in full.stderr
    assert load_checkpoint(tmp_path / "full" / "checkpoints").step == 1
    fit(build_training(recipe_of(recipe_file, f"output={tmp_path / 'full'}", "resume=auto")))
    assert_equal_runs(tmp_path / "whole", tmp_path / "full")


def test_damaged_data_is_not_trained_on(recipe_file: Path, tmp_path: Path, prepared_folder: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(prepared_folder, data)
    file = next((data / "train").glob("*.arrow"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(DataError, match="has changed since it was prepared"):
        build_training(recipe_of(recipe_file, f"data.path={data}"))


def test_gradient_accumulation_sees_the_same_rows(recipe_file: Path, tmp_path: Path) -> None:
    accumulating = build_training(
        recipe_of(recipe_file, "train.batch_size=2", "train.gradient_accumulation=2")
    )
    plain = build_training(recipe_of(recipe_file))
    rows = [row for _, batch in Updates(accumulating).batches(3) for row in batch.sample_ids.tolist()]
    assert rows == [row for _, batch in Updates(plain).batches(3) for row in batch.sample_ids.tolist()]
    assert fit(accumulating).stopped_by is None


def test_every_epoch_visits_every_row_once() -> None:
    order = DataOrder(10, seed=1)
    first, second = order.rows(range(10)), order.rows(range(10, 20))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert DataOrder(10, seed=1).rows(range(7, 13)) == (first + second)[7:13]
    assert DataOrder(10, seed=2).rows(range(10)) != first


def test_other_recipe_or_data_is_not_resumed(recipe_file: Path, tmp_path: Path) -> None:
    fit(build_training(recipe_of(recipe_file)))
    with pytest.raises(RecipeError, match=r"another recipe \(different: train.learning_rate\)"):
        fit(build_training(recipe_of(recipe_file, "resume=auto", "train.learning_rate=0.5")))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["data"]["sha256"] = "0" * 64
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="trained on another data set"):
        fit(build_training(recipe_of(recipe_file, "resume=auto")))


def test_run_and_data_that_were_moved_go_on_with_the_same_numbers(
    recipe_file: Path, tmp_path: Path, prepared_folder: Path
) -> None:
    fit(build_training(recipe_of(recipe_file, f"output={tmp_path / 'whole'}")))
    stopped = build_training(recipe_of(recipe_file))
    fit(stopped, before_update=stop_at(1))
    shutil.copytree(tmp_path / "run", tmp_path / "moved")
    shutil.copytree(prepared_folder, tmp_path / "data")
    places = [f"output={tmp_path / 'moved'}/", f"data.path={tmp_path / 'data'}"]
    assert fit(build_training(recipe_of(recipe_file, *places, "resume=auto"))).stopped_by is None
    assert_equal_runs(tmp_path / "whole", tmp_path / "moved")
    renewed = load_recipe(tmp_path / "moved" / "recipe.yaml")
    assert renewed == recipe_of(recipe_file, *places), "recipe.yaml says where they lie now, and no more"
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == recipe_of(recipe_file)
