"""Every status of a row is reached, and for the right reason, on a device made for it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from devices import DeviceSpec, Simulation
from lut import Effort, LatencyTable, Role, fill_table, load_table, table_for
from lut.rows import RowStatus, rows_of
from profiler import Chain, MBConv, OpSpec, contexts, in_context

SHAPE = (1, 16, 14, 14)
OPS: tuple[OpSpec, ...] = tuple(
    MBConv(input_shape=SHAPE, channels=16, kernel=kernel, expand=expand)
    for kernel in (3, 5, 7)
    for expand in (3, 6)
)
QUIET: dict[str, float] = {"noise": 0.01, "process_noise": 0.005}

Profiled = Callable[..., LatencyTable]


@pytest.fixture
def profiled(tmp_path: Path, in_process: None) -> Profiled:
    def profile(*, rounds: int = 2, **trouble: float) -> LatencyTable:
        simulation = Simulation(**{**QUIET, **trouble})  # type: ignore[arg-type]
        device = DeviceSpec(name="sim", backend="simulated", simulation=simulation)
        wanted: dict[Chain, Role] = {in_context(op): "operator" for op in OPS}
        wanted |= {chain: "context" for op in OPS for chain in contexts(op)}
        path = tmp_path / "sim.lut"
        with table_for(path, device) as file:
            fill_table(file, wanted, Effort(processes=3, rounds=rounds))
        return load_table(path)

    return profile


def statuses(table: LatencyTable) -> Counter[RowStatus]:
    return Counter(rows_of(table).status(op) for op in OPS)


def doubts(table: LatencyTable) -> str:
    return " ".join(doubt for op in OPS for doubt in table.measurement(op).doubts())


def test_a_quiet_device_is_ok(profiled: Profiled) -> None:
    table = profiled()
    assert statuses(table) == {"ok": len(OPS)}
    assert doubts(table) == ""


def test_permanent_load_is_noisy(profiled: Profiled) -> None:
    table = profiled(load_period_s=1.0, load_share=1.0, load_factor=2.0)
    assert statuses(table) == {"noisy": len(OPS)}
    assert "slices were disturbed (load)" in doubts(table)


def test_samples_that_scatter_are_noisy(profiled: Profiled) -> None:
    table = profiled(noise=0.8, rounds=1)
    assert statuses(table)["noisy"] >= 4
    assert "% wide: measure on a quieter machine" in doubts(table)
    assert "disturbed" not in doubts(table)


def test_memory_that_lies_badly_now_and_then_is_bimodal(profiled: Profiled) -> None:
    table = profiled(misplaced_share=0.5, misplaced_factor=1.3, rounds=4)
    assert statuses(table)["bimodal"] >= 4
    assert "two modes" in doubts(table)


def test_a_device_that_only_gets_slower_is_throttled(profiled: Profiled) -> None:
    table = profiled(drift_per_s=1.0, rounds=6)  # no rest brings it back
    assert statuses(table)["throttled"] >= 4
    assert "slices were disturbed (drift)" in doubts(table)


def test_what_the_device_refuses_is_unsupported(profiled: Profiled) -> None:
    table = profiled(fault_share=0.5)
    refused = [op for op in OPS if in_context(op) in table.refusals]
    assert refused
    assert {rows_of(table).status(op) for op in refused} == {"unsupported"}


def test_a_short_disturbance_is_measured_again_and_leaves_no_trace(profiled: Profiled) -> None:
    table = profiled(load_period_s=3.0, load_share=0.15, load_factor=2.0, rounds=4)
    gates = Counter(piece.gate for op in OPS for piece in table.measurement(op).slices)
    assert gates["load"] > 0
    assert statuses(table) == {"ok": len(OPS)}
