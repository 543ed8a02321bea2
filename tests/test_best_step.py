"""The best step: validation bounds while training, the checkpoint that is kept, and the end of a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from process_groups import train
from stops import stop_at

from hdiff.ablation.results import is_trained
from hdiff.ablation.specification import Run
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.errors import DataError, RecipeError
from hdiff.evaluation.run import evaluate_run
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint, load_step
from hdiff.runs.folder import RunFolder
from hdiff.runs.weights import newest_checkpoint, used_step
from hdiff.sharing.pretrained import PretrainedModel
from hdiff.training.build import Training, build_training
from hdiff.training.metrics import read_metrics
from hdiff.training.trainer import fit
from hdiff.training.validation import BestStep, validate

RECIPE = """
name: best
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6, train_tokens: 400}}
model: {{width: 16, depth: 1, num_heads: 2}}
head: {{kind: autoregressive, num_heads: 2}}
corruption: {{kind: span_masking, segmentation: random, level: phrase, lengths: [1, 1, 1]}}
train:
  {{steps: 60, batch_size: 8, warmup_steps: 2, learning_rate: 0.3, schedule: constant, ema_decay: 0.5,
    log_every: 1, checkpoint_every: 7, evaluate_every: 3, validation_blocks: 24, validation_draws: 2,
    keep_best: true, patience: 4}}
evaluation: {{steps: [1], blocks: 8, draws: 1, samples: 0}}
"""
SYSTEMS = {
    "spans": [],
    "tokens": ["head={kind: product}", "corruption={kind: token_masking}"],
    "blocks": ["corruption={kind: block_masking, block_size: 8}"],
    "autoregressive": [
        "model.kind=autoregressive",
        "head={kind: product}",
        "corruption={kind: token_masking}",
    ],
    "not averaged": ["train.ema_decay=0"],
}


@pytest.fixture
def recipe_file(tmp_path: Path, prepared_folder: Path) -> Path:
    """It learns 400 tokens by heart at a rate that is far too high: the bound soon rises."""
    file = tmp_path / "best.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    return file


def trained(file: Path, *overrides: str) -> tuple[Training, int]:
    """The training, and the last step that it did."""
    training = build_training(load_recipe(file, overrides))
    outcome = fit(training)
    assert outcome.stopped_by is None
    return training, outcome.last_step


def bounds_of(run: Path) -> dict[int, float]:
    lines = read_metrics(run / "metrics.jsonl")
    return {line["step"]: line["validation_bound"] for line in lines if "validation_bound" in line}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_step_with_the_lowest_bound_is_kept_and_used(
    recipe_file: Path, tmp_path: Path, system: str
) -> None:
    training, last_step = trained(recipe_file, *SYSTEMS[system])
    path = tmp_path / "run"
    bounds, record = bounds_of(path), json.loads((path / "run.json").read_text())
    lowest = min(bounds, key=bounds.__getitem__)
    assert record["steps"] == last_step == max(bounds) < 60  # it ended by itself
    assert record["best_step"] == lowest < last_step
    assert record["best_bound"] == bounds[lowest]
    assert record["finished"] == "4 validations without a gain beyond noise"
    run = RunFolder.load(path)
    assert run.step == lowest == used_step(newest_checkpoint(path) or path)
    blocks = training.data.blocks("validation", run.corruption.unconditional().required_levels())
    again = validate(run.model, blocks, run.corruption, run.recipe)
    assert again.nats_per_token == pytest.approx(bounds[lowest], rel=1e-12)
    assert evaluate_run(run)["step"] == PretrainedModel.of_run(run).description.step == lowest
    assert is_trained(Run("spans", 0, run.recipe))


def test_a_finished_run_is_not_trained_further(recipe_file: Path, tmp_path: Path) -> None:
    trained(recipe_file)
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.json*")}
    assert trained(recipe_file, "resume=auto")[1] < 60
    assert files == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.json*")}
    with pytest.raises(RecipeError, match=r"train\.patience"):  # more patience would be another run
        trained(recipe_file, "resume=auto", "train.patience=9")


@pytest.mark.parametrize("stops", [(1,), (3,), (5,), (6, 7), (9,), (4, 8, 12), tuple(range(1, 16, 3))])
def test_a_run_stopped_anywhere_finds_the_same_best_step(
    recipe_file: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    trained(recipe_file, f"output={tmp_path / 'whole'}")
    parts = tmp_path / "parts"
    for stop in stops:
        trainer = build_training(load_recipe(recipe_file, [f"output={parts}", "resume=auto"]))
        fit(trainer, before_update=stop_at(stop))
    trained(recipe_file, f"output={parts}", "resume=auto")
    assert_same_end(tmp_path / "whole", parts)


KILL = """
import os, sys
from pathlib import Path
from hdiff.recipe import load_recipe
from hdiff.training import saving
from hdiff.training.build import build_training
from hdiff.training.trainer import fit
saves = 0
save = saving.save_checkpoint
def killing(*args, **options):
    global saves
    saves += 1
    if saves == int(sys.argv[1]) and sys.argv[2] == "before":
        os._exit(9)
    save(*args, **options)
    if saves == int(sys.argv[1]):
        os._exit(9)
