"""Supervision: second losses are what their formulas say, of training alone, and no bound knows of them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stops import stop_at

from hdiff.cli import run as hdiff
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.data.token_targets import INSIDE_WORD
from hdiff.errors import RecipeError
from hdiff.evaluation.bounds import evaluate_bound, evaluate_exact
from hdiff.factory import required_levels
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.folder import RunFolder
from hdiff.sharing import PretrainedModel
from hdiff.supervision import LabelSupervision, TreeRegularization
from hdiff.supervision.tree_regularization import span_of_splits, split_scores
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

WIDTH = 16
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


def batch_of(targets: dict[str, torch.Tensor], num_real: int | None = None) -> Batch:
    (first, *_) = targets.values()
    mask = torch.arange(first.shape[1]).expand_as(first) < (num_real or first.shape[1])
    return Batch(torch.zeros_like(first), mask, targets=targets)


def test_labels_begin_as_guesses_at_the_number_of_values() -> None:
    labels = LabelSupervision(WIDTH, targets=["pos", "opens"], num_labels=9)
    batch = batch_of({"pos": torch.randint(9, (3, 7)), "opens": torch.randint(4, (3, 7))}, num_real=5)
    assert float(labels(torch.randn(3, 7, WIDTH), batch)) == pytest.approx((math.log(9) + math.log(4)) / 2)


def test_labels_are_the_mean_cross_entropy_of_real_tokens() -> None:
    labels = LabelSupervision(WIDTH, targets=["phrase", "closes"], num_labels=5)
    torch.nn.init.normal_(labels.predict.weight)
    batch = batch_of({"phrase": torch.randint(5, (2, 6)), "closes": torch.randint(4, (2, 6))}, num_real=4)
    hidden = torch.randn(2, 6, WIDTH, requires_grad=True)
    nats = 0.0
    for row in range(2):
        for token in range(4):
            scores = labels.predict(hidden[row, token])
            for name, part in (("phrase", scores[:5]), ("closes", scores[5:])):
                nats -= float(part.log_softmax(-1)[batch.targets[name][row, token]])
    loss = labels(hidden, batch)
    assert float(loss) == pytest.approx(nats / (2 * 2 * 4), rel=1e-5)
    loss.backward()
    assert (hidden.grad[:, :4].abs().sum(-1) > 0).all()
    assert not hidden.grad[:, 4:].any()


def test_lexical_targets_ask_the_batch_for_nothing() -> None:
    tables = {("clusters", 3): [0, 1, 2, 2], ("random", 2): [1, 0, 1, 0]}
    labels = LabelSupervision(
        WIDTH, targets=["clusters:3", "random:2"], table=lambda kind, number: tables[kind, number]
    )
    assert labels.spec is None
    loss = labels(torch.randn(2, 5, WIDTH), Batch.of(torch.randint(4, (2, 5))))
    assert float(loss) == pytest.approx((math.log(3) + math.log(2)) / 2)


def brackets(gaps: list[int], first: int, end: int) -> list[tuple[int, int, int]]:
    """(first, split, end) of a span and all spans in it, by recursion: an independent reading of the gaps."""
    places = [place for place in range(first + 1, end) if gaps[place] != INSIDE_WORD]
    if not places:
        return []
    split = min(places, key=lambda place: (gaps[place], place))
    return [(first, split, end), *brackets(gaps, first, split), *brackets(gaps, split, end)]


def slow_loss(hidden: torch.Tensor, gaps: list[int]) -> float:
    """TreeReg of one row, written out."""

    def new(of: int, on: int) -> float:
        unit = F.normalize(hidden[on], dim=0)
        return float((hidden[of] - (hidden[of] @ unit) * unit).norm())

    starts = [place for place, gap in enumerate(gaps) if gap == 0 or place == 0]
    losses = []
    for begin, stop in zip(starts, [*starts[1:], len(gaps)], strict=True):
        for first, split, end in brackets(gaps, begin, stop):
            places = [place for place in range(first + 1, end) if gaps[place] != INSIDE_WORD]
            if len(places) < 2:
                continue
            scores = torch.tensor(
                [
                    (0.0 if first == begin else new(k - 1, first - 1)) + new(end - 1, k - 1) + new(k, k - 1)
                    for k in places
                ]
            )
            losses.append(-float(scores.log_softmax(0)[places.index(split)]))
    return sum(losses) / len(gaps)


TREES_OF_ROWS = {
    "one sentence": [0, 2, 1, 3, 2, 1, 2],
    "two sentences": [0, 1, 2, 2, 0, 2, 1, 3],
    "words of several tokens": [0, -1, 2, 1, -1, -1, 2, 3, 1],
    "many equal parts": [0, 1, 1, 1, 1, 1],
    "right branching": [0, 1, 2, 3, 4, 5],
    "left branching": [0, 5, 4, 3, 2, 1],
    "cut by the row": [3, 2, 4, 1, 2, 0, 1, 2],
    "cut in the middle": [1, 2, 3, 2, 4, 3, 0, 1, 2],
    "cut inside a word": [-1, 2, 3, 2, 1, 3, 0, 1, 2],
    "single words between": [0, 0, 0, 2, 1, 2, 0, 0],
    "deep": [0, 7, 9, 8, 2, 5, 3, 1, 4],
    "ends inside": [0, 1, 4, 3, -1, 2, 2, -1],
}


@pytest.mark.parametrize("case", list(TREES_OF_ROWS))
def test_tree_regularization_is_the_papers_recursion(case: str) -> None:
    gaps = TREES_OF_ROWS[case]
    trees = TreeRegularization(WIDTH, share=0.5)
    hidden = torch.randn(
        2, len(gaps) + 3, WIDTH, generator=torch.Generator().manual_seed(3), requires_grad=True
    )
    column = torch.tensor([[*gaps, 5, 0, 2]]).repeat(2, 1)
    loss = trees(hidden, batch_of({"gaps": column}, num_real=len(gaps)))
    expected = [slow_loss(hidden[row, : len(gaps), :8].detach(), gaps) for row in range(2)]
    assert float(loss) == pytest.approx(sum(expected) / 2, rel=1e-4)
    loss.backward()
    assert hidden.grad.isfinite().all()
    assert not hidden.grad[..., 8:].any()


def test_every_split_of_a_random_tree_finds_its_span() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        gaps = [0, *torch.randint(1, 6, (11,), generator=generator).tolist()]
        first, end = span_of_splits(torch.tensor([gaps]))
        for begin, split, stop in brackets(gaps, 0, len(gaps)):
            assert (int(first[0, split]), int(end[0, split])) == (begin, stop)


def test_orthogonal_parts_have_the_best_scores() -> None:
    hidden = torch.eye(6)[[0, 0, 1, 1]][None]  # two words that repeat each other, twice
    gaps = torch.tensor([[0, 1, 1, 1]])
    first, end = torch.zeros(1, 4, dtype=torch.long), torch.full((1, 4), 4)
    scores = split_scores(hidden, first, end, torch.ones(1, 4, dtype=torch.bool))[0, 0]
    assert int(scores[1:].argmax()) + 1 == 2
    assert gaps.shape == (1, 4)


def test_a_row_without_a_tree_costs_nothing_and_keeps_gradients_finite() -> None:
    hidden = torch.randn(1, 4, WIDTH, requires_grad=True)
    loss = TreeRegularization(WIDTH)(hidden, batch_of({"gaps": torch.zeros(1, 4, dtype=torch.long)}))
    loss.backward()
    assert float(loss) == 0
    assert not hidden.grad.any()


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
