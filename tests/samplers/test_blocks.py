"""The sampler of blocks: left to right, T calls in all, and its bound is that of exactly what it draws."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_language import ToyDenoiser, ToyLanguage

from hdiff.corruption import BlockMasking, TokenMasking, sample_times
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads import AutoregressiveHead, Head, ProductHead, Sampling
from hdiff.layers.trunk import Trunk
from hdiff.models.block_denoiser import BlockDenoiser
from hdiff.models.denoiser import Denoiser
from hdiff.objectives import nelbo
from hdiff.samplers import AncestralSampler, BlockSampler, hidden_rows
from hdiff.samplers.blocks import _BlockReader, steps_of_blocks
from hdiff.samplers.choice import at

VOCAB, LENGTH, WIDTH = 3, 4, 16
STRINGS = torch.tensor(list(itertools.product(range(VOCAB), repeat=LENGTH)))


def denoiser_of(block_size: int, head: type[Head] = ProductHead, *, depth: int = 1) -> BlockDenoiser:
    """A network with strong opinions, nothing trained."""
    torch.manual_seed(0)
    trunk = Trunk(WIDTH, depth=depth, num_heads=2)
    model = BlockDenoiser(trunk, head(VOCAB, WIDTH), block_size=block_size).eval()
    with torch.no_grad():
        model.head.output_bias.normal_()
    return model


def blocks(block_size: int) -> BlockMasking:
    return BlockMasking(block_size=block_size, mask_id=VOCAB)


def score_all(num_steps: int, model: BlockDenoiser, *, seed: int) -> torch.Tensor:
    """Nats of every string, each with the same order of tokens."""
    rows = []
    for string in STRINGS:
        generator = torch.Generator().manual_seed(seed)
        score = BlockSampler(num_steps).score(
            model, blocks(model.block_size), Batch.of(string[None]), generator=generator
        )
        rows.append(score.nats)
    return torch.cat(rows)


@pytest.mark.parametrize("head", [ProductHead, AutoregressiveHead])
@pytest.mark.parametrize(
    ("block_size", "num_steps"), [(1, 4), (2, 2), (2, 3), (2, 4), (3, 2), (3, 3), (4, 1), (4, 2)]
)
def test_what_is_scored_is_a_distribution(block_size: int, num_steps: int, head: type[Head]) -> None:
    """For a fixed order exp(-nats) sums to 1 over all strings: no block sees itself or what follows."""
    model = denoiser_of(block_size, head)
    for seed in (1, 2):
        total = (-score_all(num_steps, model, seed=seed)).exp().sum()
        assert float(total) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("block_size", "num_steps"), [(1, 4), (2, 2), (3, 2)])
def test_samples_follow_the_score(block_size: int, num_steps: int, generator: torch.Generator) -> None:
    """One step per block leaves nothing to chance but the draws: chi-square against exp(-nats)."""
    model = denoiser_of(block_size)
    expected = 20_000 * (-score_all(num_steps, model, seed=0)).exp()
    tokens = (
        BlockSampler(num_steps)
        .sample(model, blocks(block_size), hidden_rows(model, 20_000, LENGTH), generator=generator)
        .tokens
    )
    observed = torch.bincount((tokens * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81).double()
    likely = expected > 5
    statistic = float(((observed - expected)[likely] ** 2 / expected[likely]).sum())
    assert statistic < int(likely.sum()) + 5 * math.sqrt(2 * int(likely.sum()))


@pytest.mark.parametrize("block_size", [1, 2, 3, 4])
def test_one_token_at_a_time_reaches_the_entropy(block_size: int, generator: torch.Generator) -> None:
    """With exact posteriors, whatever the blocks; fewer steps than tokens cost more."""
    language = ToyLanguage()
    model = ToyDenoiser(language, joint=False)
    model.block_size = block_size  # type: ignore[assignment]
    batch = Batch.of(language.strings)

    def bound(num_steps: int) -> float:
        score = BlockSampler(num_steps).score(model, blocks(block_size), batch, generator=generator)
        return float((language.probability * score.nats).sum())

    assert bound(4) == pytest.approx(language.entropy, abs=1e-6)
    if block_size > 1:
        assert bound(-(-LENGTH // block_size)) > language.entropy + 0.05


def test_one_block_is_the_ancestral_sampler(generator: torch.Generator) -> None:
    """Same weights, same random numbers: the same tokens, steps and bound as `Denoiser` has."""
    model = denoiser_of(12)
    same = Denoiser(Trunk(WIDTH, depth=1, num_heads=2), ProductHead(VOCAB, WIDTH)).eval()
    same.load_state_dict(model.state_dict())
    batch = Batch.of(torch.randint(VOCAB, (5, 12), generator=generator))
    flat = TokenMasking(mask_id=VOCAB)
    for num_steps in (1, 5, 12):
        one, two = (torch.Generator().manual_seed(3) for _ in range(2))
        ours = BlockSampler(num_steps).score(model, blocks(12), batch, generator=one)
        theirs = AncestralSampler(num_steps).score(same, flat, batch, generator=two)
        assert torch.allclose(ours.nats, theirs.nats, rtol=1e-4)
        one, two = (torch.Generator().manual_seed(3) for _ in range(2))
        drawn = BlockSampler(num_steps).sample(model, blocks(12), hidden_rows(model, 4, 12), generator=one)
        plain = AncestralSampler(num_steps).sample(same, flat, hidden_rows(same, 4, 12), generator=two)
        assert torch.equal(drawn.steps, plain.steps)
        assert torch.equal(drawn.tokens, plain.tokens)


def test_with_a_step_per_token_the_bound_is_that_of_training(generator: torch.Generator) -> None:
    """Two estimates of one number, by runs of the sampler and by random states, of a real network."""
    model = denoiser_of(4, AutoregressiveHead)
    rows = torch.randint(VOCAB, (1, 10), generator=generator).expand(4000, -1)
    batch = Batch.of(rows)
    runs = BlockSampler(10).score(model, blocks(4), batch, generator=generator).nats
    corrupted = blocks(4).corrupt(batch, sample_times(batch, generator=generator), generator=generator)
    with torch.no_grad():
        states = nelbo(model(corrupted), batch, corrupted).nats.double()
    error = math.sqrt(float(runs.var() + states.var()) / 4000)
    assert abs(float(runs.mean() - states.mean())) < 4 * error
    assert error < 0.02 * float(runs.mean())


@pytest.mark.parametrize("num_steps", [3, 4, 7, 11, 12, 40])
def test_t_counts_all_calls_and_blocks_come_from_left_to_right(
    num_steps: int, generator: torch.Generator
) -> None:
    samples = BlockSampler(num_steps).sample(
        denoiser_of(4), blocks(4), hidden_rows(denoiser_of(4), 6, 11), generator=generator
    )
    assert samples.nfe == min(num_steps, 11)
    assert bool((samples.calls == samples.nfe).all())
    for left, right in itertools.pairwise(
        (samples.steps[:, :4], samples.steps[:, 4:8], samples.steps[:, 8:])
    ):
        assert bool((left.max(1).values < right.min(1).values).all())
    assert int(samples.tokens.max()) < VOCAB


def test_kept_blocks_are_exact(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read of the block at hand is what the whole row gives, gaps and padding included."""
    model = denoiser_of(4, depth=3)
    text = torch.randint(VOCAB, (6, 18), generator=generator)
    gaps = torch.rand(text.shape, generator=generator) < 0.4
    gaps[0] = True
    gaps[1] = torch.arange(18) >= 13  # nothing to fill in the first blocks
    gaps[2, 4:12] = False  # nor in those between
    real = torch.arange(18) < torch.tensor([18, 18, 18, 11, 16, 18])[:, None]
    reading, compared = _BlockReader.read, []

    def checked(
        reader: _BlockReader,
        tokens: torch.Tensor,
        is_masked: torch.Tensor,
        active: torch.Tensor,
        step: int,
        places: torch.Tensor,
    ) -> torch.Tensor:
        hidden = reading(reader, tokens, is_masked, active, step)
        block = torch.arange(18) // 4
        at_hand = (block == torch.where(is_masked, block, 99).amin(1, keepdim=True)) & real
        exact = model.hidden(tokens, real)
        assert torch.allclose(hidden[at_hand], exact[at_hand], atol=1e-5)
        compared.append(int(at_hand.sum()))
        return at(hidden, places)

    monkeypatch.setattr(_BlockReader, "read", checked)
    BlockSampler(18).score(model, blocks(4), Batch(text, real), is_hidden=gaps, generator=generator)
    assert len(compared) == 18
    assert min(compared) > 0


