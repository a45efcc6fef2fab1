"""Whole models on the simulated device: what is measured, what is derived from it."""

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import pytest

from devices import DeviceSpec, Graph, Kernel, Simulation, Trace, UnsupportedGraph
from profiler import (
    COVERAGE,
    Chain,
    Conv,
    Measurement,
    ModelProfile,
    Slice,
    Unmeasurable,
    profile_model,
    profile_steps,
)
from profiler.operators.builders import chain_graph
from profiler.whole_models.single_runs import SINGLE_RUNS_S
from profiler.whole_models.whole_model import TRACED_RUNS, trace_stream

CHAIN: Chain = (Conv(input_shape=(1, 16, 10, 10), channels=32),)
CHAIN_S = 16 * 32 * 100 / 1e9 + 4 * 48 * 100 / 1e9 + 1e-6


def device(**trouble: float) -> DeviceSpec:
    """Return a device of a billion of everything a second."""
    quiet = {"noise": 0.0, "process_noise": 0.0, "node_s": 1e-6}
    speed = {"dense_macs_per_s": 1e9, "depthwise_macs_per_s": 1e8, "bytes_per_s": 1e9}
    simulation = Simulation(**{**quiet, **speed, **trouble})  # type: ignore[arg-type]
    return DeviceSpec(name="exact", backend="simulated", simulation=simulation)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Starting a process takes a second; returns what would have run in one."""
    ran: list[str] = []

    def here(
        stream: Callable[..., Generator[Any, None, None]], *args: Any, **kwargs: Any
    ) -> Generator[Any, None, None]:
        ran.append(stream.__name__)
        return stream(*args, **kwargs)

    monkeypatch.setattr("profiler.campaigns.together.in_fresh_process", here)
    monkeypatch.setattr("profiler.whole_models.single_runs.in_fresh_process", here)
    monkeypatch.setattr("profiler.whole_models.whole_model.in_fresh_process", here)
    return ran


def test_without_noise_every_figure_is_the_sum_of_the_arithmetic() -> None:
    profile = profile_model(chain_graph(CHAIN), device(), processes=2)
    assert profile.latency_s == pytest.approx(CHAIN_S)
    assert profile.interval_s == pytest.approx((CHAIN_S, CHAIN_S))
    assert len(profile.single_runs_s) == 1_000
    for found in profile.percentiles.values():
        assert found is not None
        assert found.latency_s == pytest.approx(CHAIN_S)
    conv, ends = profile.kernels
    assert (conv.name, conv.op) == ("0.conv", "Conv")
    assert conv.latency_s == pytest.approx(52.2e-6)
    assert ends.latency_s == pytest.approx(19.2e-6)
    assert profile.doubts() == []


def test_every_look_takes_fresh_processes_and_says_when_it_is_done(
    in_this_process: list[str],
) -> None:
    steps: list[int] = []
    profile_model(chain_graph(CHAIN), device(), processes=3, on_step=steps.append)
    assert steps == list(range(1, profile_steps(3) + 1))
    assert in_this_process == ["campaign_stream"] * 3 + ["single_runs_stream"] * 3 + [
        "trace_stream"
    ]


def test_single_runs_come_from_all_processes() -> None:
    profile = profile_model(chain_graph(CHAIN), device(process_noise=0.05), processes=3)
    assert len({round(run_s, 12) for run_s in profile.single_runs_s}) == 3
    assert profile.latency_s == pytest.approx(CHAIN_S, rel=0.1)


def test_percentiles_show_what_means_of_many_runs_hide() -> None:
    # every 37 runs or so, one or two take three times as long
    shared = device(load_period_s=37.3 * CHAIN_S, load_share=0.1, load_factor=3.0)
    profile = profile_model(chain_graph(CHAIN), shared, processes=1)
    latencies_s = [p.latency_s for p in profile.percentiles.values() if p is not None]
    assert latencies_s == pytest.approx([CHAIN_S, CHAIN_S, 3 * CHAIN_S])


def slow_graph(side: int) -> tuple[Graph, float]:
    """Return a graph and how many seconds it takes on `device`."""
    chain: Chain = (Conv(input_shape=(1, 1_000, side, side), channels=500),)
    return chain_graph(chain), side**2 * (1_000 * 500 + 4 * 1_500) / 1e9 + 1e-6


def test_a_slow_model_gets_no_percentile_that_it_has_no_runs_for() -> None:
    graph, latency_s = slow_graph(20)
    profile = profile_model(graph, device(), processes=2)
    assert profile.latency_s == pytest.approx(latency_s) == pytest.approx(0.2024, abs=1e-5)
    runs = int(SINGLE_RUNS_S / latency_s)  # 148
    assert len(profile.single_runs_s) == runs
    assert [profile.percentiles[p] is None for p in (50, 90, 99)] == [False, False, True]
    assert f"no p99: it needs 1,000 single runs, and {runs} took up the time" in profile.doubts()


def test_a_model_of_most_of_a_minute_is_still_run_once_in_each_process() -> None:
    graph, latency_s = slow_graph(300)
    profile = profile_model(graph, device(), processes=2)
    assert profile.latency_s == pytest.approx(latency_s) == pytest.approx(45.54, abs=0.01)
    assert len(profile.single_runs_s) == 2
    assert set(profile.percentiles.values()) == {None}


def profile_of(*kernels_s: float, latency_s: float) -> ModelProfile:
    pieces = tuple(
        Slice(process=i, round=0, repeats=1, samples_s=(latency_s, latency_s), gate="clean")
        for i in range(2)
    )
    kernels = tuple(Kernel(name=str(s), op="Conv", latency_s=s) for s in kernels_s)
    return ModelProfile(
        measurement=Measurement(slices=pieces),
        single_runs_s=(latency_s,) * 1_000,
        trace=Trace(kernels=kernels, optimized=b""),
    )


def test_kernels_are_scaled_to_what_was_measured_without_the_profiler() -> None:
    profile = profile_of(0.3, 0.1, latency_s=0.2)
    assert [k.latency_s for k in profile.kernels] == pytest.approx([0.15, 0.05])
    assert profile.trace.sum_s == pytest.approx(0.4)


def test_kernels_too_short_for_the_profiler_have_no_share_and_that_is_said() -> None:
    profile = profile_of(0.0, 0.0, latency_s=0.2)
    assert [k.latency_s for k in profile.kernels] == [0.0, 0.0]
    (doubt,) = profile.doubts()
    assert "no kernel take any time" in doubt


@pytest.mark.parametrize(
    ("kernel_s", "says"),
    [
        (0.32, ["the profiler slowed the kernels down 1.6 times, short ones most: their shares"]),
        (0.29, []),
        (0.14, []),
        (0.12, ["the kernels explain 60% of the latency: the rest passes between them, or"]),
    ],
)
def test_kernels_that_are_far_from_the_latency_are_a_doubt(
    kernel_s: float, says: list[str]
) -> None:
    doubts = profile_of(kernel_s, latency_s=0.2).doubts()
    assert [doubt[: len(said)] for doubt, said in zip(doubts, says, strict=True)] == says


def test_the_interval_is_that_of_the_measurement() -> None:
    noisy = device(noise=0.05, process_noise=0.02)
    profile = profile_model(chain_graph(CHAIN), noisy, processes=3)
    assert profile.interval_s == profile.measurement.interval_s(COVERAGE)
    assert profile.interval_s[0] < profile.latency_s < profile.interval_s[1]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_precision_of_the_device_is_not_asked(precision: Any) -> None:
    other = replace(device(), precision=precision)
    profile = profile_model(chain_graph(CHAIN), other, processes=1)
    assert profile.latency_s == pytest.approx(CHAIN_S)


def test_a_model_that_the_device_refuses_says_why() -> None:
    strange = Graph(onnx=b"no graph", inputs=())
    with pytest.raises(Unmeasurable, match="device 'exact' cannot time the graph: the simulated"):
        profile_model(strange, device(), processes=1)
    with pytest.raises(UnsupportedGraph):
        next(trace_stream(device(), strange, TRACED_RUNS))
