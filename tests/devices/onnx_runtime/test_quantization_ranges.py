"""Ranges by hand: what is cut off, what rounding costs, and what ONNX Runtime says."""

import numpy as np
import pytest
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from devices.onnx_runtime.quantization_ranges import (
    BINS,
    PERCENT_INSIDE,
    RULES,
    Histogram,
    RangeRule,
    range_of,
)

Values = NDArray[np.float32]


def histogram_of(values: Values, bins: int = BINS) -> Histogram:
    low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, bins, range=(low, high))
    return Histogram(low=low, high=high, counts=counts)


def bell(*outliers: float) -> Values:
    """Return 100,000 numbers of a normal distribution, and some others."""
    inside = np.random.default_rng(0).standard_normal(100_000)
    return np.concatenate([inside, outliers]).astype(np.float32)


def squared_error(values: Values, window: tuple[float, float]) -> float:
    """Return what 255 steps over a range that holds 0 change, mean square."""
    low, high = min(window[0], 0.0), max(window[1], 0.0)
    step = (high - low) / 255
    zero = np.rint(-low / step)
    integers = np.clip(np.rint(values / step) + zero, 0, 255)
    return float(np.mean((values - (integers - zero) * step) ** 2))


def test_the_plain_rule_takes_all_that_occurs() -> None:
    assert range_of(histogram_of(bell(-7.0, 30.0)), "minmax") == (-7.0, 30.0)


def test_a_percentile_cuts_half_of_the_rest_off_either_end() -> None:
    # 10,000 bins of one number each, from 0 to 1: 0.5 of 10,000 at either end, so nothing;
    # with 40,000 in the first bin too, 1 of 20,000 is cut at the upper end only
    counts = np.ones(20_000, np.int64)
    low, high = range_of(Histogram(low=0.0, high=1.0, counts=counts), "percentile")
    assert (low, high) == pytest.approx((0.0, 1.0), abs=2 / 20_000)
    counts[0] = 60_001
    low, high = range_of(Histogram(low=0.0, high=1.0, counts=counts), "percentile")
    assert low == 0.0
    assert high == pytest.approx(1.0 - 4 / 20_000, abs=1.5 / 20_000)


def test_a_percentile_is_that_of_onnx_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    values = bell(9.0, -12.0)
    collector = HistogramCollector("percentile", False, 4096, 128, PERCENT_INSIDE, "same")
    collector.collect({"x": [values]})
    low, high, *_ = collector.compute_percentile()["x"]
    capsys.readouterr()  # it prints
    found = range_of(histogram_of(values, 4096), "percentile")
    assert found == pytest.approx((float(low), float(high)), abs=2 * 24.0 / 4096)


@pytest.mark.parametrize("rule", ["percentile", "entropy"])
def test_a_rule_that_counts_cuts_a_lone_outlier_off(rule: RangeRule) -> None:
    low, high = range_of(histogram_of(bell(100.0)), rule)
    assert -6.0 < low < -2.5
    assert 2.5 < high < 6.0


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_leaves_the_range_that_occurs(rule: RangeRule) -> None:
    values = np.abs(bell())
    low, high = range_of(histogram_of(values), rule)
    assert values.min() <= low < high <= values.max()


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_squared_error_is_the_smallest_of_all_rules(symmetric: bool) -> None:
    values = np.maximum(bell(8.0, 20.0, 25.0), 0.0)
    histogram = histogram_of(values)

    def error(rule: RangeRule) -> float:
        low, high = range_of(histogram, rule, symmetric=symmetric)
        return squared_error(values, (-high, high) if symmetric else (low, high))

    errors = {rule: error(rule) for rule in RULES}
    assert errors["mse"] <= min(errors.values()) * 1.02
    assert errors["mse"] < errors["minmax"]


def test_the_smallest_squared_error_is_found_among_all_windows() -> None:
    values = np.maximum(bell(8.0), 0.0)
    _, high = range_of(histogram_of(values), "mse")
    tried = [8.0 * share / 128 for share in range(1, 129)]
    best = min(tried, key=lambda reach: squared_error(values, (0.0, reach)))
    assert high == pytest.approx(best, rel=0.15)


def test_zeros_do_not_narrow_the_window_of_a_rectified_tensor() -> None:
    half = np.abs(bell())
    _, without = range_of(histogram_of(half), "entropy")
    _, beside = range_of(histogram_of(np.concatenate([half, np.zeros_like(half)])), "entropy")
    assert beside == without > 3.0


def test_zeros_are_as_many_as_their_neighbours() -> None:
    counts = np.array([900, 7, 5, 3])
    found = Histogram(low=0.0, high=4.0, counts=counts).without_zeros()
    assert found.counts.tolist() == [7, 7, 5, 3]
    found = Histogram(low=-1.5, high=2.5, counts=counts[[1, 0, 2, 3]]).without_zeros()
    assert found.counts.tolist() == [7, 7, 5, 3]
    assert Histogram(low=1.0, high=2.0, counts=counts).without_zeros().counts[0] == 900


def test_entropy_keeps_all_of_an_even_distribution() -> None:
    counts = np.full(BINS, 10)
    assert range_of(Histogram(low=-1.0, high=1.0, counts=counts), "entropy") == (-1.0, 1.0)


@pytest.mark.parametrize("rule", RULES)
def test_a_constant_tensor_has_its_value_as_its_range(rule: RangeRule) -> None:
    assert range_of(histogram_of(np.full(9, 3.0, np.float32)), rule) == (3.0, 3.0)


@pytest.mark.parametrize("rule", RULES)
def test_numbers_far_from_zero_have_a_range(rule: RangeRule) -> None:
    values = bell() + np.float32(20.0)
    low, high = range_of(histogram_of(values), rule)
    assert low < 20.0 < high


def test_a_histogram_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="without a number"):
        Histogram(low=0.0, high=1.0, counts=np.zeros(4, np.int64))
    with pytest.raises(ValueError, match=r"from 1\.0 to 0\.0"):
        Histogram(low=1.0, high=0.0, counts=np.ones(4, np.int64))
