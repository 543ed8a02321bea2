"""The denoiser of blocks reads the noised block and the clean blocks before it, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hdiff.corruption import BlockMasking, TokenMasking, sample_times
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads import HEADS
from hdiff.layers.attention import attention
from hdiff.layers.trunk import Trunk
from hdiff.models.block_denoiser import BlockDenoiser, visible_once, visible_twice, without_padding
from hdiff.models.denoiser import Denoiser

VOCAB, LENGTH = 20, 11


def denoiser_of(block_size: int, head: str = "product") -> BlockDenoiser:
    torch.manual_seed(0)
    trunk = Trunk(32, depth=2, num_heads=2)
    model = BlockDenoiser(trunk, HEADS[head](VOCAB, 32), block_size=block_size).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.2)
    return model


def noised(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    clean = torch.randint(VOCAB, (3, LENGTH), generator=generator)
    hidden = torch.rand(3, LENGTH, generator=generator) < 0.5
    return clean.masked_fill(hidden, VOCAB), clean


@pytest.mark.parametrize("block_size", [1, 3, 4, LENGTH])
def test_only_clean_tokens_of_earlier_blocks_are_read(block_size: int, generator: torch.Generator) -> None:
    """Every position in turn: its clean token reaches all later blocks, not its own, no earlier one."""
    model, block = denoiser_of(block_size), torch.arange(LENGTH) // block_size
    x_t, clean = noised(generator)
    before = model.noised_hidden(x_t, clean)
    for place in range(LENGTH):
        changed = clean.clone()
        changed[:, place] = (changed[:, place] + 1) % VOCAB
        is_later = block > block[place]
        differs = (model.noised_hidden(x_t, changed) != before).any(-1)
        assert torch.equal(differs, is_later.expand(3, -1))


@pytest.mark.parametrize("block_size", [1, 3, 4, LENGTH])
def test_only_noised_tokens_of_the_own_block_are_read(block_size: int, generator: torch.Generator) -> None:
    model, block = denoiser_of(block_size), torch.arange(LENGTH) // block_size
    x_t, clean = noised(generator)
    before = model.noised_hidden(x_t, clean)
    for place in range(LENGTH):
        changed = x_t.clone()
        changed[:, place] = (changed[:, place] + 1) % VOCAB
        differs = (model.noised_hidden(changed, clean) != before).any(-1)
        assert torch.equal(differs, (block == block[place]).expand(3, -1))


@pytest.mark.parametrize("block_size", [1, 3, 4, LENGTH])
def test_one_pass_is_block_after_block(block_size: int, generator: torch.Generator) -> None:
    """What a sampler reads, with all that follows the block hidden, is what training reads in one pass."""
    model, block = denoiser_of(block_size), torch.arange(LENGTH) // block_size
    x_t, clean = noised(generator)
    together = model.noised_hidden(x_t, clean)
    for number in range(int(block.max()) + 1):
        state = torch.where(block < number, clean, x_t).masked_fill(block > number, VOCAB)
        alone = model.hidden(state)
        assert torch.allclose(alone[:, block == number], together[:, block == number], atol=1e-5)


@pytest.mark.parametrize("head", list(HEADS))
def test_targets_of_other_tokens_do_not_leak(head: str, generator: torch.Generator) -> None:
    """Every head scores single tokens: the true tokens around them change nothing."""
    batch = Batch.of(torch.randint(VOCAB, (4, LENGTH), generator=generator))
    corrupted = BlockMasking(block_size=4, mask_id=VOCAB).corrupt(
        batch, sample_times(batch, generator=generator), generator=generator
    )
    model, first = denoiser_of(4, head), int(corrupted.spans.token_index[0])
    changed = (corrupted.x_0 + 1) % VOCAB
    changed.flatten()[first] = corrupted.x_0.flatten()[first]
    before, after = model(corrupted).log_prob, model(replace(corrupted, x_0=changed)).log_prob
    assert torch.equal(before[:1], after[:1])
    assert not torch.equal(before[1:], after[1:])


def test_the_mask_of_two_blocks_is_as_drawn_in_the_paper() -> None:
    """L = 4 in blocks of 2: noised tokens first, then clean ones."""
    drawn = [
        "11000000",
        "11000000",
        "00111100",
        "00111100",
        "00001100",
        "00001100",
        "00001111",
        "00001111",
    ]
    assert visible_twice(4, 2).int().tolist() == [[int(cell) for cell in line] for line in drawn]
    assert torch.equal(visible_once(4, 2), visible_twice(4, 2)[4:, 4:])


@pytest.mark.parametrize("block_size", [1, 3, 4, LENGTH])
def test_padding_changes_nothing(block_size: int, generator: torch.Generator) -> None:
    model, (x_t, clean) = denoiser_of(block_size), noised(generator)
    more = torch.randint(VOCAB, (3, 5), generator=generator)
    mask = torch.arange(LENGTH + 5).expand(3, -1) < LENGTH
    longer = [torch.cat([tokens, more], 1) for tokens in (x_t, clean)]
    padded = model.noised_hidden(*longer, mask)
    assert torch.allclose(padded[:, :LENGTH], model.noised_hidden(x_t, clean), atol=1e-5)
    assert bool(torch.isfinite(padded).all())
    once = model.hidden(longer[0], mask)[:, :LENGTH]
    assert torch.allclose(once, model.hidden(x_t), atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("block_size", [1, 2, 5])
def test_torch_attention_under_a_mask_equals_the_float64_reference(
    padded: bool, block_size: int, generator: torch.Generator
) -> None:
    query, key, value = torch.randn(3, 2, 10, 2, 8, generator=generator).unbind(0)
    token_mask = torch.arange(10).expand(2, -1) % 5 < torch.tensor([[5], [3]]) if padded else None
    visible = without_padding(visible_twice(5, block_size), token_mask)
    results = []
    for dtype, backend in ((torch.float64, "reference"), (torch.float32, "torch")):
        inputs = [x.to(dtype).requires_grad_() for x in (query, key, value)]
        output = attention(*inputs, visible=visible, backend=backend)
        gradients = torch.autograd.grad((output**2).sum(), inputs)
        results.append([output, *gradients])
    for expected, got in zip(*results, strict=True):
        assert torch.allclose(got.double(), expected, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_attention_under_a_mask_equals_the_reference_on_cuda(generator: torch.Generator) -> None:
    """With the backend that is picked there: xformers where it is installed."""
    query, key, value = torch.randn(3, 2, 32, 2, 32, generator=generator).cuda().unbind(0)
    visible = visible_twice(16, 4, device=query.device)
    expected = attention(query, key, value, visible=visible, backend="reference")
    assert torch.allclose(attention(query, key, value, visible=visible), expected, atol=1e-3)


def test_a_trunk_that_sees_everything_is_the_trunk(generator: torch.Generator) -> None:
    trunk, hidden = Trunk(32, depth=2, num_heads=2), torch.randn(2, 9, 32, generator=generator)
    visible = torch.ones(9, 9, dtype=torch.bool)
    assert torch.allclose(trunk(hidden, visible=visible), trunk(hidden), atol=1e-6)
    assert torch.equal(trunk(hidden, positions=torch.arange(9)), trunk(hidden))
    assert not torch.allclose(trunk(hidden, positions=torch.arange(9) * 2), trunk(hidden), atol=1e-3)


def test_blocks_of_another_size_are_refused(generator: torch.Generator) -> None:
    batch = Batch.of(torch.randint(VOCAB, (2, LENGTH), generator=generator))
    t = sample_times(batch, generator=generator)
    model = denoiser_of(4)
    with pytest.raises(DataError, match="has block_size 4, the corruption 3; build the model"):
        model(BlockMasking(block_size=3, mask_id=VOCAB).corrupt(batch, t))
    with pytest.raises(DataError, match="has block_size 4, the corruption None"):
        model(TokenMasking(mask_id=VOCAB).corrupt(batch, t))
    with pytest.raises(DataError, match="block_size is 0"):
        BlockDenoiser(model.trunk, model.head, block_size=0)


def test_weights_are_those_of_a_denoiser() -> None:
    model = denoiser_of(4)
    same = Denoiser(Trunk(32, depth=2, num_heads=2), HEADS["product"](VOCAB, 32))
    assert {name: p.shape for name, p in model.named_parameters()} == {
        name: p.shape for name, p in same.named_parameters()
    }
