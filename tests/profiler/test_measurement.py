import math
from dataclasses import replace

import numpy as np
import pytest

from profiler import Gate, Measurement, Slice
from profiler.intervals import BOOTSTRAPS


def piece(
    *samples_s: float, process: int = 0, turn: int = 0, gate: Gate = "clean", repeats: int = 1
) -> Slice:
    return Slice(process=process, round=turn, repeats=repeats, samples_s=samples_s, gate=gate)


def measured(*processes: tuple[float, ...]) -> Measurement:
    """Return a measurement from the slice medians of each process."""
    return Measurement(
        slices=tuple(
            piece(median_s, process=process, turn=turn)
            for process, medians_s in enumerate(processes)
            for turn, median_s in enumerate(medians_s)
        )
    )


def beside(canary_s: float, *samples_s: float, process: int = 0) -> Slice:
    """Return a slice in which the canary took the same time beside every sample."""
    reference_s = (canary_s,) * len(samples_s)
    return replace(piece(*samples_s, process=process), reference_s=reference_s)


def test_samples_of_all_slices_and_processes_are_pooled() -> None:
    slices = (piece(5.0, 6.0, 7.0), piece(1.0, process=1), piece(2.0, process=2))
    measurement = Measurement(slices=slices)
    assert measurement.latency_s == measurement.median_s == 5.0  # of the slices' medians: 2


def test_each_process_has_a_latency_of_its_own() -> None:
    slices = (piece(1.0, 2.0), piece(9.0, turn=1), piece(3.0, 4.0, process=7))
    assert Measurement(slices=slices).by_process == {0: 2.0, 7: 3.5}


def test_a_canary_beside_every_sample_takes_the_speed_out() -> None:
    fast, slow = beside(1.0, 3.0, 3.0), beside(1.5, 4.5, 4.5, 4.5, process=1)
    measurement = Measurement(slices=(fast, slow))
    assert measurement.ratio == 3.0  # runs of the canary, at either speed
    assert measurement.reference_s == 1.5
    assert measurement.latency_s == 4.5
    assert measurement.by_process == {0: 4.5, 1: 4.5}
    assert measurement.interval_s() == (4.5, 4.5)


def test_a_measurement_is_brought_to_another_speed_by_its_canary() -> None:
    assert Measurement(slices=(beside(2.0, 6.0),)).at(1.0) == 3.0


def test_without_a_canary_a_measurement_stays_as_it_is() -> None:
    measurement = Measurement(slices=(piece(6.0), beside(2.0, 4.0, process=1)))
    assert not measurement.paired
    assert measurement.at(1.0) == measurement.latency_s == 5.0


def test_the_clock_is_not_brought_to_another_speed() -> None:
    slices = (beside(1.0, 3.0), beside(2.0, 6.0, process=1), beside(1.0, 3.0, process=2))
    measurement = Measurement(slices=slices)
    assert measurement.median_s == 3.0
    low_s, high_s = measurement.median_interval_s()
    assert low_s == 3.0
    assert high_s >= 6.0


def test_who_slows_down_everything_for_a_while_moves_nothing(rng: np.random.Generator) -> None:
    quiet = 1.0 + 0.01 * rng.standard_normal((12, 25))
    slower = np.where(np.arange(12) % 2, 1.2, 1.0)[:, None]
    canaries = 1.0 + 0.01 * rng.standard_normal((12, 25))
    alone, disturbed = (
        Measurement(
            slices=tuple(
                replace(piece(*row, process=i % 6), reference_s=tuple(reference))
                for i, (row, reference) in enumerate(
                    zip((speed * quiet).tolist(), (speed * canaries).tolist(), strict=True)
                )
            )
        )
        for speed in (np.ones((12, 1)), slower)
    )
    assert disturbed.ratio == pytest.approx(alone.ratio, rel=1e-12)
    assert disturbed.status == "ok"
    assert disturbed.median_s > 1.05 * alone.median_s


@pytest.mark.parametrize(("slower_s", "doubted"), [(1.09, False), (1.12, True)])
def test_a_device_whose_speed_wanders_is_doubted(slower_s: float, doubted: bool) -> None:
    slices = [beside(speed_s, speed_s, process=i) for i in (0, 1) for speed_s in (1.0, slower_s)]
    doubts = Measurement(slices=tuple(slices)).doubts()
    assert doubts == ["the device's speed wandered by 12%: it is shared"] * doubted


