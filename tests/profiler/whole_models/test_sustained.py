"""Minutes of load on simulated devices, which pass in an instant: what they show, and how well."""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from devices import DeviceSpec, Graph, Session, Simulation, Transport, backend_for
from devices.remote.plain import device_to_plain
from devices.simulated import Simulated
from profiler import (
    Chain,
    Conv,
    Event,
    Gate,
    Judged,
    Pace,
    Slice,
    Sustained,
    Taken,
    Unmeasurable,
    Window,
    measure_sustained,
    percentile,
    run_sustained,
    sustained_from,
)
from profiler.agent import events_of_job
from profiler.campaigns.jobs import line_of
from profiler.operators.builders import chain_graph
from profiler.whole_models.sustained_load import SINGLE_RUNS, windows_to_take

CHAIN: Chain = (Conv(input_shape=(1, 100, 30, 30), channels=100),)
RUN_S = 900 * 100 * 100 / 1e9 + 4 * 900 * 200 / 1e9 + 1e-6  # 9.7 ms


def device(transport: Transport | None = None, **trouble: float) -> DeviceSpec:
    """Return a device of a billion of everything a second."""
    quiet = {"noise": 0.0, "process_noise": 0.0, "node_s": 1e-6}
    speed = {"dense_macs_per_s": 1e9, "depthwise_macs_per_s": 1e8, "bytes_per_s": 1e9}
    simulation = Simulation(**{**quiet, **speed, **trouble})  # type: ignore[arg-type]
    return DeviceSpec(name="phone", backend="simulated", simulation=simulation, transport=transport)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a process takes a second."""

    def here(
        stream: Callable[..., Generator[Any, None, None]], *args: Any, **kwargs: Any
    ) -> Generator[Any, None, None]:
        return stream(*args, **kwargs)

    monkeypatch.setattr("profiler.whole_models.sustained_load.in_fresh_process", here)


here = pytest.mark.usefixtures("in_this_process")


def loaded(spec: DeviceSpec, load_s: float = 120.0) -> Sustained:
    return measure_sustained(CHAIN, spec, load_s=load_s)


@here
def test_a_steady_device_is_as_fast_in_the_end_as_at_first() -> None:
    found = loaded(device())
    assert found.load_s == pytest.approx(120.0, rel=0.02)
    assert found.burst.value == found.plateau.value == pytest.approx(RUN_S)
    assert found.plateau.low == found.plateau.high == pytest.approx(RUN_S)
    assert found.slope_per_min.value == pytest.approx(0.0, abs=1e-9)
    assert found.slowdown == pytest.approx(0.0)
    assert found.settled
    assert found.doubts() == ["from one process only: the intervals are too narrow by 2 to 5 times"]


@here
def test_a_device_that_throttles_has_a_burst_and_a_plateau() -> None:
    found = loaded(device(throttle_after_s=30.0, throttle_factor=1.5, noise=0.01))
    assert found.burst.value == pytest.approx(RUN_S, rel=0.01)
    assert found.plateau.value == pytest.approx(1.5 * RUN_S, rel=0.01)
    assert found.plateau.low < found.plateau.value < found.plateau.high
    assert found.slowdown == pytest.approx(0.5, abs=0.01)
    assert found.slope_per_min.value > 0.0
    assert found.settled


@here
def test_a_device_that_still_slows_down_has_no_plateau_yet() -> None:
    found = loaded(device(drift_per_s=0.002))  # 12 % in a minute
    assert found.slope_per_min.value == pytest.approx(0.12, rel=0.05)
    assert found.slope_per_min.low < found.slope_per_min.value < found.slope_per_min.high
    assert not found.settled
    assert found.doubts()[0] == "the end is not flat yet: load it for longer"


@here
def test_the_plateau_has_single_runs_enough_for_a_percentile() -> None:
    runs_s = loaded(device(noise=0.02)).plateau_runs_s
    assert len(runs_s) == pytest.approx(120 / 3 * SINGLE_RUNS, rel=0.05)
    p99 = percentile(runs_s, 99)
    assert p99 is None or p99.latency_s > RUN_S


@here
def test_what_others_do_beside_it_is_no_heat() -> None:
    found = loaded(device(load_period_s=20.0, load_share=0.1, load_factor=3.0))
    assert found.plateau.value == pytest.approx(RUN_S)
    assert {window.slice.gate for window in found.windows} == {"clean", "load"}
    assert not any("others were at work" in doubt for doubt in found.doubts())
    busy = loaded(device(load_period_s=20.0, load_share=0.9, load_factor=3.0))
    assert any("others were at work in" in doubt for doubt in busy.doubts())
    assert (found.status, busy.status) == ("ok", "noisy")


@here
def test_a_run_of_many_seconds_is_a_window_of_its_own() -> None:
    slow: Chain = (Conv(input_shape=(1, 1_000, 60, 60), channels=1_000),)  # 3.6 s
    found = measure_sustained(slow, device(), load_s=60.0)
    assert {len(window.slice.samples_s) for window in found.windows} == {1}
    assert len(found.windows) == 17
    assert found.load_s == pytest.approx(61.7, abs=0.1)


@here
def test_an_interrupted_load_goes_on_and_says_that_the_device_had_a_rest() -> None:
    stored: list[Event] = []

    def until_killed(event: Event) -> None:
        if len(stored) == 41:
            raise KeyboardInterrupt
        stored.append(event)

    with pytest.raises(KeyboardInterrupt):
        measure_sustained(CHAIN, device(), load_s=60.0, on_event=until_killed)
    assert isinstance(stored[-1], Taken)  # which nobody has judged
    found = measure_sustained(CHAIN, device(), load_s=60.0, earlier=stored)
    assert [window.slice.round for window in found.windows] == list(range(len(found.windows)))
    assert [i for i, w in enumerate(found.windows) if w.slice.gate == "rested"] == [20]
    assert found.load_s == pytest.approx(60.0, rel=0.02)
    assert found.doubts()[0] == "the device could cool in 1 interruptions: load it anew"


@here
def test_a_load_that_is_done_is_not_run_again() -> None:
    events: list[Event] = []
    first = measure_sustained(CHAIN, device(), load_s=30.0, on_event=events.append)
    again = measure_sustained(
        CHAIN, device(), load_s=30.0, earlier=events, on_event=lambda event: pytest.fail(str(event))
    )
    assert again == first == sustained_from(events)


@here
def test_a_graph_that_the_device_refuses_says_why() -> None:
    with pytest.raises(Unmeasurable, match="device 'phone' cannot time the graph: the simulated"):
        measure_sustained(Graph(onnx=b"no graph", inputs=()), device(), load_s=30.0)


def test_a_load_of_a_moment_is_none() -> None:
    with pytest.raises(ValueError, match="lasts 15 s or more, not 5"):
        loaded(device(), load_s=5.0)


def windows(*latencies_s: float) -> Sustained:
    """Return a load of windows of one run and one second each."""
    return Sustained(
        windows=tuple(
            Window(
                ends_s=i + 1.0,
                slice=Slice(process=0, round=i, repeats=1, samples_s=(run_s,), gate="clean"),
            )
            for i, run_s in enumerate(latencies_s)
        )
    )


def test_the_slope_is_the_median_of_all_slopes_between_two_points() -> None:
    # between pairs, a second: 0.1, 0.2, 0.15 of the burst; the burst is all three windows
    found = windows(1.0, 1.1, 1.3)
    assert found.burst.value == 1.1
    assert found.slope_per_min.value == pytest.approx(0.15 / 1.1 * 60)


def test_two_windows_are_no_load() -> None:
    with pytest.raises(ValueError, match="has 3 windows or more, got 2"):
        windows(1.0, 1.0)


@pytest.fixture
def far(tmp_path: Path) -> Transport:
    return Transport(kind="local", python=sys.executable, folder=str(tmp_path / "there"))


@here
def test_a_device_elsewhere_is_loaded_exactly_like_this_one(far: Transport) -> None:
    there, here_too = (device(way, noise=0.01, throttle_after_s=10.0) for way in (far, None))
    assert loaded(there, 30.0) == loaded(here_too, 30.0)


def test_a_killed_agent_goes_on_with_the_load_and_says_so(tmp_path: Path) -> None:
    graph, spec = chain_graph(CHAIN), device()
    (tmp_path / "graph").write_bytes(graph.onnx)
    file = {"chain": "", "file": "graph", "inputs": graph.inputs, "dtypes": (), "outside": ""}
    job = {
        "device": device_to_plain(spec),
        "replicate": 0,
        "sustained": True,
        "pace": asdict(Pace()),
        "tasks": [asdict(task) for task in windows_to_take(30.0, ())],
        "graphs": [file],
        "probes": [],
    }
    first = list(islice(events_of_job(tmp_path, job, []), 20))  # then it was killed
    rest = list(events_of_job(tmp_path, job, [line_of(event) for event in first]))
    both = sustained_from([*first, *rest])
    assert [window.slice.round for window in both.windows] == list(range(30))
    assert [i for i, w in enumerate(both.windows) if w.slice.gate == "rested"] == [10]
    assert both.load_s == pytest.approx(30.0, rel=0.02)


def test_what_is_left_of_a_load_is_what_its_time_lacks() -> None:
    done = windows(*[0.1] * 20).windows
    assert len(windows_to_take(60.0, ())) == 60
    assert [task.round for task in windows_to_take(60.0, done)] == list(range(20, 60))
    assert windows_to_take(20.2, done) == []


def test_the_events_of_a_load_are_those_of_a_campaign() -> None:
    tasks = windows_to_take(15.0, ())
    events = run_sustained(backend_for(device()), [CHAIN], tasks, build=chain_graph)
    first, verdict = islice(events, 2)
    assert isinstance(first, Taken)
    assert isinstance(verdict, Judged)
    assert (first.id, verdict.ids, verdict.redo, first.slice.repeats) == (0, (0,), 0, 1)
    assert verdict.elapsed_s == pytest.approx(1.0, rel=0.02)


def test_loading_the_graph_is_no_load() -> None:
    class SlowToOpen(Simulated):
        @contextmanager
        def open(self, graph: Graph, *, threads: int | None = None) -> Iterator[Session]:
            with super().open(graph, threads=threads) as session:
                self.host.now_s += 30.0
                yield session

    events = list(
        run_sustained(SlowToOpen(device()), [CHAIN], windows_to_take(60.0, ()), build=chain_graph)
    )
    found = sustained_from(events)
    assert len(found.windows) == 60
    assert found.load_s == pytest.approx(60.0, rel=0.02)
    assert found.windows[0].ends_s == pytest.approx(1.0, rel=0.02)


def judged_window(number: int, elapsed_s: float, *, gate: Gate = "clean") -> list[Event]:
    piece = Slice(process=0, round=number, repeats=1, samples_s=(1.0,))
    return [
        Taken(id=number, number=0, slice=piece),
        Judged(ids=(number,), gate=gate, redo=0, elapsed_s=elapsed_s),
    ]


def test_a_load_that_went_on_counts_a_long_first_window_whole() -> None:
    before = [*judged_window(0, 1.01), *judged_window(1, 2.02), *judged_window(2, 4.0)]
    after = [*judged_window(3, 4.5, gate="rested"), *judged_window(4, 5.5)]
    ends_s = [window.ends_s for window in sustained_from([*before, *after]).windows]
    assert ends_s == pytest.approx([1.01, 2.02, 4.0, 8.5, 9.5])
