"""Every corruption trains from a recipe, resumes to the same numbers, and gives a bound on held-out text."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from stops import stop_at

from hdiff.cli import run as hdiff
from hdiff.control.request import Request
from hdiff.control.samples import controlled_samples
from hdiff.corruption import LearnedRates
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.data.token_classes import Clusters, shuffled_classes
from hdiff.errors import CheckpointError, DataError, RecipeError
from hdiff.evaluation.run import evaluate_run
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from hdiff.runs.folder import RunFolder
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

RECIPE = """
name: small
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6, salience_buckets: 3}}
model: {{width: 16, depth: 1, num_heads: 2}}
corruption: {{kind: token_masking}}
train: {{steps: 4, batch_size: 4, warmup_steps: 1, ema_decay: 0.5, log_every: 1, checkpoint_every: 2}}
evaluation: {{steps: [1], blocks: 8, draws: 2, samples: 0}}
"""

SPANS = ["corruption={kind: span_masking, segmentation: random, level: phrase, lengths: corpus}"]
AUTOREGRESSIVE = "{kind: autoregressive, num_heads: 2}"
SYSTEMS = {
    "cascade": ["corruption={kind: tree_cascade, levels: [clause, phrase, word], types: [boundary, label]}"],
    "cascade_nodes": [
        "corruption={kind: tree_cascade, levels: [phrase], unit: node, k: {phrase: 2.0}}",
        f"head={AUTOREGRESSIVE}",
        f"type_head={AUTOREGRESSIVE}",
    ],
    "cascade_salience": [
        "corruption={kind: tree_cascade, types: [boundary, salience], num_buckets: 3, k: {token: [1, 2, 3]}}"
    ],
    "cascade_up": ["corruption={kind: tree_cascade, direction: fine_to_coarse}"],
    "rates": ["corruption={kind: rate_matched, num_buckets: 3}"],
    "rates_lexical": ["corruption={kind: rate_matched, num_buckets: 3}", "data.lexical_salience=true"],
    "learned": ["corruption={kind: learned_rates}", "train.learning_rate=0.1"],
    "learned_times": ["corruption={kind: learned_rates, max_ratio: 8, count: bernoulli}"],
    "uniform": ["corruption={kind: uniform_state, schedule: {kind: polynomial, k: 2.5}, k: [1, 2, 3]}"],
    "gaussian": ["corruption={kind: gaussian, embedding_width: 8, level: phrase, k_inside: 2}"],
    "blocks": ["corruption={kind: block_masking, block_size: 3}"],
    "soft": ["corruption={kind: soft_masking, num_classes: 8}"],
    "soft_random": ["corruption={kind: soft_masking, num_classes: 8, classes: random}"],
    "soft_nested": ["corruption={kind: soft_masking, classes: {kind: clusters, sizes: [4, 16]}}"],
    "soft_lexical": [
        "corruption={kind: soft_masking, classes: {kind: syntax, sizes: [3, 6, 12]}, class_k: 2}"
    ],
    "soft_parts": [
        "corruption={kind: soft_masking, classes: {kind: parts_of_speech}}",
        "head={kind: product, classes: syntax}",
    ],
    "soft_syntax": ["corruption={kind: soft_masking, num_classes: 8, classes: syntax}"],
}


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_trains_resumes_and_gives_a_bound(system: str, prepared_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    fit(build_training(load_recipe(file, SYSTEMS[system])))

    trainer = build_training(load_recipe(file, [*SYSTEMS[system], f"output={tmp_path / 'other'}"]))
    assert fit(trainer, before_update=stop_at(2)).stopped_by == 15
    fit(build_training(load_recipe(file, [*SYSTEMS[system], f"output={tmp_path / 'other'}", "resume=auto"])))
    one, other = (
        load_checkpoint(tmp_path / name / "checkpoints").tensors["model"] for name in ("run", "other")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)

    bound = evaluate_run(RunFolder.load(tmp_path / "run"))["bound"]
    assert not bound["conditional_on_structure"]
    assert math.isfinite(bound["nats_per_token"])
    run = RunFolder.load(tmp_path / "run")
    sampled = controlled_samples(run, Request(length=6), num_samples=2, num_steps=4)
    assert [len(sample["pieces"]) for sample in sampled["samples"]] == [6, 6]
    assert sampled["nfe"] == sampled["num_steps"] >= 4
    if system in ("uniform", "gaussian", "blocks"):
        assert bound["nats_per_token"] > 0 == bound["structure_nats_per_token"]
    else:
        assert bound["nats_per_token"] > bound["structure_nats_per_token"] > 0


def test_altered_token_classes_are_neither_trained_on_nor_evaluated(
    prepared_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    fit(build_training(load_recipe(file, SYSTEMS["soft"])))
    resumed = load_recipe(file, [*SYSTEMS["soft"], "resume=auto"])
    record_file = tmp_path / "run" / "run.json"
    whole = record_file.read_text()
    record = json.loads(whole)
    record["token_classes"][7] ^= 1
    record_file.write_text(json.dumps(record))
    said = (
        r"run\.json is damaged \(unit_lengths and token_classes are not those of the checkpoint\); put back"
    )
    with pytest.raises(CheckpointError, match=said):
        fit(build_training(resumed))
    with pytest.raises(CheckpointError, match=said):
        RunFolder.load(tmp_path / "run")
    record_file.write_text(whole.replace('"token_classes"', '"uoken_classes"'))
    with pytest.raises(CheckpointError, match=said):
        fit(build_training(resumed))
    record_file.write_text(json.dumps({**record, "token_classes": "7"}))
    with pytest.raises(CheckpointError, match="token_classes are no list of numbers"):
        build_training(resumed)

    record_file.write_text(whole)
    checkpoints = tmp_path / "run" / "checkpoints"
    saved = load_checkpoint(checkpoints)
    other = {**saved.state, "statistics_sha256": "0" * 64}
    save_checkpoint(checkpoints, saved.step, saved.tensors, other, keep=2)
    with pytest.raises(CheckpointError, match=said):
        fit(build_training(resumed))
    del other["statistics_sha256"]  # as checkpoints of before have none
    save_checkpoint(checkpoints, saved.step, saved.tensors, other, keep=2)
    assert fit(build_training(resumed)).stopped_by is None
    assert RunFolder.load(tmp_path / "run").step == saved.step


def test_unit_lengths_that_are_counted_otherwise_are_not_gone_on_with(
    prepared_folder: Path, tmp_path: Path
) -> None:
    """As if the run had been started by another version of hdiff."""
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    recipe = load_recipe(file, SPANS)
    fit(build_training(recipe))
    trainer = build_training(load_recipe(file, [*SPANS, "resume=auto"]))
    trainer.data.unit_lengths["phrase"][0] += 0.5
    with pytest.raises(CheckpointError, match="was trained with other unit_lengths or token_classes"):
        fit(trainer)


@pytest.mark.parametrize("kind", ["uniform_state", "gaussian"])
def test_heads_over_several_tokens_are_refused_where_tokens_change_one_by_one(
    kind: str, prepared_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    with pytest.raises(RecipeError, match=r"use 'head=\{kind: product\}'"):
        build_training(load_recipe(file, [f"corruption={{kind: {kind}}}", f"head={AUTOREGRESSIVE}"]))


def test_learned_speeds_are_saved_averaged_and_used(prepared_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    options = ["corruption={kind: learned_rates}", "train.learning_rate=0.3"]
    fit(build_training(load_recipe(file, options)))
    saved = load_checkpoint(tmp_path / "run" / "checkpoints").tensors
    theta = {part: saved[part]["token_rates.theta"] for part in ("model", "ema")}
    assert not torch.equal(theta["model"], theta["ema"])
    run = RunFolder.load(tmp_path / "run")
    corruption = run.corruption
    assert isinstance(corruption, LearnedRates)
    assert corruption.rates is run.denoiser.token_rates
    assert torch.equal(run.denoiser.token_rates.theta, theta["ema"])
    result = evaluate_run(run)
    speeds = result["learned_speeds"]
    assert speeds["ratio"] > 1.5
    assert speeds["earliest"][0]["k"] / speeds["latest"][0]["k"] == pytest.approx(speeds["ratio"])
    assert {entry["token"] for entry in speeds["earliest"]}.isdisjoint(
        entry["token"] for entry in speeds["latest"]
    )
    with torch.no_grad():  # other speeds are another model
        run.denoiser.token_rates.theta.zero_()
    assert evaluate_run(run)["bound"]["nats_per_token"] != result["bound"]["nats_per_token"]


def test_learned_speeds_need_a_product_head(prepared_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    with pytest.raises(RecipeError, match=r"use 'head=\{kind: product\}'"):
        build_training(load_recipe(file, ["corruption={kind: learned_rates}", f"head={AUTOREGRESSIVE}"]))


def test_buckets_that_do_not_fit_are_refused(prepared_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=prepared_folder))
    with pytest.raises(DataError, match=r"give as many speeds, or use data\.salience_buckets=2"):
        fit(build_training(load_recipe(file, ["corruption={kind: rate_matched, num_buckets: 2}"])))
    with pytest.raises(DataError, match=r"hdiff prepare .*--levels sentence"):
        build_training(load_recipe(file, ["corruption={kind: tree_cascade, levels: [sentence]}"]))


def test_labels_belong_to_the_units_they_stand_at(prepared_folder: Path) -> None:
    prepared = PreparedData.load(prepared_folder)
    blocks = PackedBlocks.build(prepared, "train", sequence_length=64, levels=("phrase",), max_unit_tokens=6)
    batch = blocks.batch(range(len(blocks)))
    units, labels = batch.unit_ids["phrase"], batch.labels["phrase"]
    same = (units[:, 1:] == units[:, :-1]) & batch.token_mask[:, 1:]
    assert bool((labels[:, 1:] == labels[:, :-1])[same].all())
    counts = torch.bincount(labels[batch.token_mask])
    assert len(counts) > 5
    assert int(counts[1:].argmax()) < 5  # numbered by frequency
    row = prepared.split("train")[0]
    spans = zip(row["span_start"], row["span_end"], row["span_label"], strict=True)
    inside = [(a, b, label) for a, b, label in spans if 1 < b - a <= 6][:3]
    numbers = {label: set(labels[0, a:b].tolist()) for a, b, label in inside}
    assert all(len(found) == 1 for found in numbers.values())


def test_token_classes_put_tokens_of_like_company_together() -> None:
    """A language of two alternating vocabularies: even tokens stand before odd ones."""
    generator = torch.Generator().manual_seed(0)
    even = 2 * torch.randint(0, 10, (4000,), generator=generator)
    odd = 2 * torch.randint(0, 10, (4000,), generator=generator) + 1
    tokens = torch.stack([even, odd], 1).flatten().to(torch.int32).numpy()
    salience = np.zeros(len(tokens), dtype=np.float32)
    blocks = PackedBlocks(tokens, salience, {}, {}, sequence_length=32, vocab_size=20, eos_id=0)
    (classes,) = Clusters(sizes=[2]).tables(blocks, seed=3)
    assert [classes] == Clusters(sizes=[2]).tables(blocks, seed=3)
    assert len(set(classes[::2])) == len(set(classes[1::2])) == 1
    assert classes[0] != classes[1]
    control = shuffled_classes(classes, seed=1)
    assert sorted(control) == sorted(classes)
    assert control != classes
    with pytest.raises(DataError, match="at most one per token"):
        Clusters(sizes=[21]).tables(blocks)


def test_report_of_a_run_whose_salience_needs_a_parse(tmp_path: Path) -> None:
    prepare("builtin:pydoc", tmp_path / "data", limit=14, validation_fraction=0.3, tokenizer="train:512",
            salience="combined")  # fmt: skip
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=tmp_path / "data"))
    fit(build_training(load_recipe(file, SYSTEMS["soft"])))
    assert hdiff(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "exploration.json").is_file()
    assert "Corruption" in (tmp_path / "run" / "report.html").read_text()
