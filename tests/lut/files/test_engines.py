"""What a table knows of its engines: on a GPU whose time, builds and precision are arithmetic."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import BACKENDS, DeviceSpec, Gpu, InvalidFile, Simulation
from devices.nvidia.engine_facts import EngineFacts
from lut import (
    Conditions,
    Effort,
    LatencyTable,
    Role,
    fill_table,
    load_table,
    open_table,
    table_for,
)
from lut.files.engines import engines_of, engines_said
from lut.rows import rows_of
from lut.spread import build_ratios, spread_of
from lut.table import TIMING_CACHE
from lut.timing_cache import (
    NETWORKS,
    OPERATORS,
    cache_beside,
    cache_condition,
    learn_cache,
    rebuilt_sample,
)
from lut.views import summary
from profiler import Chain, Head, MBConv, Measurement, Slice, contexts, in_context
from profiler.campaigns.engines import Noted
from profiler.campaigns.jobs import event_of, line_of
from tests.fake_gpu import STRAYING_BATCH

SHAPE = (1, 16, 14, 14)
OPS = [MBConv(input_shape=SHAPE, channels=16, kernel=k, expand=e) for k in (3, 5) for e in (3,)]
WANTED: dict[Chain, Role] = {in_context(op): "operator" for op in OPS}
WANTED |= {chain: "context" for op in OPS for chain in contexts(op)}
NETWORKS_OF: list[Chain] = [
    (*(OPS[i % 2],) * (1 + i), Head(input_shape=SHAPE, channels=32, classes=10)) for i in range(3)
]
WANTED |= {chain: "calibration" for chain in NETWORKS_OF}
RTX = DeviceSpec(name="gpu", backend="fake-gpu", gpu=Gpu(module="tensorrt_rtx"))
TENSORRT = DeviceSpec(
    name="gpu", backend="fake-gpu", gpu=Gpu(), simulation=Simulation(process_noise=0.1)
)


@pytest.fixture(autouse=True)
def fake_gpu(monkeypatch: pytest.MonkeyPatch, in_process: None) -> None:
    monkeypatch.setitem(BACKENDS, "fake-gpu", "tests.fake_gpu:FakeGpu")


def profiled(path: Path, device: DeviceSpec, *, processes: int = 2) -> LatencyTable:
    learn_cache(path, device, WANTED)
    with table_for(path, device) as file:
        fill_table(file, WANTED, Effort(processes=processes))
    return load_table(path)


def test_every_process_notes_every_engine(tmp_path: Path) -> None:
    table = profiled(tmp_path / "t.lut", RTX)
    assert table.engines.keys() == WANTED.keys()
    assert {len(facts) for facts in table.engines.values()} == {2}
    assert {each.build_s for facts in table.engines.values() for each in facts} == {1.0}


def test_what_waits_for_its_launches_is_said_with_the_cure(tmp_path: Path) -> None:
    assert RTX.gpu is not None
    one_by_one = replace(RTX, gpu=replace(RTX.gpu, cuda_graph=False))
    said = str(summary(profiled(tmp_path / "t.lut", one_by_one))["engines"])
    # Four kernels that are each launched in 10 us, and computed in less.
    rows = len(WANTED)
    assert (
        f"{2 * rows} for {rows} rows, each built in 1 s and loaded in 0.5 s; all compute in" in said
    )
    assert f"{rows} of {rows} rows are launch-bound" in said
    assert "cuda_graph: true in a device file" in said


def test_a_gpu_that_is_behind_its_queue_is_not_launch_bound() -> None:
    (chain,) = NETWORKS_OF[:1]
    busy = EngineFacts(build_s=1.0, load_s=1.0, nodes=1, queue_share=0.1)
    waits = replace(busy, queue_share=0.9)
    assert "none waits" in engines_said({chain: (busy, busy)}, cuda_graph=True)
    assert "a larger batch" in engines_said({chain: (waits, waits)}, cuda_graph=True)
    assert engines_said({}, cuda_graph=True) == ""


def test_a_row_of_another_precision_has_that_status_and_is_counted(tmp_path: Path) -> None:
    table = profiled(tmp_path / "t.lut", replace(RTX, batch=STRAYING_BATCH))
    assert {rows_of(table).status(op) for op in OPS} == {"other precision"}
    figures = summary(table)
    assert "other precision" in str(figures["rows"])
    assert f"{len(WANTED)} rows compute in another precision than that of the table (0.conv" in str(
        figures["engines"]
    )


def test_a_runtime_that_does_not_say_its_precision_is_not_believed() -> None:
    (chain,) = NETWORKS_OF[:1]
    said = engines_said({chain: (EngineFacts(build_s=1.0, load_s=1.0),)}, cuda_graph=True)
    assert "what 1 rows compute in is not known" in said


def test_a_table_of_a_cpu_says_nothing_of_engines(tmp_path: Path, exact: DeviceSpec) -> None:
    table = profiled(tmp_path / "t.lut", exact, processes=1)
    assert not table.engines
    assert "engines" not in summary(table)
    assert not cache_beside(tmp_path / "t.lut").exists()


def test_a_note_goes_over_the_wire_as_it_is() -> None:
    note = Noted(number=3, facts=EngineFacts(build_s=1.0, load_s=2.0, nodes=4, strays=("a",)))
    assert event_of(line_of(note)) == note
    labels = {"engine 0 []": note.facts.as_json(), "engine 1 []": note.facts.as_json(), "else": 1}
    assert engines_of(labels) == {(): (note.facts, note.facts)}


def test_a_timing_cache_is_kept_beside_the_table_and_its_hash_in_the_conditions(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.lut"
    table = profiled(path, TENSORRT)
    assert cache_beside(path).read_bytes() == b"%d kernels" % len(WANTED)
    assert (
        table.conditions.environment[TIMING_CACHE] == cache_condition(path, TENSORRT)[TIMING_CACHE]
    )
    # Built by one cache, all processes agree: what they differ by is none of the builds'.
    seconds = np.array([list(row.by_process.values()) for row in table.chains.values()])
    assert (np.ptp(seconds, axis=1) < 0.01 * seconds.mean(axis=1)).all()


def test_a_table_without_its_timing_cache_is_not_filled(tmp_path: Path) -> None:
    path = tmp_path / "t.lut"
    profiled(path, TENSORRT, processes=1)
    cache_beside(path).write_bytes(b"another")
    with table_for(path, TENSORRT) as file, pytest.raises(InvalidFile, match="put it back beside"):
        fill_table(file, WANTED, Effort(processes=2))


def test_tables_of_two_timing_caches_do_not_mix_and_a_device_names_none(exact: DeviceSpec) -> None:
    first, second = (Conditions(device=exact, environment={TIMING_CACHE: x}) for x in "ab")
    assert first.differences(second) == ["timing cache: a in the table, b here"]
    assert first.differences(Conditions(device=exact, environment={})) == []


def test_only_a_new_table_of_tensorrt_learns_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "t.lut"
    learn_cache(path, RTX, WANTED)
    assert not cache_beside(path).exists()
    cache_beside(path).write_bytes(b"mine")
    learn_cache(path, TENSORRT, WANTED)
    assert cache_beside(path).read_bytes() == b"mine"


def test_the_sample_that_is_built_anew_is_spread_over_operators_and_networks() -> None:
    assert rebuilt_sample(WANTED).keys() == {*map(in_context, OPS), NETWORKS_OF[0], NETWORKS_OF[2]}
    many: dict[Chain, Role] = {
        in_context(MBConv(input_shape=(1, 8, 4, 4), channels=c)): "operator" for c in range(8, 58)
    }
    assert len(rebuilt_sample(many)) <= OPERATORS
    assert NETWORKS == 2


def test_builds_that_differ_widen_the_rows_and_the_networks(tmp_path: Path) -> None:
    path = tmp_path / "t.lut"
    alike = profiled(path, TENSORRT)
    with table_for(path, TENSORRT) as file:
        fill_table(file, rebuilt_sample(WANTED), Effort(processes=4, first_process=2))
    table = load_table(path)
    assert table.rebuilt.keys() == rebuilt_sample(WANTED).keys()
    assert len(build_ratios(table)) == 2 * 4
    assert np.log(build_ratios(table)).std(ddof=1) == pytest.approx(0.1, rel=0.6)
    for chain in WANTED:
        before, after = spread_of(alike).log_s[chain], spread_of(table).log_s[chain]
        assert math.sqrt(before.variance) < 0.01
        assert math.sqrt(after.variance) == pytest.approx(0.1, rel=0.6)
    with open_table(path) as file:
        assert set(role for _, role in file.roles()) == {*WANTED.values(), "rebuilt"}


def of(*seconds: float) -> Measurement:
    return Measurement(
        slices=tuple(
            Slice(process=i, round=0, repeats=1, samples_s=(each,), gate="clean")
            for i, each in enumerate(seconds)
        )
    )


def test_only_what_builds_add_to_the_processes_own_spread_is_added() -> None:
    first, second = map(in_context, OPS[:2])
    table = LatencyTable(
        name="t",
        conditions=None,  # type: ignore[arg-type]  # not looked at
        chains={first: of(1.0, math.exp(0.2)), second: of(math.exp(0.2), 1.0)},
        rebuilt={first: of(1.0, math.exp(0.6)), second: of(math.exp(0.6), 1.0)},
    )
    without = spread_of(replace(table, rebuilt={})).log_s[first].variance
    # Rows that go apart by 0.2 have a variance of 0.02 * 2, those that are built anew of 0.18 * 2:
    # of two rows and two processes one degree of freedom is left, and each row counts for half.
    assert spread_of(table).log_s[first].variance - without == pytest.approx(0.36 - 0.04)
