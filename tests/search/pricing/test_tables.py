"""What profiling a space leaves in a table, on simulated devices."""

from pathlib import Path

from devices import DeviceSpec, Simulation
from lut import Effort, LatencyTable, Progress
from lut.rows import rows_of
from profiler import Pace
from search import space_named
from search.pricing.tables import SECOND_LOOKS, profile_space

SPACE = space_named("macro", resolution=16)
EFFORT = Effort(processes=4, pace=Pace(slice_s=0.01))


def profiled(path: Path, **trouble: float) -> tuple[LatencyTable, Progress]:
    simulation = Simulation(noise=0.01, process_noise=0.005, **trouble)  # type: ignore[arg-type]
    device = DeviceSpec(name="sim", backend="simulated", simulation=simulation)
    return profile_space(path, SPACE, device, effort=EFFORT)


def processes(table: LatencyTable) -> set[int]:
    return {len(measurement.by_process) for measurement in table.chains.values()}


def test_a_steady_device_is_measured_once(tmp_path: Path, in_process: None) -> None:
    table, progress = profiled(tmp_path / "sim.lut")
    assert processes(table) == {EFFORT.processes}
    assert progress.done == progress.total


def test_rows_that_scatter_are_measured_again(tmp_path: Path, in_process: None) -> None:
    trouble = {"misplaced_share": 0.15, "misplaced_factor": 1.5}
    table, progress = profiled(tmp_path / "sim.lut", **trouble)
    assert processes(table) == {EFFORT.processes, EFFORT.processes + SECOND_LOOKS}
    assert progress.done == progress.total
    looked_again = [c for c, m in table.chains.items() if len(m.by_process) > EFFORT.processes]
    assert set(rows_of(table).wide) <= set(looked_again)


def test_a_finished_table_is_not_measured_any_more(tmp_path: Path, in_process: None) -> None:
    trouble = {"misplaced_share": 0.15, "misplaced_factor": 1.5}
    first, _ = profiled(tmp_path / "sim.lut", **trouble)
    second, progress = profiled(tmp_path / "sim.lut", **trouble)
    assert progress.done == 0
    assert second.hash == first.hash
