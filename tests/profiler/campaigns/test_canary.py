from dataclasses import dataclass, field

import pytest

from devices import DeviceSpec, Graph, Simulation, Tensors, UnsupportedGraph
from devices.simulated import Simulated
from profiler import (
    Conv,
    Pace,
    Pool,
    Unmeasurable,
    carrier,
    in_context,
    total_macs,
    total_parameters,
)
from profiler.campaigns.canary import loaded_canary, seconds_on
from profiler.campaigns.measure import COLD_SAMPLES, Reference, take_cold_samples
from profiler.operators.builders import chain_graph
from profiler.operators.probes import APART, CANARY, is_probe
from search import space_named

SHAPE = (1, 16, 14, 14)
OPERATOR = in_context(Conv(input_shape=SHAPE, channels=32))
PACE = Pace(slice_s=0.01)


def device(threads: int = 1) -> Simulated:
    quiet = Simulation(noise=0.0, process_noise=0.0)
    return Simulated(DeviceSpec(name="sim", backend="simulated", threads=threads, simulation=quiet))


@dataclass(slots=True)
class Noted:
    """A session that notes whose turn it was."""

    name: str
    turns: list[str] = field(default_factory=list)
    run_s: float = 0.001

    def run(self, inputs: Tensors) -> Tensors:
        return inputs

    def time(self, repeats: int) -> float:
        self.turns.append(self.name)
        return repeats * self.run_s

    def time_each(self, runs: int) -> tuple[float, ...]:
        return tuple(self.time(1) for _ in range(runs))


def test_a_cold_run_always_follows_the_canary() -> None:
    turns: list[str] = []
    canary = Reference(Noted("canary", turns), PACE)
    turns.clear()
    taken = take_cold_samples(Noted("operator", turns, 0.0003), canary)
    assert taken.repeats == 1
    assert len(taken.samples_s) == len(taken.reference_s) == COLD_SAMPLES
    timed = [i for i, name in enumerate(turns) if name == "operator"][2:]  # after the warm-up
    assert len(timed) == COLD_SAMPLES
    assert all(turns[i - 1] == "canary" for i in timed)


def test_a_cold_run_that_takes_no_time_cannot_be_measured() -> None:
    with pytest.raises(Unmeasurable, match="nothing is computed"):
        take_cold_samples(Noted("nothing", run_s=0.0), Reference(Noted("canary"), PACE))


def test_a_slice_is_warm_unless_asked_for_cold() -> None:
    backend = device()
    with loaded_canary(backend, chain_graph(CANARY), PACE) as canary:
        warm, cold = (canary.slice(chain_graph(OPERATOR), cold=cold) for cold in (False, True))
    assert warm.repeats > cold.repeats == 1
    assert warm.samples_s[0] == pytest.approx(cold.samples_s[0])
    assert warm.reference_s[0] == pytest.approx(cold.reference_s[0])


def test_the_canary_keeps_to_one_thread() -> None:
    graph = chain_graph(CANARY)
    with loaded_canary(device(threads=2), graph, PACE) as canary:
        assert canary.seconds() == pytest.approx(seconds_on(device(), graph, PACE))


def test_a_graph_by_itself_has_all_threads_or_as_many_as_asked() -> None:
    graph, two = chain_graph(APART), device(threads=2)
    assert seconds_on(two, graph, PACE) == pytest.approx(
        seconds_on(two, graph, PACE, threads=1) / 2
    )


def test_a_refused_graph_is_refused_through_the_canary() -> None:
    with (
        loaded_canary(device(), chain_graph(CANARY), PACE) as canary,
        pytest.raises(UnsupportedGraph),
    ):
        canary.slice(Graph(onnx=b"not a graph", inputs=(("x", SHAPE),)))


def test_operators_between_neighbours_are_probes_and_networks_are_not() -> None:
    space = space_named("macro", resolution=16)
    assert all(is_probe(in_context(op)) for op in space.operators)
    assert all(is_probe(carrier(SHAPE, blocks)) for blocks in (1, 2))
    assert is_probe((Pool(input_shape=SHAPE),))
    shortest = (*space.before, *space.after)
    assert not is_probe(shortest)


def test_the_canary_is_like_a_network_of_a_few_milliseconds() -> None:
    assert 4 * total_parameters(CANARY) > 2e6  # bytes: more than a core keeps to itself
    assert 20e6 < total_macs(CANARY) < 100e6
