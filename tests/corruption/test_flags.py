"""Kinds of spans told apart: a flag at hidden tokens of parsed rows, mixed levels, an annealed share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stops import stop_at

from hdiff.audit import audit_one
from hdiff.cli import run as hdiff
from hdiff.control import Gap, Pattern, infill, rewrite
from hdiff.corruption import SpanMasking, TokenMasking, sample_times
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.evaluation.bounds import evaluate_bound
from hdiff.heads import AutoregressiveHead, ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.folder import RunFolder
from hdiff.samplers import AncestralSampler
from hdiff.sharing import PretrainedModel
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

V = 20
UNITS = {
    "word": torch.arange(12),
    "phrase": torch.arange(12) // 2,
    "clause": torch.arange(12) // 4,
}


def batch(rows: int = 2000) -> Batch:
    ids = {level: units.expand(rows, -1) for level, units in UNITS.items()}
    tokens = torch.randint(V, (rows, 12), generator=torch.Generator().manual_seed(1))
    return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), ids)


def spans(**options) -> SpanMasking:
    given = {"segmentation": "mixture", "lengths": {3: 1.0}, "mask_id": V, "flagged": True}
    return SpanMasking(**{**given, **options})


def corrupted(corruption: SpanMasking, rows: int = 2000, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    of = batch(rows)
    return corruption.corrupt(of, sample_times(of, generator=generator), generator=generator)


def test_flags_stand_at_hidden_tokens_of_parsed_rows_alone() -> None:
    found = corrupted(spans(parsed_fraction=0.25))
    assert not found.flags[~found.is_masked].any()
    kind = found.flags.amax(1)
    assert torch.equal(found.flags, kind[:, None] * found.is_masked)
    assert float((kind > 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    lengths = found.spans.length[kind[found.spans.row] > 0]
    assert set(lengths.tolist()) == {2}  # phrases
    assert 3 in found.spans.length[kind[found.spans.row] == 0]


def test_parsed_rows_draw_one_of_several_levels() -> None:
    found = corrupted(spans(parsed_fraction=0.9, more_levels=["clause", "word"]))
    kind = found.flags.amax(1)
    shares = kind.bincount(minlength=4) / len(kind)
    assert torch.allclose(shares, torch.tensor([0.1, 0.3, 0.3, 0.3]), atol=0.04)
    for number, length in enumerate((2, 4, 1), start=1):
        assert set(found.spans.length[kind[found.spans.row] == number].tolist()) == {length}


def test_nothing_of_it_is_in_the_bound() -> None:
    for corruption in (
        spans(parsed_fraction=0.5, more_levels=["clause"]),
        spans(segmentation="parsed"),
        spans(final_parsed_fraction=1.0),
    ):
        legal = corruption.unconditional()
        assert not legal.conditional_on_structure
        assert corrupted(legal).flags is None
    assert not [check for check in audit_one(spans(mask_id=3).unconditional()) if not check.passed]


def test_the_share_of_parsed_rows_changes_evenly() -> None:
    corruption = spans(parsed_fraction=0.8, final_parsed_fraction=0.2)
    for progress, share in ((0.0, 0.8), (0.5, 0.5), (1.0, 0.2)):
        found = corrupted(corruption.at(progress))
        assert float((found.flags.amax(1) > 0).float().mean()) == pytest.approx(share, abs=0.04)
    steady = spans()
    assert steady.at(0.7) is steady
    assert TokenMasking(mask_id=V).at(0.7).flag_levels == ()


def test_without_flags_rows_are_those_they_were() -> None:
    told, silent = corrupted(spans()), corrupted(spans(flagged=False))
    assert torch.equal(told.x_t, silent.x_t)
    assert silent.flags is None


def model(num_flags: int = 2) -> Denoiser:
    torch.manual_seed(0)
    head = AutoregressiveHead(V, 16, num_heads=2)
    return Denoiser(Trunk(16, depth=1, num_heads=2), head, num_flags=num_flags).eval()


def test_the_network_reads_the_flag_and_nothing_else_changes() -> None:
    denoiser, plain = model(), model(0)
    tokens = torch.full((1, 12), V)
    with torch.no_grad():
        silent = denoiser.hidden(tokens)
        assert torch.equal(silent, plain.hidden(tokens))
        assert torch.equal(silent, denoiser.hidden(tokens, flags=torch.zeros_like(tokens)))
        one, two = (denoiser.hidden(tokens, flags=torch.full_like(tokens, kind)) for kind in (1, 2))
        assert (one - silent).abs().mean() > 0.1  # as loud as a token
        assert (one - two).abs().mean() > 0.1
    found = corrupted(spans(parsed_fraction=1.0, more_levels=["clause"]), rows=4)
    denoiser(found).log_prob.sum().backward()
    assert (denoiser.flag_embedding.weight.grad.abs().sum(1) > 0).any()


def test_asking_counts_where_tokens_are_hidden_and_leaves_the_model_alone() -> None:
    denoiser = model()
    tokens = torch.randint(V, (1, 12))
    tokens[:, 4:7] = V
    flags = torch.ones(12, dtype=torch.long)
    with torch.no_grad():
        asked = denoiser.asking(flags).hidden(tokens)
        expected = denoiser.hidden(tokens, flags=flags * (tokens == V))
        assert torch.equal(asked, expected)
        cached, _ = denoiser.asking(flags).cached_hidden(tokens, None, None, tokens == V)
        assert torch.allclose(cached, expected, atol=1e-6)
        assert not torch.equal(denoiser.hidden(tokens), asked)
    with pytest.raises(DataError, match="the model tells 2 kinds"):
        denoiser.asking(3 * flags)


WRONG = {
    "level twice": ({"more_levels": ["phrase"]}, "level 'phrase' is given twice"),
    "levels twice": ({"more_levels": ["clause", "clause"]}, "level 'clause' is given twice"),
    "no level": ({"more_levels": ["noun"]}, "unknown level 'noun'"),
    "random": ({"segmentation": "random"}, "nothing to flag"),
    "random levels": (
        {"segmentation": "random", "flagged": False, "more_levels": ["word"]},
        "no level to mix",
    ),
    "share": ({"final_parsed_fraction": 1.5}, "final_parsed_fraction is 1.5"),
    "negative": ({"final_parsed_fraction": -0.1}, "final_parsed_fraction is -0.1"),
    "first share": ({"parsed_fraction": 2}, "parsed_fraction is 2"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_wrong_options_are_refused(case: str) -> None:
    options, message = WRONG[case]
    with pytest.raises(DataError, match=message):
        spans(**options)


RECIPE = """
name: small
output: {output}
data: {{path: {data}, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2}}
head: {{kind: autoregressive, num_heads: 2}}
corruption: {{kind: span_masking, segmentation: mixture, lengths: [1, 1, 1], flagged: true,
  more_levels: [clause], parsed_fraction: 0.5, final_parsed_fraction: 0.0}}
