"""Means of ratios, by hand; medians drawn again are tested in `test_measurement`."""

import math

import pytest

from profiler.intervals import mean_ratio


def test_ratios_are_averaged_by_their_logarithms_with_students_t() -> None:
    # Of 2 and 8: the mean of the logarithms is log 4, their deviation log 4 / sqrt 2, the error
    # half of log 4, and with one degree of freedom 95 % are 12.706 of those.
    mean, low, high = mean_ratio([math.log(2.0), math.log(8.0)], 0.95)
    assert mean == pytest.approx(4.0)
    assert math.log(high / 4.0) == pytest.approx(12.706 * math.log(4.0) / 2, rel=1e-4)
    assert low * high == pytest.approx(16.0)


def test_one_ratio_says_nothing_of_others() -> None:
    mean, low, high = mean_ratio([math.log(0.5)], 0.95)
    assert mean == pytest.approx(0.5)
    assert (low, high) == (0.0, math.inf)
