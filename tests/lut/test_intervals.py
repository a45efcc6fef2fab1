import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lut import ErrorBand

TWENTY = tuple(1.0 + i / 100 for i in range(1, 21))  # 1.01 ... 1.20
FORTY = tuple(1.0 + i / 100 for i in range(1, 41))

ratios = st.lists(st.floats(0.5, 2.0), min_size=3, max_size=60).map(tuple)
speeds = st.lists(st.floats(1e-4, 1.1e-4), max_size=6).map(tuple)
shares = st.floats(0.5, 0.995)


def test_of_twenty_networks_the_slowest_bounds_95_percent() -> None:
    assert ErrorBand(ratios=TWENTY).upper(0.95) == pytest.approx(1.20)  # ceil(21 * 0.95) = 20


def test_of_forty_networks_the_second_slowest_bounds_95_percent() -> None:
    assert ErrorBand(ratios=FORTY).upper(0.95) == pytest.approx(FORTY[38])  # ceil(41 * 0.95) = 39


@pytest.mark.parametrize(("confidence", "rank"), [(0.5, 11), (0.8, 17), (0.9, 19)])
def test_conformal_quantiles_are_order_statistics(confidence: float, rank: int) -> None:
    assert ErrorBand(ratios=TWENTY[::-1]).upper(confidence) == pytest.approx(TWENTY[rank - 1])


def test_a_conformal_interval_holds_as_many_as_it_says() -> None:
    # ceil(21 * 0.9) = 19, so the interval reaches as far as the 19th largest error: 1.19.
    low, high = ErrorBand(ratios=TWENTY).around(0.9)
    assert high == pytest.approx(1.19)
    assert low == pytest.approx(1 / 1.19)


def test_a_few_networks_speak_through_students_t() -> None:
    # Logarithms -0.1, 0, 0.1: mean 0, standard deviation 0.1; t(0.95, 2 degrees) = 2.92.
    band = ErrorBand(ratios=(math.exp(-0.1), 1.0, math.exp(0.1)))
    margin = 2.92 * 0.1 * math.sqrt(1 + 1 / 3)
    assert band.kind == "t"
    assert math.log(band.upper(0.95)) == pytest.approx(margin, rel=1e-3)
    assert [math.log(end) for end in band.around(0.9)] == pytest.approx([-margin, margin], rel=1e-3)


def test_a_device_whose_speed_varies_widens_both_ends_by_squares() -> None:
    # Speeds with logarithms -0.1, 0, 0.1: a margin of its own, as in the test before.
    speeds_s = (math.exp(-0.1), 1.0, math.exp(0.1))
    speed = 2.92 * 0.1 * math.sqrt(1 + 1 / 3)
    band = ErrorBand(ratios=TWENTY, speeds_s=speeds_s)
    width = math.hypot(math.log(1.19), speed)
    assert [math.log(end) for end in band.around(0.9)] == pytest.approx([-width, width], rel=1e-3)
    exact = ErrorBand(ratios=(1.0,) * 20, speeds_s=speeds_s)
    assert math.log(exact.upper(0.95)) == pytest.approx(speed, rel=1e-3)


def test_one_process_says_nothing_of_speeds() -> None:
    assert ErrorBand(ratios=TWENTY, speeds_s=(1.0,)).around(0.9) == ErrorBand(ratios=TWENTY).around(
        0.9
    )


def test_the_kind_of_a_band_follows_from_its_networks() -> None:
    assert ErrorBand(ratios=TWENTY[1:]).kind == "t"
    assert ErrorBand(ratios=TWENTY).kind == "conformal"


def test_a_band_needs_three_networks() -> None:
    with pytest.raises(ValueError, match="needs 3 networks or more, got 2"):
        ErrorBand(ratios=(1.0, 1.1))


def test_predictions_that_were_perfect_leave_no_margin() -> None:
    for count in (3, 20):
        band = ErrorBand(ratios=(1.0,) * count)
        assert band.upper(0.99) == 1.0
        assert band.around(0.99) == (1.0, 1.0)


@given(ratios=ratios, speeds_s=speeds, one=shares, other=shares)
def test_more_confidence_never_gives_a_smaller_ratio(
    ratios: tuple[float, ...], speeds_s: tuple[float, ...], one: float, other: float
) -> None:
    band, (less, more) = ErrorBand(ratios=ratios, speeds_s=speeds_s), sorted((one, other))
    assert band.upper(less) <= band.upper(more) * (1 + 1e-12)


@given(ratios=ratios, speeds_s=speeds, one=shares, other=shares)
def test_more_coverage_never_gives_a_narrower_interval(
    ratios: tuple[float, ...], speeds_s: tuple[float, ...], one: float, other: float
) -> None:
    band, (less, more) = ErrorBand(ratios=ratios, speeds_s=speeds_s), sorted((one, other))
    (low, high), (lower, higher) = band.around(less), band.around(more)
    assert lower <= low * (1 + 1e-12)
    assert high <= higher * (1 + 1e-12)
    assert low <= high


def test_an_outlier_is_not_forgotten_where_too_few_networks_speak() -> None:
    # Beyond 20/21 Student's t takes over: it alone would allow 1.2 after an outlier of 1.5.
    assert ErrorBand(ratios=(*(1.0,) * 19, 1.5)).upper(0.96) >= 1.5
