"""Training stops with a reason: other data, too little text, updates that are not finite."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from small_training import RECIPE, recipe_of, weights

from hdiff.config.train import TrainConfig
from hdiff.errors import DataError
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.folder import RunFolder
from hdiff.runs.metrics_file import read_metrics
from hdiff.training import build as training
from hdiff.training.build import build_training
from hdiff.training.processes import make_accelerator
from hdiff.training.skipped_steps import SkippedSteps, largest_sound_loss
from hdiff.training.trainer import fit
from hdiff.training.update import Updates


@pytest.fixture
def recipe_file(tmp_path: Path, prepared_folder: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    return file


def test_other_data_is_not_resumed_wherever_it_lies(
    recipe_file: Path, tmp_path: Path, prepared_folder: Path
) -> None:
    fit(build_training(recipe_of(recipe_file, "train.steps=1")))
    shutil.copytree(prepared_folder, tmp_path / "data")
    file = tmp_path / "data" / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "levels": [*manifest["levels"], "sentence"]}))
    with pytest.raises(DataError, match="trained on another data set"):
        fit(
            build_training(
                recipe_of(recipe_file, "train.steps=1", f"data.path={tmp_path / 'data'}", "resume=auto")
            )
        )
    assert load_recipe(tmp_path / "run" / "recipe.yaml").data.path == str(prepared_folder)


def test_level_that_was_not_prepared_is_refused(recipe_file: Path) -> None:
    with pytest.raises(DataError, match=r"needs level 'sentence', the data set keeps .*--levels sentence"):
        build_training(recipe_of(recipe_file, "corruption.level=sentence"))


def test_too_little_text_for_a_batch_is_refused(recipe_file: Path) -> None:
    with pytest.raises(DataError, match=r"prepare more text, or lower train\.batch_size"):
        build_training(recipe_of(recipe_file, "train.batch_size=100000"))


def test_update_that_is_not_a_number_is_skipped_counted_and_kept(recipe_file: Path, tmp_path: Path) -> None:
    every_step = ("train.checkpoint_every=1", "train.keep_checkpoints=8")
    trainer = build_training(recipe_of(recipe_file, *every_step))
    gradients = iter(range(1, 9))
    trainer.model.head.output_bias.register_hook(
        lambda gradient: gradient * (float("nan") if next(gradients) == 3 else 1.0)
    )
    assert fit(trainer).stopped_by is None
    checkpoints = [tmp_path / "run" / "checkpoints" / f"step-{step:08d}" for step in (2, 3, 4)]
    before, skipped, after = ((path / "model.safetensors").read_bytes() for path in checkpoints)
    assert before == skipped != after
    assert json.loads((tmp_path / "run" / "run.json").read_text())["skipped_steps"] == 1
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line for line in lines if "loss" not in line] == [{"step": 3, "skipped_steps": 1}]
    kept = load_file(tmp_path / "run" / "skipped" / "step-00000003-process-0.safetensors")
    ((_, batch),) = Updates(trainer).batches(3)
    assert torch.equal(kept["input_ids"], batch.input_ids)
    assert batch.sample_ids is not None
    assert torch.equal(kept["sample_ids"], batch.sample_ids)


def test_three_updates_that_are_not_numbers_stop_the_run(recipe_file: Path, tmp_path: Path) -> None:
    trainer = build_training(recipe_of(recipe_file, "train.checkpoint_every=1"))

    def poison(step: int) -> None:
        if step == 3:
            with torch.no_grad():
                trainer.model.head.output_bias[0] = float("nan")

    with pytest.raises(DataError, match=r"the loss is nan .* at step 5, .* output=DIR train.learning_rate="):
        fit(trainer, before_update=poison)
    assert load_checkpoint(tmp_path / "run" / "checkpoints").step == 2
    assert len(list((tmp_path / "run" / "skipped").iterdir())) == 3


def test_exploding_loss_stops_the_run(recipe_file: Path, tmp_path: Path) -> None:
    """Finite all the way, but beyond what any sound model needs."""
    trainer = build_training(
        recipe_of(recipe_file, "train.learning_rate=3", "train.steps=60", "train.schedule=constant")
    )
    with pytest.raises(
        DataError, match=r"the loss is \d+.*, the last 3 updates were skipped; .*smaller learning"
    ):
        fit(trainer)
    assert len(list((tmp_path / "run" / "skipped").iterdir())) == 3


def test_what_counts_as_exploded_and_survives_a_checkpoint(tmp_path: Path) -> None:
    skipped = SkippedSteps(tmp_path, 0, learning_rate=1e-3, vocab_size=512)
    largest = largest_sound_loss(512)
    assert largest == pytest.approx(6 * 6.238 + 20, abs=0.01)
    assert skipped.is_sound(1e6), "nothing is known yet: a loss of another scale"
    for loss in (7.0, 6.0, 5.0, 30.0):
        assert skipped.is_sound(loss)
        skipped.step_was_done(loss)
    assert skipped.lowest == pytest.approx(0.9 * (0.9 * 7 + 0.1 * 6) + 0.1 * 5)
    assert skipped.is_sound(largest)
    assert not skipped.is_sound(largest + 0.1)
    assert not skipped.is_sound(float("nan"))
    resumed = SkippedSteps(tmp_path, 0, learning_rate=1e-3, vocab_size=512)
    resumed.restore(json.loads(json.dumps(skipped.state())))
    assert resumed.state() == skipped.state()
    for loss in (80.0, 70.0):  # a run whose losses are of another scale from its start
        other = SkippedSteps(tmp_path, 0, learning_rate=1e-3, vocab_size=512)
        other.step_was_done(loss)
        assert other.is_sound(3 * loss)


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """fp16 and its scaler on a CPU, beginning so high that gradients overflow at first."""

    shared = AcceleratorState._shared_state  # of all accelerators of a process

    def make(config: TrainConfig) -> Accelerator:
        shared.update({"_mixed_precision": "no"} if shared else {})
        accelerator = make_accelerator(config)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**32)
        accelerator.native_amp = True
        accelerator.state._mixed_precision = "fp16"
        return accelerator

    monkeypatch.setattr(training, "make_accelerator", make)
    yield
    shared.update({"_mixed_precision": "no"})


def test_scaling_of_fp16_is_saved_and_its_skipped_updates_are_counted(
    scaled: None, recipe_file: Path, tmp_path: Path
) -> None:
    """A resumed run goes on at the scale that was found, bit for bit."""
    steps = ("train.steps=24", "train.checkpoint_every=8", "train.keep_checkpoints=9")
    whole = build_training(recipe_of(recipe_file, *steps))
    fit(whole)
    assert 0 < whole.state.skipped.total < 20
    assert (
        json.loads((tmp_path / "run" / "run.json").read_text())["skipped_steps"] == whole.state.skipped.total
    )
    shutil.copytree(tmp_path / "run", tmp_path / "whole")
    for step in (16, 24):
        shutil.rmtree(tmp_path / "run" / "checkpoints" / f"step-{step:08d}")
    again = build_training(recipe_of(recipe_file, *steps, "resume=auto"))
    fit(again)
    assert again.accelerator.scaler is not None
    assert whole.accelerator.scaler is not None
    assert again.accelerator.scaler.state_dict() == whole.accelerator.scaler.state_dict()
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "run")[name]), name


@pytest.mark.slow
def test_two_processes_really_are_two(recipe_file: Path, tmp_path: Path) -> None:
    """torchrun with gloo: world size 2, half the rows each, one set of files."""
    one = ["train.batch_size=4", "train.steps=2", "model.dropout=0.0", f"output={tmp_path / 'one'}"]
    fit(build_training(recipe_of(recipe_file, *one)))
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
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
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
