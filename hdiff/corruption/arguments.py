"""Checks of arguments that several corruptions take."""

from __future__ import annotations

from typing import Literal

from hdiff.errors import DataError
from hdiff.schedules import Schedule

Count = Literal["exact", "bernoulli"]


SLOWEST = 0.001
"""Least speed k: times U^(1 / k) of a lesser one are 0 in float64."""


def check_count(count: Count, schedule: Schedule | None) -> Count:
    """Returns `count`, or raises DataError if it is neither `exact` nor `bernoulli`, or impossible."""
    if count not in ("exact", "bernoulli"):
        raise DataError(f"count is '{count}'; use 'exact' or 'bernoulli'")
    if count == "bernoulli" and schedule is not None and schedule.end < 1:
        raise DataError(
            f"the schedule ends at p_mask(1) = {schedule.end:g} and independent times have no bound then; "
            f"use count: exact, or eps: 0"
        )
    return count


def check_k(k: float, what: str) -> float:
    """Returns a speed `k`, or raises DataError if times cannot be drawn with it."""
    if not SLOWEST <= k < float("inf"):
        raise DataError(
            f"k of {what} is {k}; a masking speed is a number > 0, at least {SLOWEST} (1: flat masking)"
        )
    return float(k)
