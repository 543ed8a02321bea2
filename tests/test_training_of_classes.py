"""Runs whose head factors its output by classes: trained, resumed, sampled and exported as any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from stops import stop_at

from hdiff.cli import run as hdiff
from hdiff.errors import CheckpointError, DataError, RecipeError, UserError
from hdiff.evaluation.run import evaluate_run
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.folder import RunFolder
from hdiff.sharing import PretrainedModel
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

RECIPE = """
name: small
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6, salience_buckets: 3}}
model: {{width: 16, depth: 1, num_heads: 2}}
head: {{kind: product, classes: {{kind: syntax, sizes: [4, 16]}}}}
train: {{steps: 4, batch_size: 4, warmup_steps: 1, ema_decay: 0.5, log_every: 1, checkpoint_every: 2}}
evaluation: {{steps: [2], blocks: 8, draws: 2, samples: 0}}
"""
RANDOM_SPANS = "corruption={kind: span_masking, segmentation: random, lengths: [1, 1, 1]}"
SYSTEMS = {
    "tokens": [],
    "clusters": ["head.classes=clusters"],
    "random": ["head.classes={kind: random, sizes: [8, 32]}"],
    "parts of speech": ["head.classes=parts_of_speech"],
    "both": ["head.classes={kind: both, sizes: [12]}"],
    "spans": [RANDOM_SPANS, "head={kind: autoregressive, num_heads: 2, classes: {kind: syntax, sizes: [8]}}"],
    "mixture": [
        RANDOM_SPANS,
        "head={kind: mixture, num_components: 2, classes: {kind: clusters, sizes: [8]}}",
    ],
    "crf": [RANDOM_SPANS, "head={kind: crf, rank: 2, classes: {kind: clusters, sizes: [8]}}"],
    "planner": [RANDOM_SPANS, "planner={}", "evaluation.sampler={kind: planned}"],
    "blocks": ["corruption={kind: block_masking, block_size: 3}"],
    "cascade": ["corruption={kind: tree_cascade, levels: [phrase]}"],
    "rates": ["corruption={kind: rate_matched, num_buckets: 3}"],
    "learned": ["corruption={kind: learned_rates}"],
    "uniform": ["corruption={kind: uniform_state}"],
    "gaussian": ["corruption={kind: gaussian, embedding_width: 8}"],
    "soft": ["corruption={kind: soft_masking, num_classes: 8}"],
    "autoregressive": ["model.kind=autoregressive"],
    "supervised": ["supervision={}"],
}


def recipe(folder: Path, data: Path, *overrides: str):
    file = folder / "small.yaml"
    file.write_text(RECIPE.format(output=folder / "run", data=data))
    return load_recipe(file, list(overrides))


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_trains_resumes_evaluates_and_is_exported(system: str, prepared_folder: Path, tmp_path: Path) -> None:
    fit(build_training(recipe(tmp_path, prepared_folder, *SYSTEMS[system])))
    trainer = build_training(
        recipe(tmp_path, prepared_folder, *SYSTEMS[system], f"output={tmp_path / 'other'}")
    )
    assert fit(trainer, before_update=stop_at(2)).stopped_by == 15
    fit(
        build_training(
            recipe(tmp_path, prepared_folder, *SYSTEMS[system], f"output={tmp_path / 'other'}", "resume=auto")
        )
    )
    one, other = (
        load_checkpoint(tmp_path / name / "checkpoints").tensors["model"] for name in ("run", "other")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert one["head.factors.embedding"].abs().sum() > 0

    run = RunFolder.load(tmp_path / "run")
    assert run.model.head.factors is not None
    assert run.record["head_classes"][-1] == run.model.head.factors.table.tolist()
    found = evaluate_run(RunFolder.load(tmp_path / "run"))
    assert 3 < found["bound"]["nats_per_token"] < (99 if system == "gaussian" else 9)
    pretrained = PretrainedModel.of_run(run)
    pretrained.save_pretrained(tmp_path / "shared")
    shared = PretrainedModel.from_pretrained(tmp_path / "shared")
    state = torch.randn(3, 16)
    assert torch.equal(shared.model.head.logits(state), run.model.head.logits(state))


def test_samples_are_drawn_from_the_command_line(prepared_folder: Path, tmp_path: Path, capsys) -> None:
    fit(build_training(recipe(tmp_path, prepared_folder, *SYSTEMS["spans"])))
    run = str(tmp_path / "run")
    for options in (["--steps", "4"], ["--temperature", "0.8", "--top-k", "20"], ["--infill", "The [3] is"]):
        assert hdiff(["sample", run, "--num", "2", *options]) == 0, capsys.readouterr().err
    assert hdiff(["audit", "--recipe", str(tmp_path / "run" / "recipe.yaml")]) == 0
    assert "autoregressive by class" in capsys.readouterr().out


def test_altered_classes_are_neither_trained_on_nor_evaluated(prepared_folder: Path, tmp_path: Path) -> None:
    fit(build_training(recipe(tmp_path, prepared_folder, "train.steps=2")))
    file = tmp_path / "run" / "run.json"
    whole = file.read_text()
    record = json.loads(whole)
    last = record["head_classes"][-1]
    last[3], last[4] = last[4], last[3] + (last[3] == last[4])
    file.write_text(json.dumps(record))
    for attempt in (
        lambda: RunFolder.load(tmp_path / "run"),
        lambda: fit(build_training(recipe(tmp_path, prepared_folder, "train.steps=2", "resume=auto"))),
    ):
        with pytest.raises(UserError, match=r"run\.json is damaged"):
            attempt()
    file.write_text(json.dumps({**json.loads(whole), "head_classes": "7"}))
    with pytest.raises(CheckpointError, match="head_classes are no list of numbers"):
        build_training(recipe(tmp_path, prepared_folder, "train.steps=2", "resume=auto"))


WRONG = {
    "head.classes=syntaxx": "no head.classes 'syntaxx'; did you mean 'syntax'",
    "head.classes={sizes: [4]}": "head.classes has no kind",
    "head.classes=[4]": "head.classes is [4]",
    "head.classes={kind: syntax, size: [4]}": "no key 'size' in head.classes of kind 'syntax'",
    "head.classes={kind: syntax, sizes: 4}": "head.classes.sizes is 4",
    "head.classes={kind: syntax, sizes: [1]}": "sizes is [1]",
    "head.classes={kind: syntax, fine: words}": "head.classes.fine is 'words'",
    "head.classes={kind: syntax, trees: gold}": "no trees 'gold'",
    "head.classes={kind: clusters, trees: random}": "no key 'trees' in head.classes of kind 'clusters'",
    "head.classes={kind: clusters, sizes: [1000]}": "1000 classes of 512 tokens",
    "type_head={kind: product, classes: syntax}": "type_head has classes",
}


@pytest.mark.parametrize("override", list(WRONG))
def test_a_wrong_section_is_refused(override: str, prepared_folder: Path, tmp_path: Path) -> None:
    cascade = "corruption={kind: tree_cascade, levels: [phrase]}"
    with pytest.raises((RecipeError, DataError)) as error:
        build_training(recipe(tmp_path, prepared_folder, cascade, override))
    assert WRONG[override] in str(error.value)
