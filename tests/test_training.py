"""Training: a run repeats exactly, resumes exactly, and refuses what does not fit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from hdiff.checkpoint import load_checkpoint
from hdiff.config import Recipe
from hdiff.data_order import DataOrder
from hdiff.errors import CheckpointError, DataError, RecipeError
from hdiff.metrics import read_metrics
from hdiff.recipe import load_recipe
from hdiff.run_folder import RunFolder
from hdiff.training import Trainer

RECIPE = """
name: small
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2, dropout: 0.1}}
head: {{kind: autoregressive, num_heads: 2}}
corruption: {{kind: span_masking, segmentation: mixture, level: phrase, lengths: corpus}}
train: {{steps: 8, batch_size: 4, warmup_steps: 2, ema_decay: 0.9, log_every: 1, checkpoint_every: 4}}
evaluation: {{steps: [1, 4], blocks: 8, draws: 1, samples: 4}}
"""


@pytest.fixture
def recipe_file(tmp_path: Path, prepared_folder: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    return file


def recipe_of(file: Path, *overrides: str) -> Recipe:
    return load_recipe(file, overrides)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "checkpoints").tensors["model"]


def assert_equal_runs(one: Path, other: Path) -> None:
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(other)[name]), name
    losses = [
        [(line["step"], line["loss"]) for line in read_metrics(run / "metrics.jsonl")] for run in (one, other)
    ]
    assert losses[0] == losses[1]


def test_run_folder_holds_what_is_needed_and_loads(recipe_file: Path, tmp_path: Path) -> None:
    assert Trainer(recipe_of(recipe_file)).run() is None
    run = RunFolder.load(tmp_path / "run")
    assert run.step == 8
    assert run.record["steps"] == 8
    assert run.record["tokens_seen"] == 8 * 4 * 32
    assert run.record["parameters"]["total"] == sum(p.numel() for p in run.model.parameters())
    assert run.corruption.unconditional().conditional_on_structure is False
    assert not any(path.suffix in (".pt", ".pkl", ".bin") for path in (tmp_path / "run").rglob("*"))
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_stopped_and_resumed_run_equals_the_uninterrupted_one(recipe_file: Path, tmp_path: Path) -> None:
    """Bit for bit: weights, losses and their log, with dropout and averaging on."""
    Trainer(recipe_of(recipe_file, f"output={tmp_path / 'whole'}")).run()
    interrupted = Trainer(recipe_of(recipe_file, f"output={tmp_path / 'parts'}"))
    interrupted.stop_signal = None
    original = interrupted._update

    def stop_after_five(step: int) -> dict[str, float]:
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(step)

    interrupted._update = stop_after_five  # type: ignore[method-assign]
    assert interrupted.run() == signal.SIGTERM
    assert load_checkpoint(tmp_path / "parts" / "checkpoints").step == 5
    assert Trainer(recipe_of(recipe_file, f"output={tmp_path / 'parts'}", "resume=auto")).run() is None
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_killed_run_goes_on_with_the_same_numbers(recipe_file: Path, tmp_path: Path) -> None:
    """SIGKILL at an arbitrary moment, from outside, then resume=auto."""
    longer = ["train.steps=60", "train.checkpoint_every=5"]
    Trainer(recipe_of(recipe_file, *longer, f"output={tmp_path / 'whole'}")).run()
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
    Trainer(recipe_of(recipe_file)).run()
    record = (tmp_path / "run" / "run.json").read_text()
    assert Trainer(recipe_of(recipe_file, "resume=auto")).run() is None
    assert (tmp_path / "run" / "run.json").read_text() == record
    with pytest.raises(CheckpointError, match="already holds a run; add resume=auto"):
        Trainer(recipe_of(recipe_file)).run()


def test_gradient_accumulation_sees_the_same_rows(recipe_file: Path, tmp_path: Path) -> None:
    accumulating = Trainer(recipe_of(recipe_file, "train.batch_size=2", "train.gradient_accumulation=2"))
    plain = Trainer(recipe_of(recipe_file))
    rows = [row for batch in accumulating._batches(3) for row in batch.sample_ids.tolist()]
    assert rows == [row for batch in plain._batches(3) for row in batch.sample_ids.tolist()]
    assert accumulating.run() is None


def test_every_epoch_visits_every_row_once() -> None:
    order = DataOrder(10, seed=1)
    first, second = order.rows(range(10)), order.rows(range(10, 20))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert DataOrder(10, seed=1).rows(range(7, 13)) == (first + second)[7:13]
    assert DataOrder(10, seed=2).rows(range(10)) != first


def test_other_recipe_or_data_is_not_resumed(recipe_file: Path, tmp_path: Path) -> None:
    Trainer(recipe_of(recipe_file)).run()
    with pytest.raises(RecipeError, match=r"another recipe \(different: train.learning_rate\)"):
        Trainer(recipe_of(recipe_file, "resume=auto", "train.learning_rate=0.5")).run()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["data"]["sha256"] = "0" * 64
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="trained on another data set"):
        Trainer(recipe_of(recipe_file, "resume=auto")).run()


def test_level_that_was_not_prepared_is_refused(recipe_file: Path) -> None:
    with pytest.raises(DataError, match=r"needs level 'sentence', the data set keeps .*--levels sentence"):
        Trainer(recipe_of(recipe_file, "corruption.level=sentence"))


def test_too_little_text_for_a_batch_is_refused(recipe_file: Path) -> None:
    with pytest.raises(DataError, match=r"prepare more text, or lower train\.batch_size"):
        Trainer(recipe_of(recipe_file, "train.batch_size=100000"))


def test_loss_that_is_not_a_number_stops_before_the_update(recipe_file: Path, tmp_path: Path) -> None:
    trainer = Trainer(recipe_of(recipe_file, "train.checkpoint_every=1"))
    original = trainer._update

    def poison(step: int) -> dict[str, float]:
        if step == 3:
            with torch.no_grad():
                trainer.model.head.output_bias[0] = float("nan")
        return original(step)

    trainer._update = poison  # type: ignore[method-assign]
    with pytest.raises(DataError, match=r"the loss is nan .* at step 3; lower train.learning_rate"):
        trainer.run()
    assert load_checkpoint(tmp_path / "run" / "checkpoints").step == 2


@pytest.mark.slow
def test_two_processes_really_are_two(recipe_file: Path, tmp_path: Path) -> None:
    """torchrun with gloo: world size 2, half the rows each, one set of files."""
    one = ["train.batch_size=4", "train.steps=2", "model.dropout=0.0", f"output={tmp_path / 'one'}"]
    Trainer(recipe_of(recipe_file, *one)).run()
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--master_port",
        "29533",
    ]
    two = ["train.batch_size=2", "train.steps=2", "model.dropout=0.0", f"output={tmp_path / 'two'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    subprocess.run(
        [*command, "-m", "hdiff", "train", str(recipe_file), *two, "-q"],
        check=True,
        env=environment,
        timeout=300,
    )
    record = json.loads((tmp_path / "two" / "run.json").read_text())
    assert record["processes"] == 2
    assert record["tokens_seen"] == json.loads((tmp_path / "one" / "run.json").read_text())["tokens_seen"]
    assert RunFolder.load(tmp_path / "two").step == 2
