"""Learned speeds: the gradient is that of the bound, and following it lowers the bound."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hdiff.audit import AuditLanguage, ExactDenoiser
from hdiff.audit.best_bound import best_bound, enumerated_bound
from hdiff.audit.checks import Subject
from hdiff.audit.network import small_denoiser
from hdiff.audit.rate_gradient import drawn_gradient, enumerated_gradient
from hdiff.corruption import Corrupted, LearnedRates, TokenRates, sample_times
from hdiff.models.output import DenoiserOutput
from hdiff.objectives import nelbo
from hdiff.objectives.learned_noise import expected_nats, learned_noise

LANGUAGE = AuditLanguage()
V = LANGUAGE.vocab_size
UNEQUAL = (3.0, 1.0, 0.5)


def rates_of(*k: float) -> TokenRates:
    rates = TokenRates(V, max_ratio=64.0)
    rates.set_speeds(torch.tensor(k))
    return rates


def at(rates: TokenRates, count: str = "exact") -> LearnedRates:
    return LearnedRates(mask_id=V, count=count).with_rates(rates)


def drawn_state(corruption: LearnedRates, num_rows: int, generator: torch.Generator) -> Corrupted:
    batch = LANGUAGE.sample(num_rows, generator)
    return corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)


def pairs_language() -> AuditLanguage:
    """Nearly all strings are two pairs, each 02 or 11: each token of a pair tells the other."""
    language = AuditLanguage()
    first, second = language.strings[:, [0, 2]], language.strings[:, [1, 3]]
    is_pair = ((first == 0) & (second == 2)) | ((first == 1) & (second == 1))
    likely = is_pair.all(1).double()
    language.probability = 0.95 * likely / likely.sum() + 0.05 / len(likely)
    return language


class Reader(nn.Module):
    """The posterior of each hidden token, of a reader to whom some visible tokens look like hidden ones."""

    def __init__(self, language: AuditLanguage, rates: TokenRates, *, unread: int | None) -> None:
        super().__init__()
        self.language, self.token_rates, self.unread = language, rates, unread

    def strings(self, corrupted: Corrupted) -> Tensor:
        x_t = corrupted.x_t
        if self.unread is not None:
            x_t = x_t.masked_fill(x_t == self.unread, V)
        agrees = ((x_t[:, None] == V) | (x_t[:, None] == self.language.strings)).all(-1)
        return agrees * self.language.probability  # (B, N)

    def forward(self, corrupted: Corrupted) -> DenoiserOutput:
        is_value = nn.functional.one_hot(self.language.strings, V).double()  # (N, L, V)
        spans = corrupted.spans
        tokens = spans.gather(torch.einsum("bn,nlv->blv", self.strings(corrupted), is_value))
        scores, log_speed = self.token_rates.next_token(tokens.log())
        targets = spans.gather(corrupted.x_0)[:, None]
        return DenoiserOutput(scores.log_softmax(-1).gather(1, targets).squeeze(1), log_speed=log_speed)


class ChainReader(Reader):
    """The best reader of the chain of states: strings weigh how likely they came by this state, and 1 / K."""

    def strings(self, corrupted: Corrupted) -> Tensor:
        exact = ExactDenoiser(self.language, at(self.token_rates))
        k = self.token_rates.log_speed.exp()[self.language.strings]
        return exact.posterior(corrupted.x_t) / (corrupted.is_masked.double() @ k.T)


@torch.no_grad()
def bound_of(reader: Reader, count: str = "exact") -> float:
    exact = ExactDenoiser(reader.language, at(reader.token_rates, count))
    return enumerated_bound(exact, lambda corrupted, t: reader(corrupted))


@pytest.mark.parametrize("k", [(1.0, 1.0, 1.0), UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("count", ["exact", "bernoulli"])
def test_gradient_is_the_derivative_of_the_enumerated_bound(count: str, k: tuple[float, ...]) -> None:
    subject = Subject("learned_rates", at(rates_of(*k), count), LANGUAGE)
    denoiser = small_denoiser(subject, "product")
    subject = replace(subject, corruption=subject.corruption.of_model(denoiser))
    mean, error = drawn_gradient(subject, denoiser)
    expected = enumerated_gradient(subject, denoiser)
    assert bool(((mean - expected).abs() < 4 * error).all()), (mean, expected, error)
    assert bool((error < 0.1 * expected.abs().max()).all())  # precise enough to show an error


def test_learning_lowers_the_bound_of_a_reader_who_cannot_read_every_token(
    generator: torch.Generator,
) -> None:
    language, rates = pairs_language(), rates_of(1.0, 1.0, 1.0)
    reader = Reader(language, rates, unread=2)
    equal = bound_of(reader)
    optimizer = torch.optim.Adam(rates.parameters(), lr=0.03)
    for _ in range(150):
        batch = language.sample(64, generator)
        corrupted = at(rates).corrupt(batch, sample_times(batch, generator=generator), generator=generator)
        loss = nelbo(reader(corrupted), batch, corrupted).mean
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert language.entropy < bound_of(reader) < equal - 0.15
    assert rates.log_speed.argsort().tolist() == [2, 1, 0]  # 0 tells what the unread 2 cannot


@pytest.mark.parametrize("k", [(1.0, 1.0, 1.0), UNEQUAL], ids=["equal", "unequal"])
def test_speeds_that_follow_from_the_tokens_lose_nothing_in_the_chain(k: tuple[float, ...]) -> None:
    """No prediction of a speed of its own gets lower; the state itself keeps less than the entropy needs."""
    best = best_bound(ExactDenoiser(LANGUAGE, at(rates_of(*k))))
    assert bound_of(ChainReader(LANGUAGE, rates_of(*k), unread=None)) == pytest.approx(best, abs=1e-6)
    assert LANGUAGE.entropy - 1e-9 < best < LANGUAGE.entropy + 0.01
    assert bound_of(Reader(LANGUAGE, rates_of(*k), unread=None)) >= best - 1e-9


def test_without_the_rate_term_the_number_falls_below_the_entropy(generator: torch.Generator) -> None:
    language, rates = pairs_language(), rates_of(2.0, 1.0, 0.25)
    batch = language.sample(20_000, generator)
    with torch.no_grad():
        corrupted = at(rates).corrupt(batch, sample_times(batch, generator=generator), generator=generator)
        output = ChainReader(language, rates, unread=None)(corrupted)
        whole = nelbo(output, batch, corrupted).nats.double()
        wrong = nelbo(output, batch, replace(corrupted, speed=None)).nats.double()
    error = float(whole.std()) / len(whole) ** 0.5
    assert float(whole.mean()) > language.entropy - 4 * error
    assert float(wrong.mean()) < language.entropy - 0.2


def test_the_term_is_zero_and_changes_no_number(generator: torch.Generator) -> None:
    rates = rates_of(*UNEQUAL)
    corrupted = drawn_state(at(rates), 12, generator)
    nats = torch.rand(corrupted.spans.num_spans, generator=generator)
    term = learned_noise(nats, corrupted)
    assert torch.equal(term, torch.zeros(12, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(term.sum(), rates.theta)
    assert float(gradient.abs().max()) > 0


def test_what_is_subtracted_does_not_look_at_its_own_row(generator: torch.Generator) -> None:
    corrupted = drawn_state(at(rates_of(*UNEQUAL)), 12, generator)
    nats = torch.rand(corrupted.spans.num_spans, generator=generator, dtype=torch.float64)
    before = expected_nats(nats, corrupted)
    for row in range(12):
        after = expected_nats(torch.where(corrupted.spans.row == row, 100.0, nats), corrupted)
        assert float(after[row]) == pytest.approx(float(before[row]), rel=1e-6)
        assert not torch.allclose(after, before)


def test_what_is_subtracted_follows_the_share_that_is_hidden(generator: torch.Generator) -> None:
    corrupted = drawn_state(at(rates_of(*UNEQUAL)), 400, generator)
    share = corrupted.is_masked.double().mean(1)
    expected = expected_nats((2 + 3 * share)[corrupted.spans.row], corrupted)
    assert torch.allclose(expected, 2 + 3 * share, atol=0.01)
    alone = drawn_state(at(rates_of(*UNEQUAL)), 1, generator)
    assert expected_nats(torch.ones(alone.spans.num_spans).double(), alone).tolist() == [0.0]
