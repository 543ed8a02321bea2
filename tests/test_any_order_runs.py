"""Runs with any-order attention: trained, resumed, scored, sampled, filled, shared, from a recipe."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from hdiff.cli import run as hdiff
from hdiff.evaluation.run import evaluate_run
from hdiff.models.denoiser import Denoiser
from hdiff.progress import Progress
from hdiff.recipe import load_recipe
from hdiff.runs.folder import RunFolder
from hdiff.sharing import PretrainedModel
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

RECIPE = """
name: any_order
output: {output}
data: {{path: {data}, sequence_length: 32}}
model: {{width: 16, depth: 2, num_heads: 2, attention: any_order}}
head: {{kind: autoregressive, num_heads: 2}}
corruption: {{kind: span_masking, segmentation: random, lengths: [1, 1, 1]}}
train: {{steps: 4, batch_size: 4, warmup_steps: 1, ema_decay: 0.5, log_every: 1, checkpoint_every: 2}}
evaluation: {{steps: [2, 32], blocks: 8, draws: 8, samples: 3}}
"""


@pytest.fixture(scope="module")
def recipe_file(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("any_order")
    file = folder / "any_order.yaml"
    file.write_text(RECIPE.format(output=folder / "run", data=prepared_folder))
    return file


@pytest.fixture(scope="module")
def run(recipe_file: Path) -> RunFolder:
    recipe = load_recipe(recipe_file)
    fit(build_training(recipe))
    return RunFolder.load(recipe.output)


def test_steps_of_single_units_have_the_bound_of_training(run: RunFolder) -> None:
    found = evaluate_run(run, progress=Progress("eval"))
    assert not found["bound"]["conditional_on_structure"]
    gap = found["t_step"]["32"] - found["bound"]["nats_per_token"]
    assert abs(gap) < 4 * (found["t_step_stderr"]["32"] + found["bound"]["stderr"])


def test_a_run_resumes_to_the_same_weights(recipe_file: Path, run: RunFolder, tmp_path: Path) -> None:
    fit(build_training(load_recipe(recipe_file, [f"output={tmp_path / 'run'}"])))
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000004")
    fit(build_training(load_recipe(recipe_file, [f"output={tmp_path / 'run'}", "resume=auto"])))
    resumed = RunFolder.load(str(tmp_path / "run"))
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, run.model.state_dict()[name]), name


def test_samples_and_gaps_are_filled_and_shared(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for words in ([], ["--infill", "The [3] is [2]."]):
        assert hdiff(["sample", str(run.path), "--num", "2", "--steps", "4", "--json", *words]) == 0
        texts.append([one["text"] for one in json.loads(capsys.readouterr().out)["samples"]])
    assert hdiff(["export", str(run.path), str(tmp_path / "shared")]) == 0
    shared = PretrainedModel.from_pretrained(tmp_path / "shared")
    assert isinstance(shared.model, Denoiser)
    assert shared.model.reads_in_order
    capsys.readouterr()
    for words, expected in zip(([], ["--infill", "The [3] is [2]."]), texts, strict=True):
        command = ["sample", str(tmp_path / "shared"), "--num", "2", "--steps", "4", "--json", *words]
        assert hdiff(command) == 0
        assert [one["text"] for one in json.loads(capsys.readouterr().out)["samples"]] == expected
