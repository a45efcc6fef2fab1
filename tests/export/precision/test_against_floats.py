"""Accuracies of pairs by hand: what is lost, what is gained, and how sure that is."""

import math

import numpy as np
import pytest

from export.precision.against_floats import Agreement, agreement, share_interval


def test_what_is_lost_and_gained_is_counted_image_by_image() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    before = np.array([0, 1, 1, 0, 0])
    after = np.array([0, 0, 0, 0, 1])
    found = agreement(before, after, labels)
    assert found == Agreement(images=5, both_right=1, lost=1, gained=1, agreeing=2)
    assert (found.accuracy_fp32, found.accuracy, found.drop_points) == (0.4, 0.4, 0.0)
    assert found.agreement == 0.4


def test_the_interval_of_a_drop_is_that_of_pairs() -> None:
    found = Agreement(images=998, both_right=900, lost=19, gained=9, agreeing=960)
    # 19.5 and 9.5 of 1000: 0.010 +- 1.96 * sqrt((0.029 - 0.0001) / 1000)
    reach = 1.95996 * math.sqrt(0.0289 / 1000)
    assert found.drop_interval_points == pytest.approx(
        (1.0 - 100 * reach, 1.0 + 100 * reach), rel=1e-3
    )
    assert found.drop_points == pytest.approx(1000 / 998)


def test_no_difference_on_few_images_is_not_certainty() -> None:
    low, high = Agreement(
        images=50, both_right=50, lost=0, gained=0, agreeing=50
    ).drop_interval_points
    assert low == -high < -3.0


def test_a_share_has_the_interval_of_wilson() -> None:
    assert share_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert share_interval(1.0, 100) == pytest.approx((0.9630, 1.0), abs=1e-4)
    assert share_interval(0.0, 100) == pytest.approx((0.0, 0.0370), abs=1e-4)


def test_an_agreement_on_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs images"):
        Agreement(images=0, both_right=0, lost=0, gained=0, agreeing=0)
