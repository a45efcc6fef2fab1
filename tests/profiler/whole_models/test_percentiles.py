import numpy as np
import pytest

from profiler import Percentile, percentile
from profiler.whole_models.percentiles import runs_needed


def test_the_median_of_twenty_lies_between_the_sixth_and_the_fifteenth() -> None:
    # of 20 tosses of a coin, 5 or fewer are heads with a chance of 0.0207, 6 or fewer with 0.0577
    runs_s = [float(second) for second in range(20, 0, -1)]
    assert percentile(runs_s, 50) == Percentile(percent=50, latency_s=10.0, low_s=6.0, high_s=15.0)


def test_a_percentile_is_a_run_that_so_many_of_a_hundred_do_not_exceed() -> None:
    runs_s = [float(second) for second in range(1, 1001)]
    found = percentile(runs_s, 99)
    assert found is not None
    assert found.latency_s == 990.0
    assert found.low_s < 990.0 < found.high_s


@pytest.mark.parametrize(("percent", "needed"), [(50, 20), (90, 100), (99, 1000), (99.9, 10_000)])
def test_too_few_runs_give_none(percent: float, needed: int) -> None:
    assert runs_needed(percent) == needed
    assert percentile([1.0] * (needed - 1), percent) is None
    same = Percentile(percent=percent, latency_s=1.0, low_s=1.0, high_s=1.0)
    assert percentile([1.0] * needed, percent) == same


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_the_interval_holds_the_truth_as_often_as_it_says(
    percent: int, rng: np.random.Generator
) -> None:
    truth = -np.log(1 - percent / 100)  # of the exponential distribution
    held = 0
    for _ in range(300):
        found = percentile(rng.exponential(size=1_000).tolist(), percent, coverage=0.9)
        assert found is not None
        held += found.low_s <= truth <= found.high_s
    assert 0.86 <= held / 300 <= 0.96


@pytest.mark.parametrize(("percent", "coverage"), [(49, 0.9), (100, 0.9), (99, 1.0), (99, 0.0)])
def test_what_is_out_of_range_is_refused(percent: int, coverage: float) -> None:
    with pytest.raises(ValueError, match=f"no percentile {percent}"):
        percentile([1.0] * 1_000, percent, coverage=coverage)
