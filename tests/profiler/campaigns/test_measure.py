from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import pytest

from devices import DeviceSpec, Tensors, backend_for
from profiler import Conv, Pace, Unmeasurable, take_samples
from profiler.campaigns.measure import FEWEST_SAMPLES, Reference
from profiler.operators.builders import chain_graph

OPERATOR = (Conv(input_shape=(1, 16, 14, 14), channels=32),)


@dataclass(slots=True)
class Scripted:
    """A session whose runs take what a function of its clock says."""

    run_s: Callable[[float], float]
    now_s: float = 0.0
    calls: list[int] = field(default_factory=list)

    def run(self, inputs: Tensors) -> Tensors:
        return inputs

    def time(self, repeats: int) -> float:
        self.calls.append(repeats)
        start_s = self.now_s
        for _ in range(repeats):
            self.now_s += self.run_s(self.now_s)
        return self.now_s - start_s

    def time_each(self, runs: int) -> tuple[float, ...]:
        return tuple(self.time(1) for _ in range(runs))


def steady(run_s: float) -> Scripted:
    return Scripted(lambda _: run_s)


def test_a_known_latency_is_found_through_the_noise(exact: DeviceSpec, noisy: DeviceSpec) -> None:
    with backend_for(exact).open(chain_graph(OPERATOR)) as session:
        truth_s = session.time(1)
    with backend_for(noisy).open(chain_graph(OPERATOR)) as session:
        samples_s = take_samples(session, Pace()).samples_s
    assert len(samples_s) >= FEWEST_SAMPLES
    assert median(samples_s) == pytest.approx(truth_s, rel=0.01)


def test_runs_are_repeated_until_a_sample_outlasts_the_clock() -> None:
    taken = take_samples(steady(100e-6), Pace(sample_s=0.001))
    assert taken.repeats == 16  # 100 us doubles to 1.6 ms, the first above 1 ms
    assert taken.samples_s == pytest.approx(
        [100e-6] * len(taken.samples_s)
    )  # per run, not per sample


def test_a_run_that_outlasts_a_sample_is_not_repeated() -> None:
    taken = take_samples(steady(0.25), Pace(slice_s=2.5))
    assert taken.repeats == 1
    assert len(taken.samples_s) == 10


def test_a_run_that_outlasts_a_slice_is_sampled_a_few_times() -> None:
    session = steady(3.0)
    taken = take_samples(session, Pace())
    assert (taken.repeats, taken.samples_s) == (1, (3.0,) * FEWEST_SAMPLES)
    # Not for ever: to allocate, to count, two windows, the samples.
    assert sum(session.calls) <= 4 + FEWEST_SAMPLES


def test_the_canary_is_timed_before_and_after_every_sample() -> None:
    to_count, cold_s = [1.0, 1.0, 1.0], 9.0
    warm_s = [1.0, 1.2, 1.4, 1.6, 1.8]
    runs_s = iter([*to_count, *(s for each_s in warm_s for s in (cold_s, each_s))])
    canary = Reference(Scripted(lambda _: next(runs_s)), Pace(slice_s=1.0))
    taken = take_samples(steady(0.5), Pace(slice_s=1.0), canary)
    assert taken.reference_s == pytest.approx([1.1, 1.3, 1.5, 1.7])


def test_what_slows_both_down_leaves_their_ratio_alone() -> None:
    started = Scripted(lambda now_s: 0.001 * (1 + now_s))  # 0.1 % slower every millisecond
    canary = Reference(started, Pace())
    taken = take_samples(started, Pace(), canary)
    ratios = np.array(taken.samples_s) / taken.reference_s
    assert np.ptp(taken.samples_s) > 0.02 * taken.samples_s[0]
    assert ratios == pytest.approx(np.ones(len(ratios)), rel=1e-3)


@pytest.mark.parametrize("run_s", [1e-5, 3e-4, 0.004])
def test_samples_fill_the_slice_and_not_much_more(run_s: float) -> None:
    pace = Pace(slice_s=0.05, sample_s=0.002)
    taken = take_samples(steady(run_s), pace)
    sample_s = taken.repeats * run_s
    assert pace.sample_s <= sample_s
    spent_s = sum(taken.samples_s) * taken.repeats
    assert pace.slice_s <= spent_s < pace.slice_s + 1.001 * sample_s


def test_an_interruption_does_not_pass_for_a_long_run() -> None:
    runs = iter([0.0001, 5.0])  # the first allocates, the second is interrupted
    taken = take_samples(Scripted(lambda _: next(runs, 0.0001)), Pace(sample_s=0.001))
    assert taken.repeats == 16  # as without the interruption: 1.6 ms, the first above 1 ms
    assert taken.samples_s == pytest.approx([0.0001] * len(taken.samples_s))


def test_the_first_run_never_counts() -> None:
    first = Scripted(lambda now_s: 5.0 if now_s == 0.0 else 0.001)
    samples_s = take_samples(first, Pace()).samples_s
    assert max(samples_s) == pytest.approx(0.001)


def test_nothing_counts_until_the_device_is_as_fast_as_it_gets() -> None:
    to_go = iter(range(60, 0, -1))  # every run 3 % faster than the one before, then flat
    ramping = Scripted(lambda _: 0.001 * 1.03 ** next(to_go, 0))
    pace = Pace(warm_window_s=0.005, warm_limit_s=1.0, flat=0.02)
    samples_s = take_samples(ramping, pace).samples_s
    assert samples_s == pytest.approx([0.001] * len(samples_s))


def test_a_device_that_never_gets_steady_is_measured_all_the_same() -> None:
    unsteady = Scripted(lambda now_s: 0.001 if int(now_s / 0.01) % 2 else 0.003)
    pace = Pace(slice_s=0.05, warm_window_s=0.01, warm_limit_s=0.1, flat=0.0)
    samples_s = take_samples(unsteady, pace).samples_s
    assert len(samples_s) >= 2
    assert unsteady.now_s < 0.25  # calibration, the warm-up's limit, the slice


def test_a_run_that_takes_no_time_cannot_be_measured() -> None:
    @dataclass(slots=True)
    class Nothing:
        asked: int = 0

        def run(self, inputs: Tensors) -> Tensors:
            return inputs

        def time(self, repeats: int) -> float:
            self.asked += repeats
            return 0.0

        def time_each(self, runs: int) -> tuple[float, ...]:
            return tuple(self.time(1) for _ in range(runs))

    session = Nothing()
    with pytest.raises(Unmeasurable, match=r"1048576 runs take less than 0\.002 s") as raised:
        take_samples(session, Pace())
    assert "\n" not in str(raised.value)
    assert session.asked == 2**22 - 1  # 1, then twice 1 + 2 + 4 + ... + 2^20: it gave up in the end


@pytest.mark.parametrize(("slice_s", "sample_s"), [(0.05, 0.06), (0.05, 0.0), (-1.0, 0.002)])
def test_a_slice_holds_a_sample(slice_s: float, sample_s: float) -> None:
    with pytest.raises(ValueError, match="holds no sample"):
        Pace(slice_s=slice_s, sample_s=sample_s)
