"""Ratios of latencies by hand, and timed in the same processes."""

import math

import pytest

from devices import DeviceSpec
from profiler import Conv, Head, Pace
from profiler.operators.builders import chain_graph, graph_for
from profiler.whole_models.side_by_side import SideBySide, side_by_side
from tests.measurements import measured

CHAIN = (
    Conv(input_shape=(3, 3, 8, 8), channels=4, kernel=3, activation="relu"),
    Head(input_shape=(3, 4, 8, 8), channels=8, classes=10),
)
INT8 = DeviceSpec(name="sim-int8", backend="simulated", precision="int8")


def test_a_ratio_is_the_mean_over_processes_whatever_the_speed_of_each() -> None:
    found = SideBySide(floats=measured(1.0, 1.0), other=measured(0.5, 0.5))
    assert found.ratio == pytest.approx(0.5)
    assert found.ratio_interval == pytest.approx((0.5, 0.5))
    found = SideBySide(floats=measured(1.0, 2.0, 1.0), other=measured(0.5, 0.5, 0.5))
    assert found.ratio == pytest.approx(0.5 * 2 ** (-1 / 3))
    low, high = found.ratio_interval
    assert low < 0.25
    assert high > 0.5


def test_one_process_says_nothing_of_others() -> None:
    found = SideBySide(floats=measured(1.0), other=measured(0.5))
    assert found.ratio_interval == (0.0, math.inf)


def test_both_are_timed_in_turns_in_the_same_processes() -> None:
    found = side_by_side(
        chain_graph(CHAIN), graph_for(CHAIN, INT8), INT8, processes=2, rounds=2, pace=Pace()
    )
    assert found.floats.by_process.keys() == found.other.by_process.keys() == {0, 1}
    facts = found.as_json()
    assert facts["processes"] == 2
    assert facts["ratio"] == pytest.approx(facts["ms"] / facts["fp32_ms"], rel=0.1)
