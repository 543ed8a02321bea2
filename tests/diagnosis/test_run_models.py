"""Runs of hdiff as masked models: marginals of every head, joints, refusals, held-out text."""

from __future__ import annotations

from pathlib import Path
from typing import final

import pytest
import torch
from torch import Tensor

from hdiff.data.tokenizer import Tokenizer
from hdiff.diagnosis import HeldOut, diagnose
from hdiff.diagnosis.masked_model import log_probs_at
from hdiff.diagnosis.run_model import RunModel, subject_of_run
from hdiff.errors import CheckpointError, DataError
from hdiff.heads import AutoregressiveHead, CRFHead, Head, MixtureHead, ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.packed_spans import PackedSpans
from hdiff.recipe import load_recipe
from hdiff.runs.folder import RunFolder
from hdiff.training.build import build_training
from hdiff.training.trainer import fit

V, D = 11, 16
HEADS = {
    "product": lambda: ProductHead(V, D),
    "autoregressive": lambda: AutoregressiveHead(V, D, num_heads=2),
    "mixture": lambda: MixtureHead(V, D, num_components=3),
    "crf": lambda: CRFHead(V, D, rank=4),
}


@final
class SquaredHead(Head):
    """A head of somebody else: squares of the usual scores."""

    def log_prob(
        self, hidden: Tensor, targets: Tensor, spans: PackedSpans, *, support: Tensor | None = None
    ) -> Tensor:
        log_p = self.logits(hidden, support).square().log_softmax(-1)
        return spans.sum_tokens(log_p.gather(1, targets[:, None]).squeeze(1))

    def sample(self, hidden: Tensor, spans: PackedSpans, **options: object) -> Tensor:
        raise NotImplementedError


def shaken(head: Head) -> Head:
    """A head with weights that matter: some begin at zero."""
    torch.manual_seed(0)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return head.eval()