def test_every_sample_has_a_canary_or_none_has() -> None:
    with pytest.raises(ValueError, match="2 samples have 1 canaries"):
        replace(piece(1.0, 2.0), reference_s=(1.0,))


def test_slices_without_a_gate_are_counted_among_the_doubts() -> None:
    gates: tuple[Gate, ...] = ("open", "clean", "open", "load")
    slices = tuple(piece(1.0, process=i, gate=gate) for i, gate in enumerate(gates))
    assert Measurement(slices=slices).doubts() == ["no gate was held for 2 of 4 slices"]


def test_disturbed_slices_do_not_count_while_there_are_others() -> None:
    disturbed = [piece(9.0, gate=gate) for gate in ("load", "steal", "drift")]
    measurement = Measurement(slices=(piece(1.0), *disturbed, piece(1.0, gate="open")))
    assert measurement.latency_s == measurement.median_s == 1.0
    assert len(measurement.used) == 2
    assert measurement.status == "ok"


def test_a_process_with_disturbed_slices_only_does_not_count() -> None:
    measurement = Measurement(slices=(piece(1.0), piece(9.0, process=1, gate="load")))
    assert measurement.by_process == {0: 1.0}


def test_where_every_slice_was_disturbed_all_count_and_the_status_says_so() -> None:
    measurement = Measurement(slices=(piece(1.0, gate="load"), piece(3.0, gate="drift")))
    assert measurement.latency_s == 2.0
    assert measurement.status == "noisy"
    assert "2 of 2 slices were disturbed (drift, load)" in measurement.doubts()[0]


def test_where_every_slice_drifted_the_device_throttles() -> None:
    slices = tuple(piece(1.0, process=process, gate="drift") for process in range(2))
    assert Measurement(slices=slices).status == "throttled"
    held = tuple(piece(1.0, process=process, gate="throttle") for process in range(2))
    assert Measurement(slices=held).status == "throttled"


def test_two_modes_are_flagged_and_not_trimmed() -> None:
    measurement = measured((1.0, 1.0, 1.2), (1.2, 1.2, 1.0))
    assert measurement.bimodal
    assert measurement.status == "bimodal"
    assert any("two modes" in doubt for doubt in measurement.doubts())
    assert len(measurement.used) == 6


@pytest.mark.parametrize(
    ("medians_s", "bimodal"),
    [
        ((1.0, 1.0, 1.0, 1.2), True),  # one of four is a quarter
        ((1.0, 1.0, 1.0, 1.0, 1.0, 1.2), False),  # one of six is a straggler
        ((1.0, 1.0, 1.0, 1.0, 1.2, 1.2), True),
        ((0.8, 1.0, 1.0, 1.0, 1.0, 1.0), False),
        ((0.8, 0.8, 1.0, 1.0, 1.0, 1.0), True),
        ((1.0, 1.02, 1.04, 1.06, 1.08, 1.10), False),  # a slope has no gap
        ((1.0, 1.2, 1.2), False),  # too few to tell
    ],
)
def test_two_modes_hold_a_quarter_of_the_slices_each(
    medians_s: tuple[float, ...], bimodal: bool
) -> None:
    assert measured(medians_s).bimodal == bimodal


def test_one_lucky_slice_among_many_disturbed_ones_does_not_stand_for_all() -> None:
    disturbed = tuple(piece(2.0, gate="drift") for _ in range(3))
    lucky = Measurement(slices=(piece(1.0), *disturbed))  # a quarter passed
    assert lucky.latency_s == 1.0
    unlucky = Measurement(slices=(piece(1.0), *disturbed, piece(2.0, gate="drift")))  # a fifth
    assert unlucky.disturbed
    assert len(unlucky.used) == 5
    assert unlucky.status == "throttled"


def test_the_interval_is_the_same_every_time() -> None:
    processes = ((1.0, 1.02), (0.98, 1.0), (1.05, 1.01))
    assert measured(*processes).interval_s() == measured(*processes).interval_s()


