"""Limits as they are typed."""

from pathlib import Path

import pytest

from search.limits import InvalidLimit, asked_from, limits_from, range_ms


def test_a_range_includes_both_of_its_ends() -> None:
    limits = range_ms("4:12:0.1")
    assert len(limits) == 81
    assert (limits[0], limits[1], limits[-1]) == (4.0, 4.1, 12.0)


def test_a_range_ends_before_a_stop_that_no_step_reaches() -> None:
    assert range_ms("1:2:0.4") == (1.0, 1.4, 1.8)
    assert range_ms("5:5:1") == (5.0,)


def test_limits_and_ranges_add_up_in_seconds() -> None:
    assert limits_from([8.0], ["1:3:1"]) == pytest.approx((0.008, 0.001, 0.002, 0.003))


def test_a_limit_on_another_device_joins_every_limit() -> None:
    asked = asked_from([8.0], ["1:2:1"], ["gpu.lut:3", "a:b.lut:4"])
    assert asked.others == (Path("gpu.lut"), Path("a:b.lut"))
    first, _, last = asked.limits_s
    assert first == pytest.approx((0.008, 0.003, 0.004))
    assert last == pytest.approx((0.002, 0.003, 0.004))


@pytest.mark.parametrize("text", ["gpu.lut", "gpu.lut:", ":3", "gpu.lut:-3", "gpu.lut:nan"])
def test_what_is_no_table_with_a_limit_is_refused(text: str) -> None:
    with pytest.raises(InvalidLimit, match=f"--also {text}: write TABLE:MS, as in gpu.lut:3"):
        asked_from([8.0], also=[text])


@pytest.mark.parametrize(
    ("limits_ms", "ranges", "says"),
    [
        ([], [], "a search needs a limit: --limit-ms 8, or --limit-range 4:12:0.1"),
        ([float("nan")], [], "--limit-ms nan: a limit is a positive number of milliseconds"),
        ([float("inf")], [], "--limit-ms inf: a limit is a positive number"),
        ([-1.0], [], "--limit-ms -1: a limit is a positive number"),
        ([8.0, 8.0], [], "limit 8 ms is given twice: give each once"),
        ([2.0], ["1:3:1"], "limit 2 ms is given twice"),
        ([], ["12:4:0.1"], "12:4:0.1 runs backwards: write --limit-range 4:12:0.1"),
        ([], ["4:12"], "--limit-range 4:12: write START:STOP:STEP in milliseconds, as in"),
        ([], ["4:12:0"], "--limit-range 4:12:0: a limit is a positive number"),
        ([], ["4:nan:1"], "--limit-range 4:nan:1: a limit is a positive number"),
        ([], ["4:12:0.0001"], "has 80,001 limits, and at most 1,000 are answered at once: take a"),
    ],
)
def test_bad_limits_are_refused_in_one_line(
    limits_ms: list[float], ranges: list[str], says: str
) -> None:
    with pytest.raises(InvalidLimit) as caught:
        limits_from(limits_ms, ranges)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