saving.save_checkpoint = killing
fit(build_training(load_recipe(Path(sys.argv[3]), sys.argv[4:])))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_run_killed_around_a_save_finds_the_same_best_step(
    recipe_file: Path, tmp_path: Path, number: int, moment: str
) -> None:
    """A best step has two files: kills before, between and after them; every kill leaves a run that loads."""
    trained(recipe_file, f"output={tmp_path / 'whole'}")
    killed = tmp_path / "killed"
    options = [str(recipe_file), f"output={killed}", "resume=auto"]
    ended = subprocess.run([sys.executable, "-c", KILL, str(number), moment, *options], check=False)
    assert ended.returncode == 9
    if RunFolder.has_checkpoint(killed):
        run = RunFolder.load(killed)
        assert run.step in bounds_of(tmp_path / "whole")
    trained(recipe_file, f"output={killed}", "resume=auto")
    assert_same_end(tmp_path / "whole", killed)


def assert_same_end(one: Path, other: Path) -> None:
    records = [json.loads((path / "run.json").read_text()) for path in (one, other)]
    for key in ("steps", "best_step", "best_bound", "finished"):
        assert records[0][key] == records[1][key], key
    assert bounds_of(one) == bounds_of(other)
    step = records[0]["best_step"]
    weights = [load_step(path / "best", step).tensors["ema"] for path in (one, other)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    newest = [load_checkpoint(path / "checkpoints") for path in (one, other)]
    for part, tensors in newest[0].tensors.items():
        assert all(torch.equal(tensor, newest[1].tensors[part][name]) for name, tensor in tensors.items())


@pytest.mark.parametrize("file", ["ema.safetensors", "state.json", "manifest.json", "gone"])
def test_a_damaged_best_checkpoint_falls_back_to_the_newest(
    recipe_file: Path, tmp_path: Path, file: str
) -> None:
    training, last_step = trained(recipe_file)
    folder = tmp_path / "run" / "best" / f"step-{training.state.best.step:08d}"
    if file == "gone":
        shutil.rmtree(folder)
    else:
        content = bytearray((folder / file).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / file).write_bytes(content)
    with pytest.warns(UserWarning, match=f"step {last_step}, the newest, is used instead"):
        assert RunFolder.load(tmp_path / "run").step == last_step


def test_without_keep_best_the_newest_step_is_used(recipe_file: Path, tmp_path: Path) -> None:
    _, last_step = trained(recipe_file, "train.keep_best=false")
    assert not (tmp_path / "run" / "best").exists()
    assert RunFolder.load(tmp_path / "run").step == last_step


def test_without_patience_all_updates_are_done(recipe_file: Path, tmp_path: Path) -> None:
    training, last_step = trained(recipe_file, "train.patience=0", "train.steps=20")
    assert last_step == 20
    assert "finished" not in json.loads((tmp_path / "run" / "run.json").read_text())
    assert RunFolder.load(tmp_path / "run").step == training.state.best.step


@pytest.mark.parametrize("option", ["train.keep_best=true", "train.patience=3"])
def test_choosing_a_step_needs_validations(recipe_file: Path, option: str) -> None:
    options = ["train.evaluate_every=0", "train.keep_best=false", "train.patience=0", option]
    with pytest.raises(RecipeError, match=r"train\.evaluate_every=200"):
        load_recipe(recipe_file, options)


@pytest.mark.parametrize("processes", [2])
def test_processes_agree_on_the_best_step(recipe_file: Path, tmp_path: Path, processes: int) -> None:
    trained(recipe_file, f"output={tmp_path / 'one'}", "train.batch_size=8")
    train(recipe_file, f"output={tmp_path / 'two'}", "train.batch_size=4", processes=processes)
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("one", "two")]
    assert records[1]["processes"] == processes
    assert records[0]["best_step"] == records[1]["best_step"]
    assert records[0]["best_bound"] == pytest.approx(records[1]["best_bound"], rel=1e-4)
    assert RunFolder.load(tmp_path / "two").step == records[1]["best_step"]