def test_the_interval_is_that_of_medians_which_are_drawn_one_by_one() -> None:
    rng = np.random.default_rng(1)
    groups = [[1.0 + rng.random(size) for size in sizes] for sizes in ((3, 8), (5,), (4, 4, 7))]
    measurement = Measurement(
        slices=tuple(
            piece(*samples_s, process=process)
            for process, group in enumerate(groups)
            for samples_s in group
        )
    )
    medians_s: list[float] = []
    rng = np.random.default_rng(0)
    for _ in range(BOOTSTRAPS):
        picked = [groups[i] for i in rng.integers(3, size=3)]
        again = [group[i] for group in picked for i in rng.integers(len(group), size=len(group))]
        medians_s.append(float(np.median(np.concatenate(again))))
    low_s, high_s = np.quantile(medians_s, [0.05, 0.95])
    center_s = measurement.latency_s
    stretch = 2.919986 / 1.644854 * math.sqrt(3 / 2)  # Student's t of 2 beside the normal
    assert measurement.interval_s() == pytest.approx(
        (center_s - stretch * (center_s - low_s), center_s + stretch * (high_s - center_s))
    )


def test_the_interval_of_few_processes_holds_the_latency_and_reaches_beyond_them() -> None:
    measurement = measured((1.0, 1.02), (0.98, 1.0), (1.05, 1.01))
    low_s, high_s = measurement.interval_s()
    assert 0.9 < low_s < 0.98 < measurement.latency_s < 1.05 < high_s < 1.1


def test_more_coverage_is_never_narrower() -> None:
    measurement = measured(*((1.0 + i / 100, 1.0 - i / 200) for i in range(6)))
    low_s, high_s = measurement.interval_s(0.5)
    wide_low_s, wide_high_s = measurement.interval_s(0.95)
    assert wide_low_s <= low_s <= high_s <= wide_high_s
    assert wide_high_s - wide_low_s > high_s - low_s


def test_equal_slices_have_no_interval() -> None:
    assert measured((2.0, 2.0), (2.0, 2.0)).interval_s() == (2.0, 2.0)


def width_s(measurement: Measurement) -> float:
    low_s, high_s = measurement.interval_s()
    return high_s - low_s


def test_processes_that_differ_make_it_wider_than_rounds_that_do() -> None:
    values = (0.97, 0.98, 0.99, 1.01, 1.02, 1.03)
    between = measured(*((value,) * 6 for value in values))
    within = measured(*(values,) * 6)
    assert between.latency_s == within.latency_s
    assert width_s(between) > 1.5 * width_s(within)


def test_nine_of_ten_intervals_of_many_processes_hold_the_truth(rng: np.random.Generator) -> None:
    """Processes differ by 0.5 %, slices by 0.2 %, samples by 1 %."""
    truth_s = 1.0
    held = 0
    for _ in range(60):
        offsets = 1.0 + 0.005 * rng.standard_normal((30, 1))
        slices = offsets + 0.002 * rng.standard_normal((30, 2))
        samples = slices[..., None] + 0.01 * rng.standard_normal((30, 2, 10))
        measurement = Measurement(
            slices=tuple(
                piece(*samples_s, process=process, turn=turn)
                for process, rounds in enumerate(samples.tolist())
                for turn, samples_s in enumerate(rounds)
            )
        )
        low_s, high_s = measurement.interval_s(0.9)
        held += low_s <= truth_s <= high_s
    assert held >= 48  # 54 expected, of 60; 2.6 standard deviations less


def test_a_wide_interval_is_noisy_and_names_the_cure() -> None:
    measurement = measured((0.9, 0.92), (1.0, 1.02), (1.06, 1.08), (0.96, 1.04))
    assert measurement.status == "noisy"
    assert any("% wide: measure on a quieter machine" in doubt for doubt in measurement.doubts())


def test_nothing_speaks_against_a_good_measurement() -> None:
    measurement = measured((1.0, 1.01), (1.005, 1.0), (0.995, 1.0))
    assert measurement.status == "ok"
    assert measurement.doubts() == []


def test_one_process_is_doubted() -> None:
    (doubt,) = measured((1.0, 1.0)).doubts()
    assert "from one process only" in doubt


@pytest.mark.parametrize("gate", ["open", "clean"])
def test_a_slice_is_trusted_until_something_speaks_against_it(gate: Gate) -> None:
    taken = piece(1.0, 2.0, gate="open")
    assert taken.judged(gate).trusted
    assert not taken.judged("steal").trusted
    assert taken.judged("steal").samples_s == (1.0, 2.0)


@pytest.mark.parametrize("samples_s", [(), (1.0, 0.0), (-1.0,)])
def test_a_slice_needs_samples_that_took_time(samples_s: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="a slice needs samples"):
        piece(*samples_s)


def test_a_measurement_needs_a_slice() -> None:
    with pytest.raises(ValueError, match="a measurement needs a slice"):
        Measurement(slices=())
