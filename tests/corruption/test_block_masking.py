"""Block masking lies between flat masking and left to right, and its sum is a bound in between."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from toy_language import ToyDenoiser, ToyLanguage, UniformDenoiser

from hdiff.corruption import BlockCorrupted, BlockMasking, Corruption, TokenMasking, sample_times
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads import AutoregressiveHead, Head, ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.block_denoiser import BlockDenoiser
from hdiff.models.denoiser import Denoiser
from hdiff.objectives import nelbo
from hdiff.packed_spans import PackedSpans
from hdiff.schedules import SCHEDULES, CosineSchedule, LinearSchedule, LogLinearSchedule, PolynomialSchedule

VOCAB, WIDTH = 5, 16


def blocks_of_size(block_size: int, head: type[Head] = ProductHead, *, vocab: int = VOCAB) -> BlockDenoiser:
    """A network with strong opinions, nothing trained."""
    torch.manual_seed(0)
    model = BlockDenoiser(
        Trunk(WIDTH, depth=2, num_heads=2), head(vocab, WIDTH), block_size=block_size
    ).eval()
    with torch.no_grad():
        model.head.output_bias.normal_()
    return model


def padded_batch(num_rows: int, length: int, generator: torch.Generator) -> Batch:
    """Every second row has only five real tokens."""
    token_mask = torch.ones(num_rows, length, dtype=torch.bool)
    token_mask[1::2, 5:] = False
    return Batch(torch.randint(VOCAB, (num_rows, length), generator=generator), token_mask)


def corrupted_at_random(
    corruption: Corruption, batch: Batch, generator: torch.Generator, *, stratified: bool = True
) -> BlockCorrupted:
    t = sample_times(batch, generator=generator, stratified=stratified)
    corrupted = corruption.corrupt(batch, t, generator=generator)
    assert isinstance(corrupted, BlockCorrupted)
    return corrupted


@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=list(SCHEDULES))
@pytest.mark.parametrize("count", ["exact", "bernoulli"])
@pytest.mark.parametrize("head", [ProductHead, AutoregressiveHead])
def test_one_block_is_token_masking(schedule, count: str, head, generator: torch.Generator) -> None:
    """Same random numbers, same weights: the same states, and the same loss up to rounding."""
    if count == "bernoulli" and isinstance(schedule, LogLinearSchedule):
        schedule = LogLinearSchedule(eps=0.0)
    batch = padded_batch(16, 9, generator)
    t = sample_times(batch, generator=generator)
    options = {"mask_id": VOCAB, "schedule": schedule, "count": count}
    one = BlockMasking(block_size=9, **options).corrupt(batch, t, generator=torch.Generator().manual_seed(4))
    flat = TokenMasking(**options).corrupt(batch, t, generator=torch.Generator().manual_seed(4))
    assert torch.equal(one.x_t, flat.x_t)
    assert torch.allclose(one.weight, flat.weight.to(one.weight.dtype))
    model = blocks_of_size(9, head)
    same = Denoiser(Trunk(WIDTH, depth=2, num_heads=2), head(VOCAB, WIDTH)).eval()
    same.load_state_dict(model.state_dict())
    with torch.no_grad():
        ours, theirs = nelbo(model(one), batch, one).nats, nelbo(same(flat), batch, flat).nats
    assert torch.allclose(ours, theirs, rtol=1e-4)
    assert float(ours.sum()) > 0


@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=list(SCHEDULES))
def test_blocks_of_one_token_are_an_exact_likelihood(schedule, generator: torch.Generator) -> None:
    """The bound has no noise and is the sum of the model's conditionals, a distribution over all texts."""
    strings = torch.tensor(list(itertools.product(range(3), repeat=4)))
    batch, model = Batch.of(strings), blocks_of_size(1, vocab=3)
    corruption = BlockMasking(block_size=1, mask_id=3, schedule=schedule)
    draws = [corrupted_at_random(corruption, batch, generator) for _ in range(2)]
    with torch.no_grad():
        one, two = (nelbo(model(draw), batch, draw).nats.double() for draw in draws)
    assert torch.allclose(one, two, rtol=1e-5)
    conditionals = torch.zeros(len(strings), dtype=torch.float64)
    for place in range(4):
        x_t = strings.clone()
        x_t[:, place:] = 3
        log_probs = model.head.logits(model.hidden(x_t)[:, place]).double().log_softmax(-1)
        conditionals -= log_probs.gather(1, strings[:, place, None]).squeeze(1)
    assert torch.allclose(one, conditionals, rtol=1e-5)
    assert float((-one).exp().sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("num_rows", "block_size", "length"), [(6, 4, 16), (5, 3, 12), (1, 2, 8)])
def test_times_are_stratified_over_rows_and_blocks(
    num_rows: int, block_size: int, length: int, generator: torch.Generator
) -> None:
    """n = ceil(t N) takes each of its values equally often, over all blocks of all rows together."""
    batch = Batch.of(torch.zeros(num_rows, length, dtype=torch.long))
    corrupted = corrupted_at_random(BlockMasking(block_size=block_size, mask_id=1), batch, generator)
    hidden = corrupted.is_masked.view(num_rows, -1, block_size).sum(2).flatten()
    counts = torch.bincount(hidden, minlength=block_size + 1)
    assert int(counts[0]) == 0
    assert int(counts[1:].max() - counts[1:].min()) <= 1


def test_the_time_of_a_block_is_uniform_wherever_it_stands(generator: torch.Generator) -> None:
    batch = Batch.of(torch.zeros(30_000, 8, dtype=torch.long))
    corrupted = corrupted_at_random(BlockMasking(block_size=2, mask_id=1), batch, generator)
    hidden = corrupted.is_masked.view(-1, 4, 2).sum(2)
    for block in range(4):
        assert float((hidden[:, block] == 1).double().mean()) == pytest.approx(0.5, abs=0.015)
    same = (hidden[:, 0] == hidden[:, 1]).double().mean()
    assert float(same) == pytest.approx(1 / 3, abs=0.015)  # two of four blocks: drawn without repetition


