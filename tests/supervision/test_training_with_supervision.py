"""Trainings with supervision: resumed, evaluated, exported, refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from stops import stop_at
from supervised_batches import WIDTH, batch_of

from hdiff.cli import run as hdiff
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.errors import RecipeError
from hdiff.evaluation.bounds import evaluate_bound, evaluate_exact
from hdiff.factory import required_levels
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.folder import RunFolder
from hdiff.sharing import PretrainedModel
from hdiff.supervision import LabelSupervision, TreeRegularization
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

LABELS = "supervision={targets: [pos, phrase, opens, closes]}"


TREES = "supervision={kind: tree_regularization, weight: 0.5}"


CLUSTERS = "supervision={targets: ['clusters:4', 'clusters:16', 'random:8']}"


RECIPE = """
name: small
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6, salience_buckets: 3}}
model: {{width: 16, depth: 1, num_heads: 2}}
train: {{steps: 4, batch_size: 4, warmup_steps: 1, ema_decay: 0.5, log_every: 1, checkpoint_every: 2}}
evaluation: {{steps: [1], blocks: 8, draws: 2, samples: 0}}
"""


FAMILIES = {
    "tokens": ["corruption={kind: token_masking}"],
    "spans": [
        "corruption={kind: span_masking, segmentation: random, lengths: [1, 1]}",
        "head={kind: autoregressive, num_heads: 2}",
        "planner={}",
    ],
    "autoregressive": ["model.kind=autoregressive"],
    "blocks": ["corruption={kind: block_masking, block_size: 3}"],
    "cascade": ["corruption={kind: tree_cascade, levels: [clause, phrase, word], types: [label]}"],
    "rates": ["corruption={kind: rate_matched, num_buckets: 3}"],
    "learned": ["corruption={kind: learned_rates}"],
    "uniform": ["corruption={kind: uniform_state}"],
    "gaussian": ["corruption={kind: gaussian, embedding_width: 8}"],
    "soft": ["corruption={kind: soft_masking, num_classes: 8}"],
}


def recipe(folder: Path, data: Path, *overrides: str):
    file = folder / "small.yaml"
    file.write_text(RECIPE.format(output=folder / "run", data=data))
    return load_recipe(file, list(overrides))


@pytest.mark.parametrize("kind", ["labels", "trees"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_trains_with_it_and_is_loaded_without(
    family: str, kind: str, prepared_folder: Path, tmp_path: Path
) -> None:
    second = LABELS if kind == "labels" else TREES
    fit(build_training(recipe(tmp_path, prepared_folder, *FAMILIES[family])))
    plain = RunFolder.load(tmp_path / "run")
    fit(
        build_training(
            recipe(tmp_path, prepared_folder, *FAMILIES[family], second, f"output={tmp_path / 'two'}")
        )
    )
    run = RunFolder.load(tmp_path / "two")
    assert run.model.supervision is None
    assert set(run.model.state_dict()) == set(plain.model.state_dict())
    assert run.record["parameters"] == plain.record["parameters"]
    saved = load_checkpoint(tmp_path / "two" / "checkpoints").tensors["model"]
    assert any(name.startswith("supervision.") for name in saved) == (kind == "labels")
    lines = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["supervision_loss"] for line in lines if "supervision_loss" in line]
    assert len(losses) == 4
    assert all(0 < loss < 10 for loss in losses), losses
    trunk = run.model.trunk.state_dict(), plain.model.trunk.state_dict()
    assert not all(torch.equal(trunk[0][name], trunk[1][name]) for name in trunk[0])  # it reached the trunk


def test_it_resumes_to_the_same_numbers(prepared_folder: Path, tmp_path: Path) -> None:
    for number, kind in enumerate((LABELS, TREES, CLUSTERS)):
        folder = tmp_path / str(number)
        folder.mkdir()
        fit(build_training(recipe(folder, prepared_folder, kind)))
        trainer = build_training(recipe(folder, prepared_folder, kind, f"output={folder / 'other'}"))
        assert fit(trainer, before_update=stop_at(2)).stopped_by == 15
        fit(
            build_training(recipe(folder, prepared_folder, kind, f"output={folder / 'other'}", "resume=auto"))
        )
        one, other = (load_checkpoint(folder / name / "checkpoints").tensors for name in ("run", "other"))
        assert all(torch.equal(one["model"][name], other["model"][name]) for name in one["model"])
        assert all(torch.equal(one["ema"][name], other["ema"][name]) for name in one["ema"])


def moved(blocks: PackedBlocks) -> PackedBlocks:
    """The same tokens with the parse of other ones."""

    def roll(values):
        return {name: np.roll(value, 7) for name, value in values.items()}

    starts = roll(blocks.unit_starts)
    return dataclasses.replace(
        blocks, unit_starts=starts, labels=roll(blocks.labels), targets=roll(blocks.targets)
    )


@pytest.mark.parametrize("family", ["tokens", "spans", "autoregressive", "blocks", "uniform", "gaussian"])
def test_the_bound_does_not_move_by_one_bit_when_the_parse_moves(
    family: str, prepared_folder: Path, tmp_path: Path
) -> None:
    trainer = build_training(recipe(tmp_path, prepared_folder, *FAMILIES[family], LABELS))
    fit(trainer)
    config = trainer.recipe.evaluation
    levels = ("phrase", *required_levels(trainer.corruption, trainer.model))
    spec = trainer.model.supervision.spec
    blocks = trainer.data.blocks("validation", levels, targets=spec)
    bare = trainer.data.blocks("validation", levels)
    loaded = RunFolder.load(tmp_path / "run").model
    in_training = trainer.state.average.model.eval()  # still with its supervision, which nothing calls
    assert in_training.supervision is not None
    found = []
    for model in (loaded, in_training):
        for rows in (blocks, moved(blocks), bare):
            if family == "autoregressive":
                found.append(evaluate_exact(model, rows, config).nats_per_token)
            else:
                corruption = trainer.corruption.unconditional().of_model(model)
                found.append(evaluate_bound(model, rows, corruption, config).nats_per_token)
    assert len(set(found)) == 1


def test_an_exported_model_knows_nothing_of_it(prepared_folder: Path, tmp_path: Path) -> None:
    fit(build_training(recipe(tmp_path, prepared_folder, LABELS)))
    PretrainedModel.of_run(RunFolder.load(tmp_path / "run")).save_pretrained(tmp_path / "shared")
    assert "supervision" not in (tmp_path / "shared" / "config.json").read_text()
    shared = PretrainedModel.from_pretrained(tmp_path / "shared").model
    run = RunFolder.load(tmp_path / "run").model
    tokens = torch.randint(run.vocab_size, (2, 9))
    assert torch.equal(shared.hidden(tokens), run.hidden(tokens))


def test_it_trains_on_mixtures_and_streams_alike(prepared_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    prepare("builtin:pydoc", other, limit=8, validation_fraction=0.3, tokenizer=str(prepared_folder))
    sources = [
        f"data.mixture=[{{path: {prepared_folder}}}, {{path: {other}}}]",
        "data.stream={source: 'builtin:pydoc'}",
        f"data.mixture=[{{path: {other}}}, {{stream: {{source: 'builtin:pydoc'}}}}]",
    ]
    for number, source in enumerate(sources):
        trainer = build_training(
            recipe(tmp_path, prepared_folder, source, LABELS, f"output={tmp_path / str(number)}")
        )
        batch = trainer.state.rows.batch(range(4))
        assert set(batch.targets) == {"pos", "phrase", "opens", "closes"}
        assert all(len(values.unique()) > 2 for values in batch.targets.values())
        trainer.state.rows.close()
    # A stream of the same text in the same order has the same targets.
    streamed = build_training(
        recipe(
            tmp_path,
            prepared_folder,
            "data.stream={source: 'builtin:pydoc', shuffle_buffer: 0}",
            LABELS,
            f"output={tmp_path / 'streamed'}",
        )
    )
    spec = streamed.model.supervision.spec
    blocks = PackedBlocks.build(PreparedData.load(prepared_folder), "train", sequence_length=32, targets=spec)
    rows = streamed.state.rows.batch(range(4))
    streamed.state.rows.close()
    assert torch.equal(rows.input_ids, blocks.batch(range(4)).input_ids)
    assert all(torch.equal(rows.targets[name], blocks.batch(range(4)).targets[name]) for name in rows.targets)


WRONG = {
    "supervision={targets: [poss]}": "supervision: no target 'poss'; did you mean 'pos'",
    "supervision={targets: [gaps]}": "supervision: no target 'gaps'",
    "supervision={targets: []}": "name each target once, and at least one",
    "supervision={targets: [pos, pos]}": "name each target once",
    "supervision={targets: ['clusters:1']}": "at least 2",
    "supervision={targets: [clusters]}": "supervision: no target 'clusters'",
    "supervision={targets: ['clusters:x']}": "supervision: no target 'clusters:x'",
    "supervision={target: [pos]}": "no key 'target' in supervision",
    "supervision={weight: 0}": "supervision: weight is 0",
    "supervision={weight: .nan}": "finite",
    "supervision={weight: much}": "supervision.weight is 'much'",
    "supervision={num_labels: 1}": "supervision: num_labels is 1",
    "supervision={trees: shuffeld}": "supervision: no trees 'shuffeld'; did you mean 'shuffled'",
    "supervision={targets: ['clusters:4'], trees: random}": "are of no tree",
    "supervision={kind: tree_reg}": "no supervision 'tree_reg'",
    "supervision={kind: tree_regularization, share: 0}": "supervision: share is 0",
    "supervision={kind: tree_regularization, targets: [pos]}": "no key 'targets' in supervision",
    "supervision={table: 3}": "no key 'table' in supervision",
    "supervision={width: 3}": "no key 'width' in supervision",
}


@pytest.mark.parametrize("override", list(WRONG))
def test_a_wrong_section_is_refused(override: str, prepared_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="supervision") as error:
        build_training(recipe(tmp_path, prepared_folder, override))
    assert WRONG[override] in str(error.value)


def test_a_data_set_without_labels_ends_the_command_with_a_sentence(tmp_path: Path, capsys) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"The old dog of number {i} saw a cat ." for i in range(20)))
    prepare(str(text), tmp_path / "plain", parser="plain", tokenizer="words", levels=["sentence"])
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE.format(output=tmp_path / "run", data=tmp_path / "plain"))
    assert hdiff(["train", str(file), "data.salience_buckets=null", LABELS]) == 2
    said = capsys.readouterr().err
    assert "re-run hdiff prepare with --parser spacy --levels sentence,phrase,word" in said.replace("\n", " ")


@pytest.mark.parametrize("kind", ["labels", "trees"])
def test_batches_of_an_update_add_up_however_they_are_cut(kind: str, generator: torch.Generator) -> None:
    second = (
        LabelSupervision(WIDTH, targets=["pos"], num_labels=4)
        if kind == "labels"
        else TreeRegularization(WIDTH)
    )
    if kind == "labels":
        torch.nn.init.normal_(second.predict.weight)
    hidden = torch.randn(6, 9, WIDTH, generator=generator)
    name = "pos" if kind == "labels" else "gaps"
    whole = batch_of({name: torch.randint(4, (6, 9), generator=generator)}, num_real=7)

    def part(rows: slice) -> Batch:
        return Batch(whole.input_ids[rows], whole.token_mask[rows], targets={name: whole.targets[name][rows]})

    cut = [slice(0, 1), slice(1, 6)]
    parts = sum(second(hidden[rows], part(rows)) * part(rows).num_tokens for rows in cut) / whole.num_tokens
    assert float(parts) == pytest.approx(float(second(hidden, whole)), rel=1e-5)