def test_finished_blocks_are_not_read_again(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first call at most the block at hand and the one before it."""
    updating, read = Trunk.update, []

    def counted(trunk: Trunk, hidden: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        read.append(int(rest[1].sum(1).max()))
        return updating(trunk, hidden, *rest, **options)

    monkeypatch.setattr(Trunk, "update", counted)
    BlockSampler(16).sample(
        denoiser_of(4), blocks(4), hidden_rows(denoiser_of(4), 3, 16), generator=generator
    )
    assert read == [4, 4, 4, 8, 4, 4, 4, 8, 4, 4, 4, 8, 4, 4, 4]


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=7).filter(any),
    st.integers(0, 50),
)
def test_steps_are_shared_out_evenly_and_none_is_wasted(num_hidden: list[int], spare: int) -> None:
    num_steps = sum(count > 0 for count in num_hidden) + spare
    steps = steps_of_blocks(torch.tensor([num_hidden]), num_steps)[0].tolist()
    assert sum(steps) == min(num_steps, sum(num_hidden))
    assert all(int(count > 0) <= given <= count for given, count in zip(steps, num_hidden, strict=True))
    unfinished = [given for given, count in zip(steps, num_hidden, strict=True) if given < count]
    if unfinished:
        assert max(steps) - min(unfinished) <= 1


def test_given_tokens_stay_and_rows_take_the_steps_they_need(generator: torch.Generator) -> None:
    text = torch.randint(VOCAB, (6, 12), generator=generator)
    gaps = torch.rand(6, 12, generator=generator) < 0.6
    gaps[:, 3] = True
    gaps[0] = False
    gaps[0, 5] = True
    samples = BlockSampler(5).sample(
        denoiser_of(4), blocks(4), text.masked_fill(gaps, VOCAB), generator=generator
    )
    assert torch.equal(samples.tokens[~gaps], text[~gaps])
    assert bool((samples.steps[~gaps] == -1).all())
    assert bool((samples.steps[gaps] >= 0).all())
    assert samples.calls.tolist() == [min(5, count) for count in gaps.sum(1).tolist()]


def test_padding_costs_nothing(generator: torch.Generator) -> None:
    """Real tokens of 7 in rows of 12: two blocks, the same nats as without padding."""
    model, tokens = denoiser_of(4), torch.randint(VOCAB, (3, 7), generator=generator)
    longer = torch.cat([tokens, torch.zeros(3, 5, dtype=torch.long)], 1)
    padded = Batch(longer, torch.arange(12).expand(3, -1) < 7)
    ours = BlockSampler(2).score(model, blocks(4), padded)
    assert torch.allclose(
        ours.nats, BlockSampler(2).score(model, blocks(4), Batch.of(tokens)).nats, rtol=1e-5
    )
    assert ours.calls.tolist() == [2, 2, 2]


def test_impossible_requests_are_refused(generator: torch.Generator) -> None:
    model = denoiser_of(4)
    hidden = hidden_rows(model, 2, 12)
    with pytest.raises(DataError, match=r"2 steps for 3 blocks to fill.*give at least 3 steps"):
        BlockSampler(2).sample(model, blocks(4), hidden, generator=generator)
    with pytest.raises(DataError, match="at least 1 step"):
        BlockSampler(0)
    with pytest.raises(DataError, match="TokenMasking has a sampler of its own"):
        BlockSampler(3).sample(model, TokenMasking(mask_id=VOCAB), hidden, generator=generator)
    with pytest.raises(DataError, match="has block_size 4, the corruption 6"):
        BlockSampler(3).sample(model, blocks(6), hidden, generator=generator)
    with pytest.raises(DataError, match="BlockMasking has a sampler of its own"):
        AncestralSampler(3).sample(model, blocks(4), hidden, generator=generator)
    batch = Batch.of(torch.zeros(1, 12, dtype=torch.long))
    sampler = BlockSampler(3, sampling=Sampling(temperature=0.7))
    assert not sampler.has_bound
    with pytest.raises(DataError, match="no likelihood bound"):
        sampler.score(model, blocks(4), batch)