@pytest.mark.parametrize("name", [*HEADS, "own"])
def test_marginals_are_those_of_spans_of_one_token(name: str) -> None:
    head = shaken(SquaredHead(V, D) if name == "own" else HEADS[name]())
    hidden = torch.randn(6, D, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = head.token_log_probs(hidden)
        torch.testing.assert_close(found, Head.token_log_probs(head, hidden), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.exp().sum(-1), torch.ones(6))


@pytest.mark.parametrize("name", ["autoregressive", "mixture", "crf"])
def test_joints_of_neighbours_are_normalised_and_no_products(name: str) -> None:
    model = RunModel(Denoiser(Trunk(D, depth=1, num_heads=2), shaken(HEADS[name]())).eval())
    x_t = torch.tensor([[1, V, V, 4, 5], [2, 3, 4, V, V]])
    every = torch.cartesian_prod(torch.arange(V), torch.arange(V)).expand(2, -1, -1)
    joint = model.pair_log_probs(x_t, torch.tensor([1, 3]), every)
    torch.testing.assert_close(joint.exp().sum(-1), torch.ones(2))
    apart = model.log_probs(x_t, torch.ones_like(x_t, dtype=torch.bool))
    product = apart[0, 1][:, None] + apart[0, 2]
    assert (joint[0].view(V, V) - product).abs().max() > 0.01


def test_rows_of_several_lengths_do_not_see_their_padding() -> None:
    model = RunModel(Denoiser(Trunk(D, depth=2, num_heads=2), shaken(ProductHead(V, D))).eval())
    rows = [[1, V, V, 4], [2, V, V, 4, 5, 6, 7, 8], [V, V, V]]
    together = log_probs_at(model, rows, (1, 2))
    alone = torch.cat([log_probs_at(model, [row], (1, 2)) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert together.shape == (3, 2, V)


# --- runs -----------------------------------------------------------------------------------------

RECIPE = """
name: small
data: {{path: {data}, sequence_length: 32}}
model: {{width: 16, depth: 1, num_heads: 2}}
train: {{steps: 1, batch_size: 2, warmup_steps: 1}}
evaluation: {{blocks: 2, samples: 0}}
"""
SPANS = (
    "corruption={kind: span_masking, segmentation: random, lengths: {1: 0.5, 2: 0.5}}",
    "head={kind: autoregressive, num_heads: 2}",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path):
    """Makes run folders of one update each."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.yaml").write_text(RECIPE.format(data=prepared_folder))

    def make(name: str, *overrides: str) -> RunFolder:
        out = folder / name
        if not out.exists():
            fit(build_training(load_recipe(folder / "small.yaml", [f"output={out}", *overrides])))
        return RunFolder.load(out)

    return make


def test_runs_are_diagnosed_on_their_validation_split(runs) -> None:
    run = runs("spans", *SPANS)
    text = HeldOut.of_run(run)
    found = diagnose(subject_of_run(run), text, prefixes=4, pairs=3, seed=3)
    assert found.frequency_collapse.distance == list(range(1, 25))  # 32 tokens, 8 of them the prefix
    assert "24 masks in place of 128" in found.notes[0]
    assert (found.frequency_collapse.prefixes, found.pairs.count) == (4, 3)
    assert found.pairs.head_joint_recovers is not None
    again = diagnose(subject_of_run(run), text, prefixes=4, pairs=3, seed=3)
    assert again.as_json() == found.as_json()


def test_a_run_that_fills_tokens_apart_has_no_joint(runs) -> None:
    subject = subject_of_run(runs("tokens", "corruption={kind: token_masking}"))
    assert subject.joint is None
    assert subject.model.mask_id == subject.model.vocab_size


@pytest.mark.parametrize(
    ("corruption", "said"),
    [
        ("{kind: uniform_state}", "fills no masks from text on both sides"),
        ("{kind: block_masking, block_size: 4}", "fills no masks from text on both sides"),
        ("{kind: gaussian}", "fills no masks from text on both sides"),
        ("{kind: tree_cascade, levels: [phrase]}", "only after its type is"),
        ("{kind: soft_masking, num_classes: 4}", "only after its type is"),
    ],
)
def test_runs_without_marginals_of_masked_tokens_are_refused(runs, corruption: str, said: str) -> None:
    run = runs(corruption.split()[1].strip(",}"), f"corruption={corruption}")
    with pytest.raises(DataError, match=said) as refused:
        subject_of_run(run)
    assert "token_masking" in str(refused.value)


def test_autoregressive_runs_are_refused(runs) -> None:
    run = runs("judge", "model={kind: autoregressive, width: 16, depth: 1, num_heads: 2}")
    with pytest.raises(CheckpointError, match="holds an autoregressive model"):
        subject_of_run(run)


# --- text -----------------------------------------------------------------------------------------


def test_unigram_distribution_is_that_of_the_text_with_a_little_for_the_rest(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a a a b", encoding="utf-8")
    tokenizer = Tokenizer.train(["a b c"], "words")
    text = HeldOut.of_file(tmp_path / "text.txt", tokenizer, tokenizer.vocab_size)
    p = text.unigram().exp()
    a, b, c = (tokenizer.encode(word)[0][0] for word in "abc")
    assert float(p.sum()) == pytest.approx(1)
    assert float(p[a]) == pytest.approx(0.999 * 0.75 + 0.001 / 5)
    assert float(p[b]) == pytest.approx(0.999 * 0.25 + 0.001 / 5)
    assert float(p[c]) == pytest.approx(0.001 / 5)


def test_rows_of_a_text_do_not_overlap_and_spread_over_it(tmp_path: Path) -> None:
    names = [f"w{number}" for number in range(100)]
    (tmp_path / "text.txt").write_text(" ".join(names), encoding="utf-8")
    tokenizer = Tokenizer.train([" ".join(names)], "words")
    text = HeldOut.of_file(tmp_path / "text.txt", tokenizer, tokenizer.vocab_size)
    rows = text.rows(10, 4)
    assert [tokenizer.decode(row[:1]) for row in rows] == ["w0", "w20", "w50", "w70"]
    assert all(len(row) == 10 for row in rows)
    every = text.rows(10, 1000)
    assert sum(map(len, every)) == len({token for row in every for token in row}) == 100
    with pytest.raises(DataError, match="at least two pieces of 51"):
        text.rows(51, 4)


def test_files_that_hold_no_text_are_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(["a b c"], "words")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for name, said in (("empty.txt", "no token"), ("latin.txt", "UTF-8"), ("none.txt", "cannot read")):
        with pytest.raises(DataError, match=said):
            HeldOut.of_file(tmp_path / name, tokenizer, 5)


@pytest.mark.parametrize("option", ["prefixes", "pairs", "masks"])
def test_numbers_that_are_too_small_are_refused(runs, option: str) -> None:
    run = runs("tokens", "corruption={kind: token_masking}")
    with pytest.raises(DataError, match=f"{option} is 0"):
        diagnose(subject_of_run(run), HeldOut.of_run(run), **{option: 0})