def rows(*values: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(values, dtype=torch.float64), torch.full((len(values),), 10.0, dtype=torch.float64)


def test_a_gain_within_noise_is_kept_but_does_not_reset_the_patience() -> None:
    best = BestStep(patience=2)
    assert best.add(1, *rows(30, 30, 30, 30))
    assert best.add(2, *rows(36, 23, 36, 23))  # lower by 0.05, rows differ by 0.6
    assert (best.step, best.waited, best.is_over) == (2, 1, False)
    assert best.add(3, *rows(29, 29, 29, 29))
    assert best.waited == 0
    assert not best.add(4, *rows(30, 30, 30, 30))
    assert not best.add(5, *rows(29, 29, 29, 29))  # not lower
    assert (best.step, best.is_over) == (3, True)


def test_small_gains_add_up() -> None:
    best = BestStep(patience=3)
    for step in range(12):
        noise = 0.5 if step % 2 else -0.5
        best.add(step, *rows(30 + noise - step / 4, 30 - noise - step / 4, 30 - step / 4, 30 - step / 4))
    assert not best.is_over


def test_a_bound_that_is_no_number_is_never_the_best() -> None:
    best = BestStep(patience=2)
    assert not best.add(1, *rows(float("nan"), 30))
    assert best.step is None
    assert best.add(2, *rows(30, 30))
    assert not best.add(3, *rows(float("inf"), 30))
    assert best.step == 2
    other = BestStep(patience=2)
    other.restore(json.loads(json.dumps(best.state())))
    assert other.state() == best.state()


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_training_tokens_are_limited(prepared_folder: Path, seed: int | None) -> None:
    prepared = PreparedData.load(prepared_folder)
    options = {"sequence_length": 16, "levels": ("phrase",), "cross_documents": False}
    whole = PackedBlocks.build(prepared, "train", **options)  # type: ignore[arg-type]
    few = PackedBlocks.build(prepared, "train", train_tokens=301, subset_seed=seed, **options)  # type: ignore[arg-type]
    more = PackedBlocks.build(prepared, "train", train_tokens=900, subset_seed=seed, **options)  # type: ignore[arg-type]
    assert few.num_tokens == 301
    assert (more.tokens[:301] == few.tokens).all()  # larger subsets hold the smaller ones
    assert (more.unit_starts["phrase"][:301] == few.unit_starts["phrase"]).all()
    if seed is None:
        assert (whole.tokens[:301] == few.tokens).all()
    starts = [set(text_of_documents(blocks)) for blocks in (whole, few)]
    assert starts[1] <= starts[0]  # whole documents, but for the last
    if seed is not None:
        assert not (whole.tokens[:301] == few.tokens).all()


def text_of_documents(blocks: PackedBlocks) -> list[tuple[int, ...]]:
    """Documents but for the last, which may be cut."""
    assert blocks.document_starts is not None
    borders = [*blocks.document_starts.nonzero()[0].tolist()]
    return [tuple(blocks.tokens[a:b].tolist()) for a, b in pairwise(borders)]


def test_runs_of_other_seeds_see_the_same_subset(recipe_file: Path, tmp_path: Path) -> None:
    trainers = [
        build_training(load_recipe(recipe_file, [f"seed={seed}", "data.subset_seed=5"])) for seed in (0, 1)
    ]
    assert (trainers[0].blocks.tokens == trainers[1].blocks.tokens).all()
    assert trainers[0].state.rows.num_tokens == 400
    assert trainers[0].data.blocks("validation", ()).num_tokens != 400


def test_more_training_tokens_than_there_are_is_refused(recipe_file: Path, prepared_folder: Path) -> None:
    with pytest.raises(DataError, match=r"data\.train_tokens=\d+$") as caught:
        build_training(load_recipe(recipe_file, ["data.train_tokens=9000000"]))
    build_training(load_recipe(recipe_file, [str(caught.value.remedies[0])]))
    with pytest.raises(RecipeError, match=r"train_tokens limits the text of data\.path"):
        load_recipe(recipe_file, [f"data.mixture=[{{path: {prepared_folder}}}]"])
