"""Checks of random replacement and Gaussian noise, against exact posteriors of the language.

Dimensions: B batch, L tokens, N strings, P packed tokens, V vocabulary, E embedding width.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from hdiff.audit.checks import Check, Subject, mean_and_error
from hdiff.audit.language import AuditLanguage
from hdiff.corruption import Gaussian, UniformState, sample_times
from hdiff.corruption.gaussian import GaussianCorrupted, noisy_embedding
from hdiff.corruption.uniform_state import UniformCorrupted
from hdiff.factory import build_network
from hdiff.heads import ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.gaussian_denoiser import (
    GaussianOutput,
    expected_embedding,
    log_probs_at_zero,
    token_log_likelihood,
)
from hdiff.models.uniform_denoiser import UniformOutput
from hdiff.objectives import nelbo
from hdiff.samplers.build import build_sampler

ROWS = 40_000
NUM_SAMPLES = 5_000
NUM_STEPS = 120
FARTHEST = 0.07  # total variation; some 0.03 of it is the noise of so many samples
TRAINING_STEPS = 40


class ExactUniform:
    """The best prediction for replaced tokens: what all other tokens of a row tell of a position."""

    has_uniform_predictor = True
    is_squared = True  # t = u^2 counts 2 u, which tames weights of 1 / t
    num_rows = ROWS

    def __init__(self, language: AuditLanguage, corruption: UniformState) -> None:
        self.language = language

    def log_probs(self, x_t: Tensor, p: Tensor) -> Tensor:
        """log p(x_0_i = v | all x_t but the i-th), float64 (B, L, V), from x_t and p, both (B, L)."""
        language = self.language
        same = (x_t[:, None, :] == language.strings[None]).double()  # (B, N, L)
        seen = (1 - p[:, None]) * same + p[:, None] / language.vocab_size
        rows = []
        for place in range(language.length):
            others = torch.cat([seen[..., :place], seen[..., place + 1 :]], -1).prod(-1)
            weight = others * language.probability  # (B, N)
            is_value = torch.nn.functional.one_hot(language.strings[:, place], language.vocab_size)
            rows.append(weight @ is_value.double())
        joint = torch.stack(rows, 1)
        return (joint / joint.sum(-1, keepdim=True)).log()

    def frequency(self, corrupted: UniformCorrupted, p_mask: float) -> tuple[float, Tensor]:
        """How often a token should differ from x_0 at one time, and whether each does."""
        some = 1 - 1 / self.language.vocab_size  # others are replaced by themselves
        return p_mask * some, (corrupted.x_t != corrupted.x_0).double().flatten()

    def __call__(self, corrupted: UniformCorrupted) -> UniformOutput:
        return UniformOutput(corrupted.spans.gather(self.log_probs(corrupted.x_t, corrupted.p)))


class ExactGaussian:
    """The best prediction for noisy embeddings, of a fixed table: exact marginals given all of z_t."""

    has_uniform_predictor = False
    is_squared = False
    num_rows = 5 * ROWS  # cheap, and noisier

    def __init__(self, language: AuditLanguage, corruption: Gaussian) -> None:
        self.language, self.corruption = language, corruption
        width = corruption.embedding_width
        table = torch.randn(language.vocab_size, width, generator=torch.Generator().manual_seed(1))
        self._table: Tensor = torch.nn.functional.normalize(table.double(), dim=-1) * width**0.5

    def table(self) -> Tensor:
        """Embeddings that are noised, rows of norm sqrt(E): float64 (V, E)."""
        return self._table

    def log_probs(self, z_t: Tensor, log_snr: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """log p(x_0_i = v | z_t), float64 (B, L, V)."""
        language = self.language
        likelihood = token_log_likelihood(z_t, log_snr, self._table)  # (B, L, V)
        score = language.probability.log().expand(len(z_t), -1)
        for place in range(language.length):
            score = score + likelihood[:, place, language.strings[:, place]]
        posterior = score.softmax(-1)  # (B, N)
        is_value = torch.nn.functional.one_hot(language.strings, language.vocab_size).double()  # (N, L, V)
        marginals: Tensor = torch.einsum("bn,nlv->blv", posterior, is_value)
        log_marginals: Tensor = marginals.clamp(min=1e-300).log()
        return log_marginals

    def frequency(self, corrupted: GaussianCorrupted, p_mask: float) -> tuple[float, Tensor]:
        """The variance that the noise of a state should have at one time, and its squares."""
        low, high = self.corruption.log_snr_min, self.corruption.log_snr_max
        z_t = noisy_embedding(torch.zeros_like(corrupted.noise), corrupted.noise, corrupted.log_snr)
        return 1 / (1 + math.exp(high + (low - high) * p_mask)), z_t.double().square().flatten()

    def __call__(self, corrupted: GaussianCorrupted) -> GaussianOutput:
        clean = self._table[corrupted.x_0]
        z_t = noisy_embedding(clean, corrupted.noise, corrupted.log_snr)
        log_probs = corrupted.spans.gather(self.log_probs(z_t, corrupted.log_snr))
        packed = corrupted.spans.gather(clean)
        at_zero = corrupted.spans.gather(corrupted.noise_at_zero)
        return GaussianOutput(
            log_probs,
            log_probs_at_zero(packed, at_zero, corrupted.log_snr_ends[0], self._table),
            expected_embedding(log_probs, self._table),
            packed,
        )


def exact_noise(subject: Subject) -> list[Check]:
    """The exact posterior scores the entropy; for replacement a uniform predictor scores log V per token."""
    language, checks = subject.language, []
    entropy = language.entropy
    if _exact(subject).has_uniform_predictor:
        uniform = language.length * math.log(language.vocab_size)
        mean, error = mean_and_error(_nats(subject, _uniform, seed=1))
        passed = abs(mean - uniform) <= 4 * error < 0.1 * uniform
        checks.append(subject.check("uniform_predictor", mean, uniform, 4 * error, passed))
    mean, error = mean_and_error(_nats(subject, _exact(subject), seed=2))
    # Gaussian noise ends at finite signal-to-noise ratios: prior and reconstruction cost a little.
    passed = abs(mean - entropy) <= 4 * error < 0.1 * entropy
    checks.append(subject.check("exact_posterior", mean, entropy, 4 * error, passed))
    return checks


def noise_frequency(subject: Subject) -> list[Check]:
    """How often tokens differ from x_0, or the variance of the noise, at three times: standard errors off."""
    farthest, exact = 0.0, _exact(subject)
    for t in (0.25, 0.5, 0.9):
        batch = subject.language.sample(ROWS, torch.Generator().manual_seed(3))
        times = torch.full((ROWS,), t, dtype=torch.float64)
        corrupted = subject.corruption.corrupt(batch, times, generator=torch.Generator().manual_seed(4))
        p_mask = float(subject.corruption.schedule.p_mask(times)[0])
        expected, seen = exact.frequency(cast(Any, corrupted), p_mask)
        mean, error = mean_and_error(seen)
        farthest = max(farthest, abs(mean - expected) / error)
    return [subject.check("masking_frequency", farthest, 0.0, 4.0, farthest <= 4)]


def noise_sampler(subject: Subject) -> list[Check]:
    """With the exact posterior the sampler draws the language: total variation; one-sided.

    Steps are of finite length, so this is no chi-square: the law is reached as 1 / T.
    """
    language, corruption = subject.language, subject.corruption
    sampler = build_sampler(corruption.plain_sampler(), num_steps=NUM_STEPS)
    rows = torch.full((NUM_SAMPLES, language.length), language.vocab_size)
    generator = torch.Generator().manual_seed(5)
    tokens = sampler.sample(_exact(subject), corruption, rows, generator=generator).tokens
    counts = torch.bincount(language.numbers(tokens), minlength=len(language.strings)).double()
    distance = 0.5 * float((counts / NUM_SAMPLES - language.probability).abs().sum())
    return [subject.check("sampler_distribution", distance, 0.0, FARTHEST, distance <= FARTHEST)]


def noise_network(subject: Subject, head: object) -> list[Check]:
    """A network trained for a moment does not get below the entropy; one-sided. Product heads only."""
    if head != "product":
        return []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk, product = Trunk(16, depth=1, num_heads=2), ProductHead(subject.language.vocab_size, 16)
        options = subject.corruption.network_options(subject.language.vocab_size)
        model = build_network(subject.corruption.network, trunk, product, options)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(TRAINING_STEPS):
        loss = _nats(subject, model, seed=100 + step, num_rows=128).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        mean, error = mean_and_error(_nats(subject, model, seed=6, num_rows=ROWS // 4))
    entropy = subject.language.entropy
    passed = mean >= entropy - 4 * error
    return [subject.check("bound_above_entropy", mean, entropy, 4 * error, passed, head="product")]


def _nats(subject: Subject, model: Any, *, seed: int, num_rows: int | None = None) -> Tensor:
    """One estimate of the bound per row, float64 (B,)."""
    generator, exact = torch.Generator().manual_seed(seed), EXACT[subject.corruption.network]
    batch = subject.language.sample(num_rows or exact.num_rows, generator)
    t = sample_times(batch, generator=generator).double().clamp(max=1.0)
    factor = torch.ones_like(t)
    if exact.is_squared:
        t, factor = t**2, 2 * t
    corrupted = subject.corruption.corrupt(batch, t, generator=generator)
    return nelbo(model(corrupted), batch, corrupted).nats.double() * factor


def _uniform(corrupted: UniformCorrupted) -> UniformOutput:
    size = corrupted.vocab_size
    return UniformOutput(torch.full((corrupted.spans.num_spans, size), -math.log(size), dtype=torch.float64))


EXACT: dict[str, Any] = {"uniform_denoiser": ExactUniform, "gaussian_denoiser": ExactGaussian}
"""Network of a corruption (`Corruption.network`) -> the best prediction for it."""


def _exact(subject: Subject) -> Any:
    return EXACT[subject.corruption.network](subject.language, subject.corruption)
