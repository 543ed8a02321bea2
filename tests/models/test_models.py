"""Networks: no leak, no influence of padding, attention equal to its definition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hdiff.corruption import SpanMasking, TokenMasking
from hdiff.data.batch import Batch
from hdiff.heads import HEADS, AutoregressiveHead, ProductHead
from hdiff.layers.attention import available_backends
from hdiff.layers.trunk import Trunk
from hdiff.models.autoregressive import Autoregressive
from hdiff.models.denoiser import Denoiser

VOCAB = 20


def denoiser_of(head: str) -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(Trunk(32, depth=2, num_heads=2), HEADS[head](VOCAB, 32)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.2)
    return model


@pytest.mark.parametrize("head", list(HEADS))
def test_hidden_tokens_of_other_spans_do_not_leak(head: str, generator: torch.Generator) -> None:
    """Changing the clean tokens of one masked span changes the score of no other span."""
    batch = Batch.of(torch.randint(0, VOCAB, (4, 12), generator=generator))
    corruption = SpanMasking(segmentation="random", lengths={3: 1.0}, mask_id=VOCAB)
    corrupted = corruption.corrupt(batch, torch.full((4,), 0.8), generator=generator)
    model = denoiser_of(head)
    before = model(corrupted).log_prob
    first = corrupted.spans.token_index[corrupted.spans.span_index == 0]
    changed_x_0 = corrupted.x_0.flatten().index_fill(0, first, 7).view_as(corrupted.x_0)
    after = model(replace(corrupted, x_0=changed_x_0)).log_prob
    assert torch.equal(before[1:], after[1:])
    assert not torch.equal(before[:1], after[:1])


@pytest.mark.parametrize("head", list(HEADS))
def test_structure_of_the_batch_changes_no_input_of_the_network(
    head: str, generator: torch.Generator
) -> None:
    """Other unit ids and salience, same masks and same spans: bit-equal scores."""
    ids = torch.randint(0, VOCAB, (4, 12), generator=generator)
    units = torch.arange(12).div(3, rounding_mode="floor").expand(4, -1)
    batch = Batch(ids, torch.ones(4, 12, dtype=torch.bool), {"phrase": units}, salience=torch.rand(4, 12))
    other = replace(batch, unit_ids={"phrase": torch.zeros_like(units)}, salience=torch.zeros(4, 12))
    corruption = SpanMasking(segmentation="random", lengths={3: 1.0}, mask_id=VOCAB)
    t = torch.full((4,), 0.6)
    model = denoiser_of(head)
    one = model(corruption.corrupt(batch, t, generator=torch.Generator().manual_seed(1))).log_prob
    two = model(corruption.corrupt(other, t, generator=torch.Generator().manual_seed(1))).log_prob
    assert torch.equal(one, two)


def test_padding_changes_nothing(generator: torch.Generator) -> None:
    ids = torch.randint(0, VOCAB, (2, 8), generator=generator)
    padded = torch.cat([ids, torch.randint(0, VOCAB, (2, 4), generator=generator)], 1)
    mask = torch.arange(12).expand(2, -1) < 8
    model = denoiser_of("product")
    assert torch.allclose(model.hidden(padded, mask)[:, :8], model.hidden(ids), atol=1e-5)
    judge = Autoregressive(Trunk(32, depth=2, num_heads=2, causal=True), ProductHead(VOCAB, 32))
    short, long = judge(Batch.of(ids)), judge(Batch(padded, mask))
    assert torch.allclose(long[:, :8], short, atol=1e-5)
    assert bool((long[:, 8:] == 0).all())


def test_a_document_does_not_depend_on_its_neighbours(generator: torch.Generator) -> None:
    """Other tokens beside it change no bit; another place in the row changes rounding only."""
    model = denoiser_of("product")
    row = torch.randint(0, VOCAB, (1, 12), generator=generator)
    documents = torch.tensor([[0] * 4 + [1] * 5 + [2] * 3])
    is_own = documents == 1
    others = torch.randint(0, VOCAB, (1, 12), generator=generator)
    before = model.hidden(row, document_ids=documents)
    after = model.hidden(torch.where(is_own, row, others), document_ids=documents)
    assert torch.equal(before[is_own], after[is_own])
    alone = model.hidden(row[:, 4:9])
    assert torch.allclose(before[:, 4:9], alone, atol=1e-5)
    assert not torch.allclose(model.hidden(row)[:, 4:9], alone, atol=1e-2)
    padded = model.hidden(row, document_ids=documents.masked_fill(documents == 2, -1))
    assert torch.equal(before[is_own], padded[is_own])


def test_autoregressive_model_sees_only_earlier_tokens(generator: torch.Generator) -> None:
    judge = Autoregressive(Trunk(32, depth=2, num_heads=2, causal=True), ProductHead(VOCAB, 32))
    ids = torch.randint(0, VOCAB, (1, 10), generator=generator)
    changed = ids.clone()
    changed[0, 6] = (changed[0, 6] + 1) % VOCAB
    assert torch.allclose(judge(Batch.of(ids))[:, :6], judge(Batch.of(changed))[:, :6], atol=1e-6)


def test_backends_are_tried_and_named() -> None:
    found = available_backends()
    assert found["reference"] == "ok"
    assert found["torch"] == "ok"
    assert found["xformers"]


def test_width_that_does_not_divide_is_refused() -> None:
    from hdiff.errors import RecipeError

    with pytest.raises(RecipeError, match="multiple of 6"):
        Trunk(32, num_heads=3)
    with pytest.raises(RecipeError, match="num_layers"):
        AutoregressiveHead(VOCAB, 32, num_layers=0)


def test_only_masked_tokens_are_scored(generator: torch.Generator) -> None:
    batch = Batch.of(torch.randint(0, VOCAB, (4, 12), generator=generator))
    corrupted = TokenMasking(mask_id=VOCAB).corrupt(batch, torch.full((4,), 0.5), generator=generator)
    assert denoiser_of("product")(corrupted).log_prob.shape == (24,)
