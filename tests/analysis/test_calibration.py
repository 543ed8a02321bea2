"""Calibration: a predictor that tells the truth lies on the diagonal, one that is too sure does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdiff.analysis.calibration import Calibration, calibrate
from hdiff.errors import DataError

N = 20_000


@pytest.fixture
def random():
    return np.random.default_rng(0)


def gaps(found: Calibration) -> list[float]:
    """How many standard errors each bin is from the diagonal."""
    return [abs(each.observed - each.predicted) / each.stderr for each in found.bins]


def test_a_calibrated_predictor_is_on_the_diagonal_within_its_standard_error(random):
    truth = random.random(N)
    found = calibrate(truth, random.random(N) < truth, np.arange(N))
    assert len(found.bins) == 10
    assert max(gaps(found)) < 3.5
    assert found.expected_error < 0.01
    assert found.brier == pytest.approx(1 / 6, abs=0.005)  # E p (1 - p)


def test_an_overconfident_predictor_is_not(random):
    truth = random.random(N)
    odds = (truth / (1 - truth)) ** 2  # twice too sure in log-odds
    found = calibrate(odds / (1 + odds), random.random(N) < truth, np.arange(N))
    assert (
        min(gap for gap, each in zip(gaps(found), found.bins, strict=True) if each.low not in (0.4, 0.5)) > 3
    )
    assert max(gaps(found)) > 10
    below, above = found.bins[2], found.bins[7]
    assert below.observed > below.predicted
    assert above.observed < above.predicted
    assert found.expected_error > 0.08


def test_predictions_that_depend_on_each_other_make_no_bin_surer(random):
    truth = random.random(400)
    came_true = random.random(400) < truth
    rows = np.arange(400)
    once = calibrate(truth, came_true, rows)
    again = calibrate(np.repeat(truth, 5), np.repeat(came_true, 5), np.repeat(rows, 5))
    for one, other in zip(once.bins, again.bins, strict=True):
        assert other.stderr == pytest.approx(one.stderr)
        assert other.count == 5 * one.count


def test_the_standard_error_is_that_of_many_repetitions(random):
    observed, stated = [], []
    truth = np.full(60, 0.65)
    for _ in range(800):
        each = calibrate(truth, random.random(60) < truth, np.arange(60)).bins[0]
        observed.append(each.observed)
        stated.append(each.stderr)
    assert np.mean(stated) == pytest.approx(np.std(observed), rel=0.06)


predictions = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 5)), min_size=1, max_size=60)


@settings(max_examples=100, deadline=None)
@given(predictions)
def test_bins_add_up_to_all_predictions(items):
    predicted = np.array([item[0] for item in items])
    came_true = np.array([item[1] for item in items])
    found = calibrate(predicted, came_true, np.array([item[2] for item in items]))
    assert sum(each.count for each in found.bins) == found.count == len(items)
    assert sum(each.count * each.predicted for each in found.bins) == pytest.approx(predicted.sum())
    assert sum(each.count * each.observed for each in found.bins) == pytest.approx(came_true.sum())
    assert 0 <= found.expected_error <= 1
    assert all(each.low <= each.predicted <= each.high for each in found.bins)


def test_one_group_has_no_standard_error():
    found = calibrate(np.array([0.2, 0.25]), np.array([True, False]), np.array([7, 7]))
    assert [each.stderr for each in found.bins] == [None]


def test_certainty_belongs_to_the_last_bin():
    found = calibrate(np.array([1.0, 0.95]), np.array([True, True]), np.array([0, 1]))
    assert [(each.low, each.count) for each in found.bins] == [(0.9, 2)]


def test_what_is_no_probability_is_refused():
    with pytest.raises(DataError, match=r"\[0.5, 1.5\]"):
        calibrate(np.array([0.5, 1.5]), np.array([True, True]), np.array([0, 1]))
    with pytest.raises(DataError, match="no prediction"):
        calibrate(np.array([]), np.array([], dtype=bool), np.array([], dtype=int))
