"""Single runs in fresh processes, on a device whose noise is known."""

import pytest

from devices import DeviceSpec, Simulation
from profiler import Conv
from profiler.operators.builders import chain_graph
from profiler.whole_models.single_runs import SingleRuns, runs_in_each, single_runs_stream

GRAPH = chain_graph((Conv(input_shape=(1, 8, 32, 32), channels=8, kernel=3),))


def taken(simulation: Simulation, *, runs: int = 20) -> SingleRuns:
    device = DeviceSpec(name="sim", backend="simulated", simulation=simulation)
    (found,) = single_runs_stream(device, GRAPH, runs, 10, replicate=3)
    return found


def test_every_run_is_timed_by_itself_and_none_is_left_out() -> None:
    found = taken(Simulation(noise=0.0, process_noise=0.0))
    assert (found.process, len(found.runs_s)) == (3, 20)
    assert found.runs_s == pytest.approx([found.runs_s[0]] * 20)
    assert found.gate == "clean"


def test_others_at_work_are_noticed() -> None:
    found = taken(Simulation(noise=0.0, load_period_s=1.0, load_share=1.0, load_factor=2.0))
    assert found.gate == "load"
    assert not found.trusted


def test_processes_share_a_thousand_runs_and_half_a_minute() -> None:
    assert runs_in_each(1e-3, processes=5) == 200
    assert runs_in_each(1e-3, processes=3) == 334
    assert runs_in_each(0.3, processes=5) == 20
    assert runs_in_each(60.0, processes=5) == 1


def test_there_are_no_single_runs_without_a_run() -> None:
    with pytest.raises(ValueError, match="one or more"):
        SingleRuns(process=0, runs_s=())
