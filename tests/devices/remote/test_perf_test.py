"""Devices without Python, by a stand-in for ONNX Runtime's own program: on every transport."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from devices import DeviceSpec, DeviceUnavailable, Transport, UnsupportedGraph, backend_for
from devices.cores import Cluster
from devices.graph import Graph
from devices.host import allowed_cpus
from devices.placement import chosen_cpus
from profiler import (
    TRIES,
    Conv,
    Judged,
    Measurement,
    Pace,
    Refused,
    Taken,
    Task,
    Unmeasurable,
    campaign_stream,
    measure_sustained,
)
from profiler.operators.builders import chain_graph

RealDevice = tuple[Transport, str]

STAND_IN = Path(__file__).with_name("stand_in_perf_test.py")
GRAPH = chain_graph((Conv(input_shape=(1, 16, 30, 30), channels=32, kernel=3),))
LARGE = chain_graph((Conv(input_shape=(1, 64, 60, 60), channels=64, kernel=3),))
PACE = Pace(slice_s=0.004, sample_s=0.002, warm_window_s=0.001, warm_limit_s=0.002)


def program(folder: Path, script: str = f'exec {sys.executable} {STAND_IN} "$@"') -> str:
    """Return a program that takes the place of the real one."""
    path = folder / "onnxruntime_perf_test"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


STEADY = r"""
[ "$1" = -h ] && { echo 'onnxruntime_perf_test [options...]'; exit 1; }
for word; do model=$path; path=$word; done
[ "$(wc -c <"$model")" -lt 20 ] && { echo INVALID_PROTOBUF; exit 255; }
while [ "$1" != -r ]; do shift; done
awk -v runs="$2" 'BEGIN { for (i = 0; i < runs; i++) print "graphs,0.0005,48234496,98," i }' >result
"""
"""Every run takes half a millisecond; a graph is only looked at for its size."""


def phone(transport: Transport, perf_test: str, *, threads: int = 1) -> DeviceSpec:
    """Return a device that needs no Python: that of the transport is none."""
    way = replace(transport, python="/no/python", folder=f"{transport.folder}/perf test")
    return DeviceSpec(
        name="phone", backend="onnxruntime", threads=threads, transport=way, perf_test=perf_test
    )


@pytest.fixture
def near(tmp_path: Path) -> Transport:
    return Transport(kind="local", folder=str(tmp_path / "there"))


def test_a_graph_is_timed_run_by_run_over_every_link(
    real_device: RealDevice, tmp_path: Path
) -> None:
    backend = backend_for(phone(real_device[0], program(tmp_path)))
    with backend.open(GRAPH) as session:
        runs_s = session.time_each(30)
        assert len(runs_s) == 30
        assert min(runs_s) > 0.0
        assert session.time(5) > 0.0
    with backend.open(LARGE) as session:
        assert min(session.time_each(30)) > min(runs_s)


def test_the_environment_says_what_ran_where(near: Transport, tmp_path: Path) -> None:
    device = phone(near, program(tmp_path))
    environment = backend_for(device).environment()
    assert environment == backend_for(device).environment()
    assert environment["runtime"].startswith("onnxruntime_perf_test ")
    assert environment["samples"] == "each of a fresh process, warm"
    assert environment["cpus"] == str(allowed_cpus()[-1])
    Path(device.perf_test).write_text(Path(device.perf_test).read_text() + "# another build\n")
    assert backend_for(device).environment()["runtime"] != environment["runtime"]


def test_on_battery_is_a_condition_of_a_table(
    near: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.cores.POWER", tmp_path / "power")
    backend = backend_for(phone(near, program(tmp_path, STEADY)))
    battery = tmp_path / "power" / "battery"
    battery.mkdir(parents=True)
    (battery / "type").write_text("Battery\n")
    for status, said in (("Discharging", "battery"), ("Charging", None)):
        (battery / "status").write_text(f"{status}\n")
        assert backend.environment().get("power") == said


def test_a_trace_names_the_kernels_and_brings_the_graph_as_it_ran(
    near: Transport, tmp_path: Path
) -> None:
    import onnx

    trace = backend_for(phone(near, program(tmp_path))).trace(GRAPH, runs=3)
    assert "Conv" in {kernel.op for kernel in trace.kernels}
    assert trace.sum_s > 0.0
    domains = {node.domain for node in onnx.load_from_string(trace.optimized).graph.node}
    assert "com.microsoft.nchwc" in domains


def test_a_campaign_measures_through_it_beside_the_canary_and_behind_the_gate(
    near: Transport, tmp_path: Path
) -> None:
    device = phone(near, program(tmp_path, STEADY))
    once = Task(number=0, process=0, round=0, tries=TRIES - 1)  # and no pause if others are at work
    taken, judged = campaign_stream(device, [GRAPH], [once], PACE, replicate=0)
    assert isinstance(taken, Taken)
    assert Measurement(slices=(taken.slice,)).median_s == pytest.approx(0.0005)
    assert taken.slice.reference_s == pytest.approx((0.0005,) * len(taken.slice.samples_s))
    assert isinstance(judged, Judged)
    assert judged.ids == (0,)
    assert judged.gate != "drift"


def test_a_graph_that_the_program_refuses_does_not_end_the_campaign(
    near: Transport, tmp_path: Path
) -> None:
    device = phone(near, program(tmp_path))
    strange = Graph(onnx=b"no graph", inputs=())
    with (
        pytest.raises(UnsupportedGraph, match=r"perf_test refuses the graph: .*INVALID"),
        backend_for(device).open(strange),
    ):
        pass
    steady = phone(near, program(tmp_path, STEADY))
    task = Task(number=0, process=0, round=0)
    event = next(campaign_stream(steady, [strange], [task], PACE, replicate=0))
    assert isinstance(event, Refused)


def test_outputs_cannot_be_had_and_that_is_said(near: Transport, tmp_path: Path) -> None:
    device = phone(near, program(tmp_path, STEADY))
    with (
        backend_for(device).open(GRAPH) as session,
        pytest.raises(UnsupportedGraph, match="shows no outputs, so numbers cannot be checked"),
    ):
        session.run({})


def test_a_load_without_a_pause_is_refused(near: Transport, tmp_path: Path) -> None:
    device = phone(near, program(tmp_path, STEADY))
    with pytest.raises(Unmeasurable, match="'phone' cannot be loaded without a pause"):
        measure_sustained(GRAPH, device, load_s=30.0)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "No such file"),
        ("#!/bin/sh\necho 'CANNOT LINK EXECUTABLE: library libonnxruntime.so not found'\n", "LINK"),
        ("\x7fELF of another processor", ""),
    ],
)
def test_a_program_that_does_not_start_is_named_with_the_cure(
    near: Transport, tmp_path: Path, content: str, why: str
) -> None:
    path = tmp_path / "onnxruntime_perf_test"
    if content:
        path.write_text(content)
        path.chmod(0o755)
    with pytest.raises(DeviceUnavailable) as raised:
        backend_for(phone(near, str(path)))
    said = str(raised.value)
    assert said.startswith(f"this machine cannot run {path}: ")
    assert why in said
    assert said.endswith("there, for its processor, with its libraries beside it")
    assert "\n" not in said


def test_results_that_nobody_knows_are_quoted(near: Transport, tmp_path: Path) -> None:
    path = tmp_path / "onnxruntime_perf_test"
    path.write_text(
        "#!/bin/sh\n[ $1 = -h ] && echo onnxruntime_perf_test [options...]\necho nonsense >result\n"
    )
    path.chmod(0o755)
    backend = backend_for(phone(near, str(path)))
    with pytest.raises(DeviceUnavailable, match="wrote 0 results of 1 runs: this release is not"):
        backend.open(GRAPH).__enter__()


def test_its_own_seconds_are_no_load_of_others(near: Transport, tmp_path: Path) -> None:
    backend = backend_for(phone(near, program(tmp_path)))
    before = backend.host.load()
    with backend.open(GRAPH) as session:
        session.time(50)
    after = backend.host.load()
    if before is None or after is None:
        pytest.skip("this system has no load counters, so there is no gate to test")
    assert after.own_s > before.own_s
    assert after.busy_s > before.busy_s
    assert after.cpus == 1


def test_cpus_are_chosen_among_those_of_the_device() -> None:
    kinds = (
        Cluster(cpus=(0, 1, 2, 3), capacity=200, highest_khz=1_800_000),
        Cluster(cpus=(4, 5, 6, 7), capacity=700, highest_khz=2_400_000),
        Cluster(cpus=(8,), capacity=1024, highest_khz=3_000_000),
    )
    spec = DeviceSpec(name="phone", backend="onnxruntime")
    assert chosen_cpus(spec, kinds) == (8,)
    assert chosen_cpus(replace(spec, cluster="middle", threads=2), kinds) == (6, 7)
    assert chosen_cpus(replace(spec, affinity=(3,)), kinds) == (3,)
    with pytest.raises(DeviceUnavailable, match=r"wants 2 threads on CPUs of any.* are \[8\]"):
        chosen_cpus(replace(spec, cluster="big", threads=2), kinds)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "perf_test is for a device with a transport"),
        ({"backend": "simulated"}, "perf_test is for a device with a transport"),
        ({"transport": Transport(kind="adb"), "perf_test": "bin/x"}, "is an absolute path"),
    ],
)
def test_a_program_without_a_device_is_refused(fields: dict[str, object], said: str) -> None:
    usual = {"name": "phone", "backend": "onnxruntime", "perf_test": "/bin/x"}
    with pytest.raises(ValueError, match=said):
        DeviceSpec(**{**usual, **fields})  # type: ignore[arg-type]
