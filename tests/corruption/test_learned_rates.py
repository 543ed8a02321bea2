"""Learned speeds: what is drawn, how likely it was, and what keeps the speeds in their range."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch

from hdiff.corruption import LearnedRates, RateMatched, TokenMasking, TokenRates, sample_times
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads import ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.objectives import nelbo
from hdiff.samplers.chain import chain_sample, reader_of

V = 20


def rates_of(*k: float, max_ratio: float = 64.0) -> TokenRates:
    rates = TokenRates(len(k), max_ratio=max_ratio)
    rates.set_speeds(torch.tensor(k))
    return rates


def denoiser_of(rates: TokenRates) -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(Trunk(16, depth=1, num_heads=2), ProductHead(V, 16), token_rates=rates)


def padded_batch(generator: torch.Generator) -> Batch:
    batch = Batch.of(torch.randint(0, V, (32, 12), generator=generator))
    mask = batch.token_mask.clone()
    mask[1, 7:] = False
    return replace(batch, token_mask=mask)


def test_equal_speeds_are_token_masking_with_equal_random_numbers(generator: torch.Generator) -> None:
    batch = padded_batch(generator)
    t = sample_times(batch, generator=generator)
    denoiser = denoiser_of(TokenRates(V, max_ratio=64.0))
    plain = Denoiser(denoiser.trunk, denoiser.head)
    losses = []
    for corruption, model in (
        (LearnedRates(mask_id=V).of_model(denoiser), denoiser),
        (TokenMasking(mask_id=V), plain),
    ):
        corrupted = corruption.corrupt(batch, t, generator=torch.Generator().manual_seed(3))
        losses.append((corrupted.x_t, nelbo(model(corrupted), batch, corrupted)))
    (x_t, learned), (expected, token) = losses
    assert torch.equal(x_t, expected)
    assert torch.allclose(learned.nats, token.nats, rtol=1e-5)
    assert torch.allclose(learned.structure, torch.zeros(32), atol=1e-4)


def test_given_speeds_are_rate_matched_with_equal_random_numbers(generator: torch.Generator) -> None:
    """Of buckets that are the token ids."""
    batch = padded_batch(generator)
    batch = replace(batch, salience_buckets=batch.input_ids)
    t = sample_times(batch, generator=generator)
    k = [0.5 + 0.1 * token for token in range(V)]
    one = LearnedRates(mask_id=V).with_rates(rates_of(*k))
    two = RateMatched(k=k, num_buckets=V, mask_id=V)
    left, right = (c.corrupt(batch, t, generator=torch.Generator().manual_seed(3)) for c in (one, two))
    assert torch.equal(left.x_t, right.x_t)
    assert torch.allclose(left.weight, right.weight, rtol=1e-4)


def test_probabilities_of_all_masks_sum_to_one() -> None:
    rates = rates_of(0.5, 1.0, 3.0)
    batch = Batch.of(torch.tensor([[0, 1, 2]]).repeat(400, 1))
    corruption = LearnedRates(mask_id=3, count="bernoulli").with_rates(rates)
    t = torch.full((400,), 0.4)
    drawn = corruption.corrupt(batch, t, generator=torch.Generator().manual_seed(0))
    found = dict(zip(map(tuple, drawn.is_masked.tolist()), drawn.state_log_prob.exp().tolist(), strict=True))
    assert len(found) == 8
    assert sum(found.values()) == pytest.approx(1.0)
    assert found[True, True, True] == pytest.approx(0.4 ** float(rates.log_speed.detach().exp().sum()))


def test_probabilities_of_all_orders_sum_to_one() -> None:
    """Of the two tokens that are revealed of three; the padding after them has no part in it."""
    rates = rates_of(0.5, 1.0, 3.0)
    tokens = torch.tensor([[0, 1, 2, 2]]).repeat(400, 1)
    batch = Batch(tokens, torch.tensor([[True, True, True, False]]).repeat(400, 1))
    corruption = LearnedRates(mask_id=3).with_rates(rates)
    drawn = corruption.corrupt(batch, torch.full((400,), 0.3), generator=torch.Generator().manual_seed(0))
    assert drawn.is_masked.sum(1).tolist() == [1] * 400
    k = rates.log_speed.exp().tolist()
    expected = [k[i] / sum(k) * k[j] / (sum(k) - k[i]) for i, j in itertools.permutations(range(3), 2)]
    found = {round(value, 9) for value in drawn.state_log_prob.exp().tolist()}
    assert found == {round(value, 9) for value in expected}
    assert sum(found) == pytest.approx(1.0)


def test_faster_tokens_are_generated_earlier(generator: torch.Generator) -> None:
    rates = rates_of(*[4.0] + [1.0] * (V - 1))
    batch = Batch.of(torch.arange(V).repeat(4000, 1))
    corruption = LearnedRates(mask_id=V).with_rates(rates)
    corrupted = corruption.corrupt(batch, torch.full((4000,), 0.5), generator=generator)
    hidden = corrupted.is_masked.double().mean(0)
    assert float(hidden[0]) < 0.2 < 0.45 < float(hidden[1:].min())


def test_sampling_reveals_tokens_at_the_speeds_that_follow_from_them(generator: torch.Generator) -> None:
    """What comes first, and where, has probability proportional to k_v mu_i(v)."""
    rates = rates_of(*[8.0] + [1.0] * (V - 1))
    denoiser = denoiser_of(rates)
    with torch.no_grad():
        mu = denoiser.head.logits(denoiser.hidden(torch.full((1, 2), V)))[0].softmax(-1)  # (2, V)
        expected = mu * rates.log_speed.exp()
    rows = torch.full((20_000, 2), V)
    samples = chain_sample(reader_of(denoiser), LearnedRates(mask_id=V), rows, generator=generator)
    place = samples.steps.argmin(1)
    first = place * V + samples.tokens.gather(1, place[:, None]).squeeze(1)
    observed = torch.bincount(first, minlength=2 * V) / 20_000
    assert float((observed - (expected / expected.sum()).flatten()).abs().sum()) / 2 < 0.03
    assert float((observed - mu.flatten() / 2).abs().sum()) / 2 > 0.1  # and not mu alone


def test_speeds_stay_in_their_range_and_have_no_common_factor() -> None:
    rates = TokenRates(5, max_ratio=16.0)
    assert rates.log_speed.tolist() == [0.0] * 5
    with torch.no_grad():
        rates.theta.copy_(torch.tensor([1e6, -1e6, 0.0, 1.0, 2.0]))
    log_k = rates.log_speed.detach()
    assert float(log_k.max() - log_k.min()) <= math.log(16.0) + 1e-9
    assert float(log_k.sum()) == pytest.approx(0.0, abs=1e-9)
    rates.set_speeds(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    ratios = rates.log_speed.exp() / rates.log_speed.exp()[0]
    assert ratios.tolist() == pytest.approx([1.0, 2.0, 3.0, 4.0, 5.0], rel=1e-5)


def test_nothing_is_said_of_the_state_where_nothing_is_learned(generator: torch.Generator) -> None:
    batch = padded_batch(generator)
    corruption = LearnedRates(mask_id=V).with_rates(TokenRates(V, max_ratio=64.0))
    with torch.no_grad():
        assert corruption.corrupt(batch, sample_times(batch, generator=generator)).state_log_prob is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LearnedRates(max_ratio=1.0), "number > 1"),
        (lambda: LearnedRates(count="some"), "'exact' or 'bernoulli'"),
        (lambda: rates_of(1.0, 64.0), "ratio below 64"),
        (lambda: rates_of(1.0, 0.0), "speeds > 0"),
        (lambda: TokenRates(3, max_ratio=4.0).set_speeds(torch.ones(2)), "give 3 speeds"),
        (lambda: LearnedRates().log_speed(Batch.of(torch.zeros(1, 2).long())), "of_model"),
        (lambda: LearnedRates(mask_id=V).of_model(torch.nn.Linear(1, 1)), "no learned speeds"),
    ],
)  # fmt: skip
def test_impossible_speeds_are_refused(make, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()
