from dataclasses import replace

import pytest

from devices import LoadReading
from profiler import Gate
from profiler.campaigns.gate import judge


def reading(
    at_s: float = 0.0,
    *,
    busy_s: float = 0.0,
    own_s: float = 0.0,
    waited_s: float = 0.0,
    stolen_s: float = 0.0,
    cpus: int = 1,
) -> LoadReading:
    return LoadReading(
        at_s=at_s, busy_s=busy_s, own_s=own_s, waited_s=waited_s, stolen_s=stolen_s, cpus=cpus
    )


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (reading(1.0, busy_s=1.0, own_s=1.0), "clean"),
        (reading(1.0, busy_s=1.0, own_s=0.93), "clean"),  # 0.07 core of others
        (reading(1.0, busy_s=1.0, own_s=0.91), "load"),  # 0.09 core
        (reading(2.0, busy_s=2.0, own_s=1.85), "clean"),  # 0.15 s in 2 s are 0.075 core
        (reading(1.0, busy_s=0.9, own_s=0.9, waited_s=0.07), "clean"),
        (reading(1.0, busy_s=0.9, own_s=0.9, waited_s=0.1), "load"),
        (reading(1.0, busy_s=0.9, own_s=0.9, stolen_s=0.02), "clean"),
        (reading(1.0, busy_s=0.9, own_s=0.9, stolen_s=0.04), "steal"),
        (reading(1.0, busy_s=0.9, own_s=0.1, stolen_s=0.04), "steal"),  # the worse of the two
        (reading(1.0, busy_s=0.9, own_s=1.0), "clean"),  # ticks are coarse: own may be ahead
    ],
)
def test_a_verdict_follows_from_the_counters(after: LoadReading, verdict: Gate) -> None:
    assert judge(reading(), after) == verdict


def test_steal_is_a_share_of_all_cpus() -> None:
    assert judge(reading(cpus=2), reading(1.0, stolen_s=0.05, cpus=2)) == "clean"
    assert judge(reading(cpus=1), reading(1.0, stolen_s=0.05, cpus=1)) == "steal"


def test_a_clock_that_was_held_down_for_a_thirtieth_of_the_time_is_throttled() -> None:
    before = reading()
    assert judge(before, replace(reading(1.0), throttled_s=0.02)) == "clean"
    assert judge(before, replace(reading(1.0), throttled_s=0.04)) == "throttle"


def test_what_was_there_before_does_not_count() -> None:
    before = reading(100.0, busy_s=90.0, own_s=10.0, waited_s=5.0, stolen_s=7.0)
    after = reading(101.0, busy_s=91.0, own_s=11.0, waited_s=5.0, stolen_s=7.0)
    assert judge(before, after) == "clean"


@pytest.mark.parametrize(
    ("before", "after"), [(None, None), (reading(), None), (None, reading(1.0))]
)
def test_without_counters_the_gate_is_open(
    before: LoadReading | None, after: LoadReading | None
) -> None:
    assert judge(before, after) == "open"


def test_two_readings_at_one_moment_are_no_error() -> None:
    assert judge(reading(), reading()) == "clean"
