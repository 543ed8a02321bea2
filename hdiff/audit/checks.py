"""Check, what is checked, and the checks of weights: uniform predictor, exact posterior.

Dimensions: B batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hdiff.audit.best_bound import best_bound
from hdiff.audit.exact import ExactDenoiser
from hdiff.audit.language import AuditLanguage
from hdiff.corruption import Corrupted, Corruption, sample_times
from hdiff.data.batch import Batch
from hdiff.models.output import DenoiserOutput
from hdiff.objectives import nelbo
from hdiff.schedules import SCHEDULES

EXACT_ROWS = 8_000
BERNOULLI_ROWS = 16_000
MOST_ROUNDS = 8


@dataclass(frozen=True)
class Check:
    """One property that was tested.

    Attributes:
        name: What was tested.
        corruption: The corruption, with its count if times are independent.
        schedule: Its schedule.
        head: Head of the network; `-` if the check has no network.
        value: What was measured, nats per string unless the check says otherwise; None if nothing could be.
        expected: What it should be.
        tolerance: How far it may be off; `structure_leak` and `bound_above_entropy` only below,
            `sampler_distribution` only above.
        passed: Whether the property holds.
    """

    name: str
    corruption: str
    schedule: str
    head: str
    value: float | None
    expected: float | None
    tolerance: float | None
    passed: bool


@dataclass(frozen=True)
class Subject:
    """What is audited: a corruption, its name in the table, and the language it is tried on."""

    name: str
    corruption: Corruption
    language: AuditLanguage

    @property
    def is_exact(self) -> bool:
        """Whether numbers of masked units are exact."""
        return getattr(self.corruption, "count", "bernoulli") == "exact"

    def check(
        self, name: str, value: float, expected: float, tolerance: float, passed: bool, *, head: str = "-"
    ) -> Check:
        """A result about this subject; a number that is not finite is None and never passes."""
        is_finite = math.isfinite(value) and math.isfinite(tolerance)
        return Check(
            name=name,
            corruption=self._label,
            schedule=self._schedule,
            head=head,
            value=value if math.isfinite(value) else None,
            expected=expected,
            tolerance=tolerance if math.isfinite(tolerance) else None,
            passed=passed and is_finite,
        )

    def unaudited(self, reason: str) -> Check:
        """The failed check of a corruption that is not understood; its name gives the reason."""
        return Check(f"not_audited: {reason}", self._label, self._schedule, "-", None, None, None, False)

    @property
    def _label(self) -> str:
        is_bernoulli = getattr(self.corruption, "count", "exact") == "bernoulli"
        return f"{self.name} (bernoulli)" if is_bernoulli else self.name

    @property
    def _schedule(self) -> str:
        schedule = type(self.corruption.schedule)
        return {kind: name for name, kind in SCHEDULES.items()}.get(schedule, schedule.__name__)


@dataclass(frozen=True)
class Draw:
    """A corrupted batch of the language.

    Attributes:
        batch: The clean batch.
        corrupted: The batch at times `t`.
        t: Times, float64 (B,).
        factor: By how much each row counts, because `t` is not uniform, float64 (B,).
    """

    batch: Batch
    corrupted: Corrupted
    t: Tensor
    factor: Tensor

    def nats(self, output: DenoiserOutput) -> Tensor:
        """One estimate of the bound per row, float64 (B,)."""
        return nelbo(output, self.batch, self.corrupted).nats.double() * self.factor


def draw(subject: Subject, num_rows: int, generator: torch.Generator) -> Draw:
    """Corrupts strings of the language at stratified times.

    Independent times have weights of order 1 / t. There we take t = u^3 and count each row dt / du = 3 u^2,
    which has the same mean and a finite variance for all speeds above 1/3.

    Args:
        subject: What is audited.
        num_rows: Rows B.
        generator: Source of randomness.

    Returns:
        The draw.
    """
    batch = subject.language.sample(num_rows, generator)
    t = sample_times(batch, generator=generator).double().clamp(max=1.0)
    factor = torch.ones_like(t)
    if not subject.is_exact:
        t, factor = t**3, 3 * t**2
    return Draw(batch, subject.corruption.corrupt(batch, t, generator=generator), t, factor)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def uniform_predictor(subject: Subject) -> list[Check]:
    """A predictor that knows nothing pays log V per token and log size per type."""
    drawn = draw(subject, num_rows_of(subject), torch.Generator().manual_seed(1))
    corrupted, vocab_size = drawn.corrupted, subject.language.vocab_size
    sizes = subject.corruption.type_sizes
    output = DenoiserOutput(
        log_prob=-corrupted.spans.length.double() * math.log(vocab_size),
        type_log_prob=tuple(
            -t.spans.length.double() * math.log(sizes[t.stream]) for t in corrupted.type_terms
        ),
        log_speed=None if corrupted.speed is None else corrupted.speed.double().log(),  # free of charge
    )
    mean, error = mean_and_error(drawn.nats(output))
    expected = subject.language.length * sum(math.log(size) for size in (vocab_size, *sizes))
    tolerance = 4 * error + 1e-4 * expected
    passed = abs(mean - expected) <= tolerance < 0.1 * expected
    return [subject.check("uniform_predictor", mean, expected, tolerance, passed)]


def exact_posterior(subject: Subject) -> list[Check]:
    """The denoiser nobody can beat scores the entropy, or what `best_bound` says above it."""
    generator = torch.Generator().manual_seed(2)
    denoiser = ExactDenoiser(subject.language, subject.corruption)

    def nats() -> Tensor:
        drawn = draw(subject, num_rows_of(subject), generator)
        return drawn.nats(denoiser(drawn.corrupted, drawn.t))

    return [scores_exactly(subject, nats, best_bound(denoiser))]


def scores_exactly(
    subject: Subject, nats: Callable[[], Tensor], expected: float, *, name: str = "exact_posterior"
) -> Check:
    """Whether the exact posterior scores what it must, from as many rounds as show an error by a tenth.

    Args:
        subject: What is audited.
        nats: Draws a round: nats of some texts, float64 (B,).
        expected: Nats per text.
        name: Name of the check.

    Returns:
        The check.
    """
    scores = torch.zeros(0, dtype=torch.float64)
    mean, tolerance = math.nan, math.inf
    for _ in range(MOST_ROUNDS):
        scores = torch.cat([scores, nats()])
        mean, error = mean_and_error(scores)
        tolerance = 4 * error + 1e-4 * expected
        if not tolerance >= 0.09 * expected:
            break
    passed = abs(mean - expected) <= tolerance < 0.1 * expected
    return subject.check(name, mean, expected, tolerance, passed)


def num_rows_of(subject: Subject) -> int:
    """Rows per estimate; independent times are noisier."""
    return EXACT_ROWS if subject.is_exact else BERNOULLI_ROWS
