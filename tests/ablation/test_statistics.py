"""Paired differences: quantiles, intervals and verdicts."""

from __future__ import annotations

from statistics import NormalDist

import pytest

from hdiff.ablation.statistics import paired_difference, t_quantile


@pytest.mark.parametrize(
    ("level", "degrees", "published"),
    [
        (0.95, 1, 12.706),
        (0.95, 2, 4.303),
        (0.95, 3, 3.182),
        (0.95, 9, 2.262),
        (0.99, 4, 4.604),
        (0.9, 30, 1.697),
    ],
)
def test_t_quantiles_are_those_of_printed_tables(level: float, degrees: int, published: float) -> None:
    assert t_quantile(level, degrees) == pytest.approx(published, abs=5e-4)


def test_t_quantiles_fall_to_the_normal_one() -> None:
    values = [t_quantile(0.95, degrees) for degrees in range(1, 40)]
    assert values == sorted(values, reverse=True)
    assert t_quantile(0.95, 20000) == pytest.approx(NormalDist().inv_cdf(0.975), abs=2e-4)


def test_paired_difference_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, sd 1, t 4.3027, so 2 ± 4.3027 / sqrt(3)."""
    gap = paired_difference({0: 5.0, 1: 7.0, 2: 9.0, 8: 1.0}, {2: 6.0, 0: 4.0, 1: 5.0, 9: 1.0})
    assert gap is not None
    assert gap.seeds == (0, 1, 2)
    assert gap.mean == pytest.approx(2.0)
    assert (gap.low, gap.high) == (pytest.approx(-0.48414, abs=1e-4), pytest.approx(4.48414, abs=1e-4))
    assert gap.verdict == "within noise"


def test_verdicts_follow_the_interval() -> None:
    zero = {0: 0.0, 1: 0.0, 2: 0.0}
    for sign, verdict in ((-1, "better"), (1, "worse")):
        gap = paired_difference({0: 1.0 * sign, 1: 1.1 * sign, 2: 0.9 * sign}, zero)
        assert gap is not None
        assert gap.verdict == verdict
    equal, single = paired_difference(zero, zero), paired_difference({0: -5.0}, zero)
    assert equal is not None
    assert equal.verdict == "within noise"
    assert single is not None
    assert (single.low, single.verdict) == (None, "one seed")
    assert paired_difference({5: 1.0}, zero) is None
