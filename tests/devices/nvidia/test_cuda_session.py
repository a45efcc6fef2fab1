"""Timing on a GPU: the real session on a fake of memory and time."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from devices import DeviceSpec, Graph, Simulation, UnsupportedGraph
from devices.errors import OutOfMemory
from devices.nvidia.cuda_session import CudaSession, cuda_session
from devices.simulated import Simulated, SimulatedSession
from profiler import Conv
from profiler.operators.builders import INPUT, OUTPUT, chain_graph
from tests.fake_gpu import FACTS, FakeCuda, FakeEngine

SHAPE = (1, 4, 8, 8)
GRAPH = chain_graph((Conv(input_shape=SHAPE, channels=4),))
QUIET = DeviceSpec(
    name="quiet", backend="simulated", simulation=Simulation(noise=0.0, process_noise=0.0)
)


@contextmanager
def opened(
    cuda: FakeCuda, *, latency_s: float = 8e-6, whole: bool = True, cold_l2: bool = False
) -> Iterator[CudaSession]:
    """Load a graph of four kernels that takes so long on the GPU."""
    with Simulated(QUIET).open(GRAPH) as simulated:
        assert isinstance(simulated, SimulatedSession)
        simulated.latency_s = latency_s
        engine = FakeEngine(cuda, simulated, GRAPH)
        with cuda_session(cuda, engine, GRAPH, whole=whole, cold_l2=cold_l2) as session:
            yield session


def test_a_long_run_takes_what_the_gpu_takes() -> None:
    with opened(FakeCuda(launch_s=1e-6), latency_s=1e-3) as session:
        assert session.time(10) == pytest.approx(10e-3, rel=1e-3)


def test_kernels_that_are_shorter_than_their_launch_take_as_long_as_it() -> None:
    cuda = FakeCuda(launch_s=5e-6)
    with opened(cuda, latency_s=8e-6, whole=False) as session:  # four kernels of 2 us
        assert session.time(100) == pytest.approx(100 * 4 * 5e-6, rel=0.01)


def test_as_one_cuda_graph_they_are_launched_once() -> None:
    cuda = FakeCuda(launch_s=5e-6)
    with opened(cuda, latency_s=8e-6) as session:
        before = cuda.launches
        assert session.time(100) == pytest.approx(100 * 8e-6, rel=0.02)
        assert cuda.launches - before == 100


def test_copies_are_no_part_of_what_is_timed() -> None:
    cuda = FakeCuda()
    with opened(cuda, latency_s=1e-3) as session:
        uploads = dict(cuda.memory)
        session.time(3)
        assert dict(cuda.memory).keys() == uploads.keys()
        assert cuda.busy_s == pytest.approx(4e-3)  # the first run, and those that are timed


def test_before_a_cold_run_the_cache_is_overwritten_twice_over() -> None:
    cuda = FakeCuda()
    with opened(cuda, latency_s=1e-4, cold_l2=True) as session:
        before = cuda.launches
        assert session.time(5) == pytest.approx(5e-4)
        assert cuda.launches - before == 10
        assert 2 * FACTS.l2_bytes in map(len, cuda.memory.values())


def test_outputs_are_those_of_the_inputs_and_a_graph_computes_them_too() -> None:
    x = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
    with Simulated(QUIET).open(GRAPH) as simulated:
        expected = simulated.run({INPUT: x})[OUTPUT]
    for whole in (True, False):
        with opened(FakeCuda(), whole=whole) as session:
            np.testing.assert_array_equal(session.run({INPUT: x})[OUTPUT], expected)


def test_an_input_of_another_shape_is_refused() -> None:
    with (
        opened(FakeCuda()) as session,
        pytest.raises(UnsupportedGraph, match=r"'images' of the engine is \(1, 4, 8, 8\), not"),
    ):
        session.run({INPUT: np.zeros((2, 4, 8, 8), np.float32)})


@pytest.mark.parametrize("whole", [True, False])
def test_memory_streams_events_and_graphs_are_given_back(whole: bool) -> None:
    cuda = FakeCuda()
    with opened(cuda, whole=whole, cold_l2=True) as session:
        session.time(2)
        assert cuda.memory
        assert cuda.open
    assert not cuda.memory
    assert not cuda.open


def test_a_full_gpu_is_one_line_and_leaves_nothing_behind() -> None:
    cuda = FakeCuda(capacity=1_500)  # the input needs 1,024 bytes, and the output as many
    with (
        pytest.raises(OutOfMemory, match=r"GPU 0: cannot allocate 1024: its memory is full"),
        opened(cuda),
    ):
        pass
    assert not cuda.memory
    assert not cuda.open


def test_an_engine_that_cannot_be_captured_names_the_setting() -> None:
    cuda = FakeCuda(capturable=False)
    with pytest.raises(UnsupportedGraph, match="cuda_graph: false in a device file"), opened(cuda):
        pass
    assert not cuda.memory
    assert not cuda.open
    with opened(cuda, whole=False) as session:
        assert session.time(1) > 0.0


def test_a_graph_without_float_inputs_is_fed_what_it_reads() -> None:
    from onnx import TensorProto, helper

    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, (2, 3))
    out = helper.make_tensor_value_info("y", TensorProto.INT64, (2, 3))
    nodes = [helper.make_node("Add", ["ids", "ids"], ["y"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [ids], [out]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    graph = Graph(onnx=model.SerializeToString(), inputs=(("ids", (2, 3)),), dtypes=("int64",))
    cuda = FakeCuda()
    with Simulated(QUIET).open(graph) as simulated:
        assert isinstance(simulated, SimulatedSession)
        engine = FakeEngine(cuda, simulated, graph)
        with cuda_session(cuda, engine, graph, whole=True, cold_l2=False) as session:
            y = session.run({"ids": np.full((2, 3), 4)})["y"]
    assert y.dtype == np.int64
    assert y.tolist() == [[8] * 3] * 2
