"""Calibration: predicted probabilities against observed frequencies, in bins.

Dimensions: N predictions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdiff.errors import DataError

NUM_BINS = 10


@dataclass(frozen=True)
class Bin:
    """Predictions whose probability lies in [low, high); the last bin holds 1, too.

    Attributes:
        low: Lower border.
        high: Upper border.
        count: Predictions in it, at least 1.
        predicted: Their mean probability.
        observed: Share of them that came true.
        stderr: Standard error of `observed - predicted` over independent groups; None for one group.
    """

    low: float
    high: float
    count: int
    predicted: float
    observed: float
    stderr: float | None


@dataclass(frozen=True)
class Calibration:
    """How far probabilities and frequencies agree.

    Attributes:
        bins: Bins that hold predictions, by rising probability.
        count: Predictions N.
        observed: Share of all predictions that came true.
        expected_error: Expected calibration error: mean |observed - predicted| of the bins, weighed by their
            counts. Chance alone makes it positive.
        brier: Mean squared difference of probability and outcome.
    """

    bins: tuple[Bin, ...]
    count: int
    observed: float
    expected_error: float
    brier: float


def calibrate(
    predicted: NDArray[np.float64],
    came_true: NDArray[np.bool_],
    group: NDArray[np.int64],
    *,
    num_bins: int = NUM_BINS,
) -> Calibration:
    """Compares probabilities with what happened.

    Source: expected calibration error over equal bins, arXiv:1706.04599, eq. 3.

    Args:
        predicted: Probabilities in [0, 1], float64 (N,).
        came_true: Outcomes, bool (N,).
        group: Which predictions depend on each other (those of one text row), int64 (N,).
        num_bins: Bins of equal width.

    Returns:
        The comparison.

    Raises:
        DataError: If there is no prediction, or a probability leaves [0, 1].
    """
    if not len(predicted):
        raise DataError("no prediction to calibrate; give at least one hidden position")
    if not bool(((predicted >= 0) & (predicted <= 1)).all()):
        low, high = float(np.min(predicted)), float(np.max(predicted))
        raise DataError(f"probabilities lie in [{low:g}, {high:g}]; they belong into [0, 1]")
    place = np.minimum((predicted * num_bins).astype(np.int64), num_bins - 1)
    bins = tuple(
        _bin(predicted[chosen], came_true[chosen], group[chosen], number, num_bins)
        for number in range(num_bins)
        if (chosen := place == number).any()
    )
    error = sum(each.count * abs(each.observed - each.predicted) for each in bins) / len(predicted)
    return Calibration(
        bins=bins,
        count=len(predicted),
        observed=float(came_true.mean()),
        expected_error=error,
        brier=float(((predicted - came_true) ** 2).mean()),
    )


def _bin(
    predicted: NDArray[np.float64],
    came_true: NDArray[np.bool_],
    group: NDArray[np.int64],
    number: int,
    num_bins: int,
) -> Bin:
    excess = came_true - predicted
    _, index = np.unique(group, return_inverse=True)
    sums = np.bincount(index, weights=excess - excess.mean())  # of each group
    stderr = None
    if len(sums) > 1:
        stderr = math.sqrt(float((sums**2).sum()) * len(sums) / (len(sums) - 1)) / len(excess)
    return Bin(
        low=number / num_bins,
        high=(number + 1) / num_bins,
        count=len(excess),
        predicted=float(predicted.mean()),
        observed=float(came_true.mean()),
        stderr=stderr,
    )
