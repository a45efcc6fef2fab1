"""What a campaign will take, beside what it took by the clock of a simulated device."""

from collections import Counter

import numpy as np
import pytest

from devices import DeviceSpec, Gpu, Simulation
from devices.simulated import Simulated
from profiler import Chain, Head, Judged, MBConv, Pace, in_context, plan_tasks, run_campaign
from profiler.campaigns.forecast import CACHED, building_seconds, forecast, slice_seconds

SHAPE = (1, 16, 28, 28)
OPS: list[Chain] = [
    in_context(MBConv(input_shape=SHAPE, channels=16, kernel=kernel, expand=expand))
    for kernel in (3, 5)
    for expand in (3, 6)
]
NETWORK: Chain = (
    *(MBConv(input_shape=SHAPE, channels=16),) * 8,
    Head(input_shape=SHAPE, channels=32, classes=10),
)
EXACT = DeviceSpec(
    name="exact",
    backend="simulated",
    simulation=Simulation(depthwise_macs_per_s=40e9, node_s=0.0, noise=0.0, process_noise=0.0),
)
RTX = DeviceSpec(name="rtx", backend="tensorrt", gpu=Gpu(module="tensorrt_rtx"))
TENSORRT = DeviceSpec(name="trt", backend="tensorrt")
PACE = Pace()


@pytest.mark.parametrize("chains", [OPS, [NETWORK]], ids=["operators", "network"])
def test_a_campaign_takes_about_what_was_foretold(chains: list[Chain]) -> None:
    tasks = plan_tasks(range(len(chains)), process=0, rounds=20, rng=np.random.default_rng(0))
    counts = Counter(chains[task.number] for task in tasks)
    foretold = forecast(counts, EXACT, PACE, processes=1)
    events = list(run_campaign(Simulated(EXACT), chains, tasks, PACE, cold=EXACT.timed_cold))
    last = [event for event in events if isinstance(event, Judged)][-1]
    assert foretold.seconds == pytest.approx(last.elapsed_s, rel=0.4)
    assert (foretold.rows, foretold.slices, foretold.builds) == (len(chains), len(tasks), 0)


def test_a_cold_slice_is_eight_runs_and_seven_canaries() -> None:
    pace = Pace(sample_s=0.002)
    # A canary of 1 ms runs once to be warm, and then for 1.5 ms at the mean.
    assert slice_seconds(0.01, pace, canary_s=0.001, cold=True) == pytest.approx(
        8 * 0.01 + 7 * (0.001 + 0.0015)
    )


def test_a_long_network_is_run_a_fixed_number_of_times() -> None:
    # The first windows are four runs, the warm-up two, and four samples of a run after another one.
    assert slice_seconds(1.0, PACE, canary_s=0.0, cold=False) == pytest.approx(
        4 + 2 + 4 * 2 + 5 * 0.0015
    )


def test_what_is_done_takes_nothing() -> None:
    done = forecast({NETWORK: 0}, RTX, PACE, processes=5)
    assert (done.rows, done.slices, done.processes, done.builds) == (0, 0, 0, 0)
    assert done.seconds == 0.0


def test_every_process_builds_every_engine() -> None:
    counts = dict.fromkeys(OPS, 3)
    foretold = forecast(counts, RTX, PACE, processes=3)
    assert foretold.builds == 3 * len(OPS)
    once_s = building_seconds(counts, RTX, processes=1)
    assert foretold.building_s == pytest.approx(3 * once_s)


def test_a_timing_cache_makes_later_builds_shorter() -> None:
    once_s = building_seconds({NETWORK: 1}, TENSORRT, processes=1) / (1 + CACHED)
    assert building_seconds({NETWORK: 1}, TENSORRT, processes=4) == pytest.approx(
        once_s * (1 + 4 * CACHED)
    )


def test_nothing_is_built_for_a_cpu() -> None:
    cpu = DeviceSpec(name="cpu", backend="onnxruntime", threads=2)
    one = DeviceSpec(name="cpu", backend="onnxruntime")
    assert forecast({NETWORK: 1}, cpu, PACE, processes=1).building_s == 0.0
    # Two threads run it faster, and are tested beside every slice.
    assert (
        forecast({NETWORK: 1}, cpu, PACE, processes=1).measuring_s
        != forecast({NETWORK: 1}, one, PACE, processes=1).measuring_s
    )