def test_every_token_weighs_one_on_average(generator: torch.Generator) -> None:
    """Also in a short last block and before padding: what makes the sum a bound."""
    batch = padded_batch(30_000, 7, generator)
    for schedule in (LinearSchedule(), PolynomialSchedule(2.0)):
        corruption = BlockMasking(block_size=3, mask_id=VOCAB, schedule=schedule)
        corrupted = corrupted_at_random(corruption, batch, generator)
        weight = torch.zeros(batch.input_ids.numel()).index_add(
            0, corrupted.spans.token_index, corrupted.weight
        )
        weight = weight.view_as(batch.input_ids)
        assert torch.allclose(weight[::2].mean(0), torch.ones(7), atol=0.05)
        assert torch.allclose(weight[1::2].mean(0), batch.token_mask[1].float(), atol=0.05)
        assert bool(torch.isfinite(corrupted.weight).all())


@pytest.mark.parametrize("block_size", [1, 2, 3, 7, 50])
def test_uniform_denoiser_scores_log_v_in_every_draw(block_size: int, generator: torch.Generator) -> None:
    """Exact counts, linear schedule: every block of every row hides N_b tokens' worth of weight."""
    batch = padded_batch(64, 7, generator)
    corruption = BlockMasking(block_size=block_size, mask_id=VOCAB)
    corrupted = corrupted_at_random(corruption, batch, generator)
    nats = nelbo(UniformDenoiser(VOCAB)(corrupted), batch, corrupted).nats
    expected = batch.token_mask.sum(1) * math.log(VOCAB)
    assert torch.allclose(nats.double(), expected.double(), rtol=1e-5)


def exact_nats(language: ToyLanguage, batch: Batch, corrupted: BlockCorrupted) -> Tensor:
    """The bound of the best predictor: each block from its noised tokens and the clean ones before it."""
    size, spans = corrupted.block_size, corrupted.spans
    column, block = spans.token_index % language.length, torch.arange(language.length) // size
    log_prob = torch.zeros(spans.num_spans, dtype=torch.float64)
    for number in range(int(block.max()) + 1):
        read = torch.where(block < number, batch.input_ids, corrupted.x_t)
        read = read.masked_fill(block > number, language.vocab_size)
        inside = (block[column] == number).nonzero().squeeze(1)
        part = PackedSpans.from_units(batch.units("token"), corrupted.is_masked & (block == number))
        head = ToyDenoiser(language, joint=True).head
        hidden = part.gather(read.double()[:, None, :].expand(-1, language.length, -1))
        log_prob[inside] = head.log_prob(hidden, part.gather(batch.input_ids), part)
    weighted = torch.zeros(len(read), dtype=torch.float64)
    return weighted.index_add(0, spans.row, -corrupted.weight.double() * log_prob)


@pytest.mark.parametrize("block_size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", ["exact", "bernoulli"])
def test_exact_posterior_scores_the_entropy(block_size: int, count: str, generator: torch.Generator) -> None:
    language = ToyLanguage()
    batch = language.sample(30_000, generator)
    corruption = BlockMasking(block_size=block_size, mask_id=language.vocab_size, count=count)  # type: ignore[arg-type]
    nats = exact_nats(language, batch, corrupted_at_random(corruption, batch, generator))
    error = float(nats.std()) / math.sqrt(len(nats))
    # Independent times have weights of 1/t: the sample error is itself only an estimate.
    assert abs(float(nats.mean()) - language.entropy) < (4 if count == "exact" else 6) * error
    assert error < 0.1


def test_exact_counts_and_shared_times_have_half_the_noise(generator: torch.Generator) -> None:
    language = ToyLanguage(vocab_size=2, length=8, sharpness=0.7)
    batch = language.sample(32, generator)

    def spread(count: str, stratified: bool) -> float:
        corruption = BlockMasking(block_size=4, mask_id=2, count=count)  # type: ignore[arg-type]
        means = [
            exact_nats(
                language, batch, corrupted_at_random(corruption, batch, generator, stratified=stratified)
            ).mean()
            for _ in range(100)
        ]
        return float(torch.stack(means).std())

    assert spread("exact", True) < spread("bernoulli", False) / 2


def test_padding_is_never_masked(generator: torch.Generator) -> None:
    batch = padded_batch(200, 9, generator)
    for count in ("exact", "bernoulli"):
        corruption = BlockMasking(block_size=2, mask_id=VOCAB, count=count)  # type: ignore[arg-type]
        corrupted = corrupted_at_random(corruption, batch, generator)
        assert not bool((corrupted.is_masked & ~batch.token_mask).any())
        assert torch.equal(corrupted.x_t == VOCAB, corrupted.is_masked)
        assert torch.equal(corrupted.context, batch.input_ids)


def test_impossible_options_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(DataError, match="block_size is 0"):
        BlockMasking(block_size=0)
    with pytest.raises(DataError, match="use 'exact' or 'bernoulli'"):
        BlockMasking(count="some")  # type: ignore[arg-type]
    early = BlockMasking(block_size=4, mask_id=9, schedule=LogLinearSchedule(eps=0.5))
    with pytest.raises(DataError, match="never masked; set its eps below"):
        corrupted_at_random(early, Batch.of(torch.zeros(2, 8, dtype=torch.long)), generator)
    corruption = BlockMasking(block_size=2, mask_id=9, schedule=CosineSchedule())
    assert corruption.unconditional() is corruption
    assert not corruption.conditional_on_structure