train: {{steps: 4, batch_size: 4, warmup_steps: 1, ema_decay: 0.5, log_every: 1, checkpoint_every: 2}}
evaluation: {{steps: [1], blocks: 8, draws: 2, samples: 0}}
"""


@pytest.fixture(scope="module")
def trained(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flags")
    file = folder / "small.yaml"
    file.write_text(RECIPE.format(output=folder / "run", data=prepared_folder))
    fit(build_training(load_recipe(file, [])))
    trainer = build_training(load_recipe(file, [f"output={folder / 'other'}"]))
    assert fit(trainer, before_update=stop_at(2)).stopped_by == 15
    fit(build_training(load_recipe(file, [f"output={folder / 'other'}", "resume=auto"])))
    return folder


def test_runs_resume_and_are_exported_with_their_flags(trained: Path) -> None:
    folders = (trained / "run", trained / "other")
    one, other = (load_checkpoint(folder / "checkpoints").tensors["model"] for folder in folders)
    assert all(torch.equal(one[name], other[name]) for name in one)
    run = RunFolder.load(trained / "run")
    assert run.corruption.flag_levels == ("phrase", "clause")
    pretrained = PretrainedModel.of_run(run)
    pretrained.save_pretrained(trained / "shared")
    shared = PretrainedModel.from_pretrained(trained / "shared").model
    assert torch.equal(shared.flag_embedding.weight, run.model.flag_embedding.weight)


def test_the_bound_of_a_run_knows_no_flag(trained: Path) -> None:
    run = RunFolder.load(trained / "run")
    from hdiff.data.packing import PackedBlocks
    from hdiff.data.prepared import PreparedData

    data = PreparedData.load(run.recipe.data.path)
    blocks = PackedBlocks.build(data, "validation", sequence_length=32, levels=("phrase", "clause"))
    legal = run.corruption.unconditional()
    before = evaluate_bound(run.model, blocks, legal, run.recipe.evaluation).nats_per_token
    with torch.no_grad():
        run.model.flag_embedding.weight.normal_()
    assert evaluate_bound(run.model, blocks, legal, run.recipe.evaluation).nats_per_token == before


def test_control_asks_for_a_phrase(trained: Path, capsys) -> None:
    run = RunFolder.load(trained / "run")
    generator = torch.Generator().manual_seed(0)
    given = (run.denoiser, run.corruption, run.tokenizer, AncestralSampler(1))
    pattern = Pattern.parse("The [phrase 2-3] is [2] a [clause 2].", run.tokenizer)
    assert [gap.kind for gap in pattern.gaps] == ["phrase", None, "clause"]
    flags = pattern.flags((3, 2, 2), run.corruption.flag_levels)
    row = torch.tensor(pattern.row((3, 2, 2), mask_id=run.denoiser.mask_id, eos_id=0))
    asked = row == run.denoiser.mask_id
    assert flags[asked].tolist() == [1, 1, 1, 0, 0, 2, 2]
    assert not flags[~asked].any()
    assert len(infill(*given, pattern, num_samples=2, generator=generator).texts) == 2

    told, silent = (
        infill(*given, f"The [{kind}3] is", generator=torch.Generator().manual_seed(0)).scores[0]
        for kind in ("phrase ", "")
    )
    assert told != silent
    with torch.no_grad():
        run.model.flag_embedding.weight.zero_()
    again = infill(*given, "The [phrase 3] is", generator=torch.Generator().manual_seed(0)).scores[0]
    assert again == silent
    assert rewrite(*given, "The class is here", "class", generator=generator).texts
    with pytest.raises(DataError, match=r"a gap asks for a sentence, the model tells phrase, clause;"):
        infill(*given, "The [sentence 3] is")
    path = str(trained / "run")
    assert hdiff(["sample", path, "--num", "1", "--steps", "1", "--infill", "The [phrase 3] is"]) == 0
    assert (
        hdiff(
            ["sample", path, "--num", "1", "--steps", "1", "--rewrite", "It is a class", "--phrase", "class"]
        )
        == 0
    )
    assert hdiff(["sample", path, "--num", "1", "--infill", "The [word 3] is"]) == 2
    assert "leave the word out" in capsys.readouterr().err.replace("\n", " ")


def test_a_model_without_flags_says_so() -> None:
    pattern = Pattern((Gap(2, 2, "phrase"),))
    with pytest.raises(
        DataError, match="the model tells no kinds of units; leave the word out, or train with"
    ):
        pattern.flags((2,), ())
    assert Pattern((Gap(2, 2),)).flags((2,), ()) is None
    assert ProductHead(3, 16).factors is None
