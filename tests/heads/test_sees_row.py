"""A head that sees the row: the same parameters, the same kind of joint, attention to the trunk's output."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from stops import stop_at

from hdiff.audit import audit_one
from hdiff.cli import run as hdiff
from hdiff.corruption import SpanMasking
from hdiff.errors import DataError, RecipeError
from hdiff.heads import AutoregressiveHead, Sampling
from hdiff.layers.attention import row_attention
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.packed_spans import PackedSpans
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.folder import RunFolder
from hdiff.sharing import PretrainedModel
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

V, D, L = 3, 16, 7


def head_of(*, sees_row: bool = True, num_layers: int = 2) -> AutoregressiveHead:
    torch.manual_seed(0)
    head = AutoregressiveHead(V, D, num_layers=num_layers, num_heads=2, sees_row=sees_row)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.5)
    return head


def spans_of(units: list[list[int]], selected: list[list[int]]) -> PackedSpans:
    return PackedSpans.from_units(torch.tensor(units), torch.tensor(selected, dtype=torch.bool))


UNITS = [[0, 1, 1, 2, 3, 3, 3], [0, 0, 0, 1, 2, 2, 3]]
SELECTED = [[0, 1, 1, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 0]]


def test_it_has_no_parameter_more_and_reads_the_row(generator: torch.Generator) -> None:
    seeing, blind = head_of(), head_of(sees_row=False)
    shapes = [{name: p.shape for name, p in head.named_parameters()} for head in (seeing, blind)]
    assert shapes[0] == shapes[1]
    hidden = torch.randn(2, L, D, generator=generator)
    packed, spans = spans_of(UNITS, SELECTED).read(hidden)
    targets = torch.randint(V, (len(packed),), generator=generator)
    before = seeing.log_prob(packed, targets, spans)
    assert not torch.allclose(before, blind.log_prob(packed, targets, spans))
    changed = hidden.clone()
    changed[0, 0] = -changed[0, 0]  # a visible place of row 0 that no span holds
    _, moved = spans.read(changed)
    after = seeing.log_prob(packed, targets, moved)
    assert not torch.isclose(after[:2], before[:2]).any()
    assert torch.allclose(after[2:], before[2:])  # row 1 is another one
    assert torch.equal(blind.log_prob(packed, targets, moved), blind.log_prob(packed, targets, spans))


def test_its_attention_is_one_softmax_over_the_row_and_the_span_so_far(generator: torch.Generator) -> None:
    spans = spans_of(UNITS, SELECTED)
    size, heads, width = len(spans.token_index), 2, 4
    query, key, value = (torch.randn(size, heads, width, generator=generator) for _ in range(3))
    row_key, row_value = (torch.randn(2, L, heads, width, generator=generator) for _ in range(2))
    visible = torch.rand(2, L, generator=generator) < 0.7
    found = row_attention(query, key, value, spans, row_key, row_value, visible)
    for token in range(size):
        row, place = divmod(int(spans.token_index[token]), L)
        seen = [other for other in range(L) if visible[row, other] or other == place]
        own = [
            other
            for other in range(size)
            if spans.span_index[other] == spans.span_index[token] and other <= token
        ]
        keys = torch.cat([row_key[row, seen], key[own]])
        values = torch.cat([row_value[row, seen], value[own]])
        weight = (torch.einsum("he,nhe->nh", query[token], keys) / width**0.5).softmax(0)
        assert torch.allclose(found[token], torch.einsum("nh,nhe->he", weight, values), atol=1e-5)


def test_every_span_has_a_normalised_joint(generator: torch.Generator) -> None:
    head = head_of()
    hidden = torch.randn(1, L, D, generator=generator)
    packed, spans = spans_of([UNITS[0]], [[0, 0, 0, 0, 1, 1, 1]]).read(hidden)
    total = sum(
        float(head.log_prob(packed, torch.tensor(string), spans).detach().exp())
        for string in itertools.product(range(V), repeat=3)
    )
    assert total == pytest.approx(1.0, abs=1e-5)


def test_spans_of_a_row_do_not_see_each_others_tokens(generator: torch.Generator) -> None:
    head = head_of()
    hidden = torch.randn(2, L, D, generator=generator)
    packed, spans = spans_of(UNITS, SELECTED).read(hidden)
    targets = torch.randint(V, (len(packed),), generator=generator)
    before = head.log_prob(packed, targets, spans)
    others = targets.clone()
    others[spans.span_index != 1] = (others[spans.span_index != 1] + 1) % V
    assert torch.allclose(head.log_prob(packed, others, spans)[1], before[1])


def test_what_is_not_there_is_not_seen(generator: torch.Generator) -> None:
    head = head_of()
    hidden = torch.randn(1, L, D, generator=generator)
    longer = torch.cat([hidden, torch.zeros(1, 3, D)], 1)
    units = UNITS[0]
    packed, spans = spans_of([units], [SELECTED[0]]).read(hidden)
    _, padded = spans_of([[*units, 4, 5, 6]], [[*SELECTED[0], 0, 0, 0]]).read(longer)
    targets = torch.randint(V, (len(packed),), generator=generator)
    assert torch.allclose(
        head.log_prob(packed, targets, padded), head.log_prob(packed, targets, spans), atol=1e-6
    )
    torch.manual_seed(0)
    denoiser = Denoiser(Trunk(D, depth=1, num_heads=2), head).eval()
    tokens = torch.randint(V, (1, L + 2))
    mask = torch.arange(L + 2)[None] < L
    assert not denoiser.hidden(tokens, mask)[:, L:].any()


def test_samples_follow_the_joint(generator: torch.Generator) -> None:
    head = head_of()
    count = 20_000
    hidden = torch.randn(1, 4, D, generator=generator)
    units, selected = [[0, 1, 1, 2]], [[0, 1, 1, 0]]
    packed, spans = spans_of(units, selected).read(hidden)
    log_prob = [
        float(head.log_prob(packed, torch.tensor(string), spans).detach())
        for string in itertools.product(range(V), repeat=2)
    ]
    many = spans_of(units * count, selected * count).read(hidden.expand(count, -1, -1))
    drawn = head.sample(*many, generator=generator).view(count, 2)
    found = (drawn[:, 0] * V + drawn[:, 1]).bincount(minlength=V * V)
    expected = torch.tensor(log_prob).exp() * count
    assert ((found - expected) ** 2 / expected).sum() < V * V + 5 * (2 * V * V) ** 0.5
    likely = head.sample(*many, sampling=Sampling(top_k=1), generator=generator).view(count, 2)
    assert (likely == likely[0]).all()


def test_single_tokens_are_scored_in_one_look(generator: torch.Generator) -> None:
    head = head_of()
    hidden = torch.randn(2, L, D, generator=generator)
    table = head.token_log_probs(*PackedSpans.every_token(hidden))
    packed, spans = spans_of([[*range(L)]] * 2, [[0, 0, 1, 0, 0, 0, 0]] * 2).read(hidden)
    for value in range(V):
        found = head.log_prob(packed, torch.full((2,), value), spans)
        assert torch.allclose(found, table.view(2, L, V)[:, 2, value], atol=1e-5)


def test_without_the_row_it_says_what_to_give(generator: torch.Generator) -> None:
    spans = spans_of([UNITS[0]], [SELECTED[0]])
    with pytest.raises(DataError, match=r"give it what spans.read\(hidden\) returns"):
        head_of().log_prob(torch.randn(5, D), torch.zeros(5, dtype=torch.long), spans)


def test_the_audit_passes() -> None:
    spans = SpanMasking(segmentation="random", lengths={1: 0.4, 2: 0.4, 3: 0.2}, mask_id=3)
    checks = audit_one(spans, {"kind": "autoregressive", "sees_row": True})
    assert [check.name for check in checks if not check.passed] == []
    assert {"bound_above_entropy", "network_leak"} <= {check.name for check in checks}


RECIPE = """
name: small
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2}}
head: {{kind: autoregressive, num_heads: 2, sees_row: true, num_layers: 2}}
corruption: {{kind: span_masking, segmentation: random, lengths: [1, 1, 1]}}
planner: {{}}
train: {{steps: 4, batch_size: 4, warmup_steps: 1, ema_decay: 0.5, log_every: 1, checkpoint_every: 2}}
evaluation: {{steps: [1, 4], blocks: 8, draws: 2, samples: 4}}
"""


def recipe(folder: Path, data: Path, *overrides: str):
    file = folder / "small.yaml"
    file.write_text(RECIPE.format(output=folder / "run", data=data))
    return load_recipe(file, list(overrides))


@pytest.fixture(scope="module")
def run(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("row")
    fit(build_training(recipe(folder, prepared_folder)))
    return folder / "run"


def test_it_resumes_to_the_same_numbers(run: Path, prepared_folder: Path, tmp_path: Path) -> None:
    trainer = build_training(recipe(tmp_path, prepared_folder))
    assert fit(trainer, before_update=stop_at(2)).stopped_by == 15
    fit(build_training(recipe(tmp_path, prepared_folder, "resume=auto")))
    one, other = (load_checkpoint(path / "checkpoints").tensors["model"] for path in (run, tmp_path / "run"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "sampler",
    [
        "{kind: ancestral, lengths: {2: 1.0}}",
        "{kind: confidence, num_steps: 4}",
        "{kind: entropy_bounded, gamma: 1.0}",
        "{kind: planned, order: confidence}",
        "{kind: planned, order: entropy}",
        "{kind: planned, use: apart, refresh: 2}",
        "{kind: remasking}",
    ],
)
def test_every_sampler_draws_with_it(sampler: str, run: Path, tmp_path: Path, capsys) -> None:
    finds_steps = "num_steps" in sampler or "gamma" in sampler
    options = ["--sampler", sampler, *([] if finds_steps else ["--steps", "4"])]
    out = str(tmp_path / "eval.json")
    assert hdiff(["eval", str(run), *options, "--output", out]) == 0, capsys.readouterr()
    assert hdiff(["sample", str(run), "--num", "1", *options]) == 0, capsys.readouterr()


def test_it_is_analysed_diagnosed_filled_and_exported(run: Path, tmp_path: Path, capsys) -> None:
    assert hdiff(["sample", str(run), "--num", "1", "--steps", "1", "--infill", "The [2-3] is"]) == 0
    assert hdiff(["report", str(run)]) == 0, capsys.readouterr()
    loaded = RunFolder.load(run)
    pretrained = PretrainedModel.of_run(loaded)
    pretrained.save_pretrained(tmp_path / "shared")
    shared = PretrainedModel.from_pretrained(tmp_path / "shared").model
    assert shared.head.sees_row


WRONG = {
    "corruption={kind: block_masking, block_size: 3}": "sees_row with block_masking",
    "data.cross_documents=false": "sees_row with data.cross_documents: false",
    "head={kind: product, sees_row: true}": "no key 'sees_row' in head of kind 'product'",
    "head={kind: autoregressive, sees_row: 1}": "head.sees_row is 1",
}


@pytest.mark.parametrize("override", list(WRONG))
def test_where_it_cannot_be_it_is_refused(override: str, prepared_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        build_training(recipe(tmp_path, prepared_folder, "planner=null", override))
    assert WRONG[override] in str(error.value)


def test_types_are_predicted_with_it_too(prepared_folder: Path, tmp_path: Path) -> None:
    cascade = "corruption={kind: tree_cascade, levels: [phrase], unit: node}"
    head = "type_head={kind: autoregressive, sees_row: true, num_heads: 2}"
    fit(build_training(recipe(tmp_path, prepared_folder, "planner=null", cascade, head)))
    assert hdiff(["sample", str(tmp_path / "run"), "--num", "1", "--steps", "4"]) == 0
