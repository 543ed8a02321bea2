"""Curves of a report."""

import pytest

from hdiff.pages.report_charts import _smoothed


def test_a_smoothed_curve_ends_with_a_mean_not_with_its_last_point() -> None:
    points = [[step, 4.0 + 0.5 * (-1) ** step] for step in range(40)]
    smooth = _smoothed([*points, [40, 9.0]])
    assert [step for step, _ in smooth] == list(range(41))
    assert smooth[0][1] == points[0][1]  # a curve begins where it begins
    assert smooth[20][1] == pytest.approx(4.0, abs=0.05)
    assert smooth[40][1] < 5


def test_a_straight_line_stays_one_up_to_its_last_points() -> None:
    smooth = _smoothed([[step, 2.0 * step] for step in range(30)])
    assert [value for _, value in smooth[:23]] == [2.0 * step for step in range(23)]
