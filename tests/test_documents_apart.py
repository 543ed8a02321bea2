"""Documents apart: what one costs does not change with its neighbours, and recipes say so or refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hdiff.cli import run as hdiff
from hdiff.corruption import Corrupted, SpanMasking, TokenMasking
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.errors import DataError
from hdiff.heads import AutoregressiveHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.objectives.t_step import t_step_corrupted
from hdiff.samplers import AncestralSampler

VOCAB = 20
DOCUMENTS = torch.tensor([[0] * 4 + [1] * 5 + [2] * 3]).expand(8, -1)
CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture
def model() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(Trunk(32, depth=2, num_heads=2), AutoregressiveHead(VOCAB, 32)).eval()


@pytest.fixture
def batches() -> list[Batch]:
    """Two batches with the same middle document between other ones."""
    ids = torch.randint(0, VOCAB, (8, 12), generator=torch.Generator().manual_seed(1))
    others = torch.randint(0, VOCAB, (8, 12), generator=torch.Generator().manual_seed(2))
    rows = (ids, torch.where(DOCUMENTS == 1, ids, others))
    return [replace(Batch.of(row), document_ids=DOCUMENTS) for row in rows]


def middle(model: Denoiser, corrupted: Corrupted) -> torch.Tensor:
    """log p of the spans of the middle document."""
    spans = corrupted.spans
    log_prob: torch.Tensor = model(corrupted).log_prob
    return log_prob[spans.gather(DOCUMENTS)[spans.offset == 0] == 1]


def test_scores_of_a_document_do_not_change_with_its_neighbours(
    model: Denoiser, batches: list[Batch]
) -> None:
    corruption = SpanMasking(segmentation="random", lengths={3: 1.0}, mask_id=VOCAB)
    scores, scores_of_steps = [], []
    for batch in batches:
        g = torch.Generator().manual_seed(3)
        corrupted = corruption.corrupt(batch, torch.full((8,), 0.7), generator=g)
        documents = corrupted.spans.gather(DOCUMENTS)
        first = documents[corrupted.spans.offset == 0]
        assert torch.equal(documents, first[corrupted.spans.span_index]), "a span holds two documents"
        scores.append(middle(model, corrupted))
        u = torch.full((8,), 0.4)
        steps = t_step_corrupted(batch, corruption, u, num_steps=3, generator=g)
        scores_of_steps.append(middle(model, steps))
    assert len(scores[0]) > 3
    assert torch.equal(*scores)
    assert torch.equal(*scores_of_steps)


def test_a_sampler_scores_a_document_the_same_beside_others(model: Denoiser, batches: list[Batch]) -> None:
    def nats(batch: Batch) -> torch.Tensor:
        """Of the middle document, which alone is hidden."""
        sampler, g = AncestralSampler(3), torch.Generator().manual_seed(4)
        corruption = TokenMasking(mask_id=VOCAB)
        return sampler.score(model, corruption, batch, is_hidden=DOCUMENTS == 1, generator=g).nats

    assert torch.equal(*(nats(batch) for batch in batches))
    assert not torch.equal(*(nats(replace(batch, document_ids=None)) for batch in batches))


def test_a_cache_of_the_trunk_is_refused(model: Denoiser, batches: list[Batch]) -> None:
    sampler = AncestralSampler(3, refresh=2)
    with pytest.raises(DataError, match=r"refresh is 2 and the rows hold documents apart; .* use refresh: 1"):
        sampler.score(model, TokenMasking(mask_id=VOCAB), batches[0])


def test_rows_tell_the_document_of_each_token(prepared_folder: Path) -> None:
    prepared = PreparedData.load(prepared_folder)
    assert PackedBlocks.build(prepared, "train", sequence_length=32).batch([0]).document_ids is None
    blocks = PackedBlocks.build(prepared, "train", sequence_length=32, cross_documents=False)
    batch = blocks.batch(range(len(blocks)))
    assert batch.document_ids is not None
    assert torch.equal(batch.document_ids == -1, ~batch.token_mask)
    borders = (batch.document_ids.diff(dim=1) == 1) & batch.token_mask[:, 1:]
    ends = batch.input_ids[:, :-1] == blocks.eos_id
    assert torch.equal(borders, ends & batch.token_mask[:, 1:])  # after every end mark, nowhere else
    assert bool(borders.any())


def test_recipes_keep_documents_apart_or_say_why_not(
    prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(CHECKOUT / "recipes" / "quickstart.yaml")
    tiny = [
        "model={width: 16, depth: 1, num_heads: 2}",
        "train={steps: 4, batch_size: 4, warmup_steps: 2}",
        "data.sequence_length=32",
        "head.num_heads=2",
        "evaluation={blocks: 4, steps: [1, 2], samples: 2, draws: 2}",
        f"data.path={prepared_folder}",
        f"output={tmp_path / 'run'}",
        "-q",
    ]
    assert hdiff(["train", recipe, *tiny, "data.cross_documents=false"]) == 0
    assert hdiff(["eval", str(tmp_path / "run"), "-q"]) == 0
    evaluation = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert 0 < evaluation["bound"]["nats_per_token"] < 10
    for change in ("corruption={kind: tree_cascade}", "corruption={kind: block_masking}"):
        capsys.readouterr()
        words = [*tiny, "data.cross_documents=false", change, "head={kind: product}"]
        assert hdiff(["train", recipe, *words, f"output={tmp_path / 'other'}"]) == 2
        assert "reads whole rows; use data.cross_documents=true" in capsys.readouterr().err
