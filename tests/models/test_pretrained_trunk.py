"""Checkpoints of transformers as trunks: visible both ways, their own scores, trained and shared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_transformers import CLASSES, SHAPE, checkpoint, recipe, transformers
from word_tokenizer import words

from hdiff.corruption import SpanMasking, sample_times
from hdiff.data.batch import Batch
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError, RecipeError
from hdiff.factory import build_model
from hdiff.models.pretrained_checkpoint import load_trunk
from hdiff.objectives import nelbo


@pytest.mark.parametrize("kind", list(CLASSES))
def test_a_later_token_changes_earlier_outputs(kind: str, tmp_path: Path) -> None:
    checkpoint(kind, tmp_path, words())
    trunk, _ = load_trunk(str(tmp_path))
    trunk.eval()
    row = torch.randn(1, 7, 32)
    later, earlier = row.clone(), row.clone()
    later[:, -1] *= -1
    earlier[:, 0] *= -1
    before, after_later, after_earlier = trunk(row), trunk(later), trunk(earlier)
    assert not torch.allclose(before[:, 0], after_later[:, 0], atol=1e-4)
    assert not torch.allclose(before[:, -1], after_earlier[:, -1], atol=1e-4)


@pytest.mark.parametrize("kind", list(CLASSES))
def test_padding_is_not_seen(kind: str, tmp_path: Path) -> None:
    checkpoint(kind, tmp_path, words())
    trunk, _ = load_trunk(str(tmp_path))
    trunk.eval()
    row, token_mask = torch.randn(2, 7, 32), torch.ones(2, 7, dtype=torch.bool)
    token_mask[0, 5:] = False
    other = row.clone()
    other[0, 5:] *= -1
    assert torch.allclose(trunk(row, token_mask)[0, :5], trunk(other, token_mask)[0, :5], atol=1e-6)
    assert torch.allclose(trunk(row, token_mask)[1], trunk(row[1:])[0], atol=1e-5)
    assert torch.allclose(trunk(row, token_mask)[0, :5], trunk(row[:1, :5])[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_a_product_head_starts_with_the_scores_of_the_checkpoint(kind: str, tmp_path: Path) -> None:
    """Number for number those of transformers at its own mask: nothing of the training is lost."""
    tokenizer = words()
    theirs = checkpoint(kind, tmp_path, tokenizer)
    size = tokenizer.vocab_size
    model = build_model(recipe(tmp_path), size).eval()
    tokens = torch.randint(5, size, (3, 10), generator=torch.Generator().manual_seed(1))
    is_masked = torch.rand(3, 10, generator=torch.Generator().manual_seed(2)) < 0.4
    mask = tokenizer.backend.token_to_id("[MASK]")
    with torch.no_grad():
        expected = theirs(input_ids=tokens.masked_fill(is_masked, mask)).logits[..., :size]
        found = model.head.logits(model.hidden(tokens.masked_fill(is_masked, size)))  # type: ignore[union-attr, operator, call-arg, misc]
    assert expected.std() > 0.1
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("kind", list(CLASSES))
def test_every_weight_of_the_network_is_the_checkpoints_and_learns(kind: str, tmp_path: Path) -> None:
    theirs = checkpoint(kind, tmp_path, words())
    trunk, table = load_trunk(str(tmp_path))
    given = dict(theirs.base_model.named_parameters())
    for name, value in trunk.encoder.named_parameters():
        assert torch.equal(value, given[name]), name
    dropped = set(given) - set(dict(trunk.encoder.named_parameters()))
    assert all("embed" in name or "pooler" in name for name in dropped)
    assert len(table.rows) == words().vocab_size + 1
    trunk(torch.randn(1, 5, 32)).sum().backward()
    assert all(value.grad is not None for value in trunk.parameters())


def test_the_hidden_token_of_a_decoder_is_the_mean_of_all(tmp_path: Path, prepared_folder: Path) -> None:
    tokenizer = Tokenizer.load(prepared_folder)  # without a mask
    theirs = checkpoint("llama", tmp_path, tokenizer)
    _, table = load_trunk(str(tmp_path))
    rows = theirs.get_input_embeddings().weight[: tokenizer.vocab_size]
    assert torch.allclose(table.rows[-1], rows.mean(0))
    assert table.bias is None


@pytest.mark.parametrize("kind", list(CLASSES))
def test_a_short_training_lowers_the_loss(kind: str, tmp_path: Path) -> None:
    tokenizer = words()
    checkpoint(kind, tmp_path, tokenizer)
    model = build_model(recipe(tmp_path), tokenizer.vocab_size)
    corruption = SpanMasking(segmentation="random", lengths={1: 0.5, 2: 0.5}, mask_id=tokenizer.vocab_size)
    ids, _ = tokenizer.encode("the old dog that barked all night slept in a park")
    batch = Batch.of(torch.tensor([ids] * 16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(40):
        corrupted = corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
        loss = nelbo(model(corrupted), batch, corrupted).mean  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_dropout_is_that_of_the_recipe(tmp_path: Path) -> None:
    checkpoint("bert", tmp_path, words())
    row = torch.randn(1, 6, 32)
    quiet = load_trunk(str(tmp_path))[0].train()
    assert torch.equal(quiet(row), quiet(row)), "BERT's own dropout of 0.1 is off"
    noisy = load_trunk(str(tmp_path), dropout=0.5)[0].train()
    assert not torch.equal(noisy(row), noisy(row))


@pytest.mark.parametrize("kind", list(CLASSES))
def test_a_text_longer_than_the_positions_is_refused_with_how_many_there_are(
    kind: str, tmp_path: Path
) -> None:
    checkpoint(kind, tmp_path, words())
    trunk, _ = load_trunk(str(tmp_path))
    assert trunk(torch.randn(1, 64, 32)).shape == (1, 64, 32)
    with pytest.raises(DataError, match=r"65 tokens, the pretrained trunk has 64 positions.*--length 64"):
        trunk(torch.randn(1, 65, 32))


def test_positions_of_roberta_are_counted_from_behind_its_padding(tmp_path: Path) -> None:
    config = transformers.RobertaConfig(vocab_size=words().vocab_size, pad_token_id=1, **SHAPE)
    transformers.RobertaForMaskedLM(config).save_pretrained(tmp_path)
    words().save(tmp_path)
    trunk, _ = load_trunk(str(tmp_path))
    assert trunk(torch.randn(1, 62, 32)).shape == (1, 62, 32)
    with pytest.raises(DataError, match="63 tokens, the pretrained trunk has 62 positions"):
        trunk(torch.randn(1, 63, 32))
    with pytest.raises(RecipeError, match="63, the pretrained trunk has 62 positions"):
        trunk.check_length(63)
