"""Statistics of few seeds: Student's t without tables, and paired differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A figure over seeds: mean, standard deviation (n - 1; None for one seed) and its values."""

    mean: float
    sd: float | None
    by_seed: Mapping[int, float]

    @classmethod
    def of(cls, by_seed: Mapping[int, float]) -> Spread:
        """Summarises at least one value."""
        values = list(by_seed.values())
        sd = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), sd, dict(by_seed))


@dataclass(frozen=True)
class Difference:
    """A variant less its reference, seed by seed; lower is better.

    Attributes:
        mean: Mean of the differences.
        low: Lower end of the interval; None for one seed.
        high: Its upper end.
        seeds: Seeds that both have.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: tuple[int, ...]

    @property
    def verdict(self) -> str:
        """`better` or `worse` if the interval excludes 0, else `within noise`."""
        if self.low is None or self.high is None:
            return "one seed"
        if self.high < 0:
            return "better"
        return "worse" if self.low > 0 else "within noise"


def paired_difference(
    values: Mapping[int, float], reference: Mapping[int, float], *, level: float = 0.95
) -> Difference | None:
    """The mean difference over the seeds that both have, with its t interval.

    Pairing takes out what a seed does to both (order of data, evaluation masks).

    Args:
        values: Seed -> figure of the variant.
        reference: Seed -> figure of what it is compared with.
        level: Confidence level of the interval.

    Returns:
        The difference; None if no seed is common.
    """
    seeds = tuple(sorted(values.keys() & reference.keys()))
    if not seeds:
        return None
    gaps = [values[seed] - reference[seed] for seed in seeds]
    mean = statistics.fmean(gaps)
    if len(gaps) == 1:
        return Difference(mean, None, None, seeds)
    reach = t_quantile(level, len(gaps) - 1) * statistics.stdev(gaps) / math.sqrt(len(gaps))
    return Difference(mean, mean - reach, mean + reach, seeds)


def t_quantile(level: float, degrees: int) -> float:
    """The t with P(|T| <= t) = level, T having Student's distribution, by bisection."""
    assert 0 < level < 1, "a probability"
    assert degrees >= 1, "two values have one degree of freedom"
    low, high = 0.0, 1.0
    while central_probability(high, degrees) < level:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        if central_probability(middle, degrees) < level:
            low = middle
        else:
            high = middle
    return high


def central_probability(t: float, degrees: int) -> float:
    """P(|T| <= t) for Student's T with whole degrees of freedom: a finite sum, exact.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.

    Args:
        t: At least 0.
        degrees: Degrees of freedom.

    Returns:
        The probability.
    """
    theta = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(theta)
    is_odd = degrees % 2 == 1
    term = cosine if is_odd else 1.0
    total = 0.0 if degrees == 1 else term
    for i in range(3 if is_odd else 2, degrees - 1, 2):  # the power of cosine grows by 2 with each term
        term *= (i - 1) / i * cosine * cosine
        total += term
    if is_odd:
        return 2 / math.pi * (theta + math.sin(theta) * total)
    return math.sin(theta) * total
