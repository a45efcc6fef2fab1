import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from devices import (
    IR_VERSION,
    OPSET,
    DeviceSpec,
    DeviceUnavailable,
    Graph,
    LatkitError,
    Precision,
    UnsupportedGraph,
    backend_for,
)
from devices.errors import OutOfMemory
from devices.graphs.fusion import fusion
from devices.host import allowed_cpus
from devices.onnx_runtime.cpu import LEVELS, PROVIDER, OnnxRuntimeCpu, OnnxRuntimeSession
from devices.spec import Optimization
from profiler import Conv, MBConv
from profiler.operators.builders import INPUT, OUTPUT, chain_graph

BLOCK = (MBConv(input_shape=(1, 8, 8, 8), channels=8, expand=3),)
NO_SUCH_CPU = 4095
pins = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system pins no threads to CPUs"
)
two_cpus = pytest.mark.skipif(len(allowed_cpus()) < 2, reason="fewer than 2 CPUs are allowed here")


def cpu(
    *,
    threads: int = 1,
    affinity: tuple[int, ...] = (),
    precision: Precision = "fp32",
    spinning: bool = True,
    optimization: Optimization = "all",
) -> DeviceSpec:
    return DeviceSpec(
        name="mine",
        backend="onnxruntime",
        threads=threads,
        affinity=affinity,
        precision=precision,
        spinning=spinning,
        optimization=optimization,
    )


def refusal(device: DeviceSpec) -> str:
    with pytest.raises(DeviceUnavailable) as raised:
        OnnxRuntimeCpu(device)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_precision_that_would_be_emulated_is_refused_with_the_cure() -> None:
    said = refusal(cpu(precision="fp16"))
    assert "device 'mine' asks for fp16, which ONNX Runtime computes as fp32" in said
    assert "precision: fp32 or int8" in said


def test_more_threads_than_cpus_are_refused() -> None:
    allowed = allowed_cpus()
    said = refusal(cpu(threads=len(allowed) + 1))
    assert f"wants {len(allowed) + 1} threads" in said
    assert f"allowed here are {list(allowed)}" in said


def test_cpus_that_are_not_allowed_are_refused() -> None:
    said = refusal(cpu(affinity=(NO_SUCH_CPU,)))
    assert f"on CPUs [{NO_SUCH_CPU}]" in said
    assert "Change threads or affinity" in said


def test_the_last_allowed_cpus_are_taken_where_none_is_named() -> None:
    assert OnnxRuntimeCpu(cpu()).environment()["cpus"] == str(allowed_cpus()[-1])
    everything = OnnxRuntimeCpu(cpu(threads=len(allowed_cpus())))
    assert everything.environment()["cpus"] == ",".join(map(str, allowed_cpus()))


def test_named_cpus_are_part_of_the_environment() -> None:
    first = allowed_cpus()[0]
    backend = OnnxRuntimeCpu(cpu(affinity=(first,)))
    assert backend.environment()["cpus"] == str(first)
    assert backend.host.cpus == (first,)


@pins
def test_the_calling_thread_is_held_on_its_cpu_while_a_session_is_open() -> None:
    before = os.sched_getaffinity(0)
    backend = OnnxRuntimeCpu(cpu(affinity=(min(before),)))
    with backend.open(chain_graph(BLOCK)):
        assert os.sched_getaffinity(0) == {min(before)}
        with backend.open(chain_graph(BLOCK)):
            assert os.sched_getaffinity(0) == {min(before)}
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


@pins
def test_the_calling_thread_is_let_go_after_a_refusal() -> None:
    before = os.sched_getaffinity(0)
    with (
        pytest.raises(UnsupportedGraph),
        OnnxRuntimeCpu(cpu()).open(Graph(onnx=b"no graph", inputs=())),
    ):
        pass
    assert os.sched_getaffinity(0) == before


@pins
def test_the_calling_thread_is_let_go_after_an_error_inside() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(KeyboardInterrupt), OnnxRuntimeCpu(cpu()).open(chain_graph(BLOCK)):
        raise KeyboardInterrupt
    assert os.sched_getaffinity(0) == before


def opened(device: DeviceSpec) -> tuple[int, str, str, str]:
    """Return threads, spinning, level and worker CPUs as the open session has them."""
    with OnnxRuntimeCpu(device).open(chain_graph(BLOCK)) as session:
        assert isinstance(session, OnnxRuntimeSession)
        assert session.session.get_providers() == [PROVIDER]
        options = session.session.get_session_options()
        spinning = options.get_session_config_entry("session.intra_op.allow_spinning")
        workers = ""
        if device.threads > 1:
            workers = options.get_session_config_entry("session.intra_op_thread_affinities")
        level = options.graph_optimization_level.name
        return options.intra_op_num_threads, spinning, level, workers


@pytest.mark.parametrize("spinning", [True, False])
def test_spinning_reaches_the_session(spinning: bool) -> None:
    assert opened(cpu(spinning=spinning))[:2] == (1, "1" if spinning else "0")


@pytest.mark.parametrize("optimization", get_args(Optimization))
def test_the_optimisation_level_reaches_the_session(optimization: Optimization) -> None:
    assert opened(cpu(optimization=optimization))[2] == LEVELS[optimization]


@pins
@two_cpus
def test_threads_reach_the_session_each_on_a_cpu_of_its_own() -> None:
    first, second = allowed_cpus()[:2]
    threads, _, _, workers = opened(cpu(threads=2, affinity=(first, second)))
    assert threads == 2
    assert workers == str(second + 1)  # ONNX Runtime counts from 1; the first thread is ours


@two_cpus
def test_two_threads_compute_what_one_computes() -> None:
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 8), np.float32)
    results = []
    for threads in (1, 2):
        with OnnxRuntimeCpu(cpu(threads=threads)).open(chain_graph(BLOCK)) as session:
            assert session.time(3) > 0.0
            results.append(session.run({INPUT: x})[OUTPUT])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-5)


def test_a_provider_that_was_replaced_silently_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.InferenceSession.get_providers", lambda _: ["Other"])
    with (
        pytest.raises(DeviceUnavailable, match=rf"for {PROVIDER}, got \['Other'\]"),
        OnnxRuntimeCpu(cpu()).open(chain_graph(BLOCK)),
    ):
        pass


FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Ends = Mapping[str, tuple[int, Sequence[int | str | None]]]


def brought(
    node: onnx.NodeProto,
    inputs: Ends,
    outputs: Ends,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    opset: int = OPSET,
    ir_version: int = IR_VERSION,
) -> Graph:
    """Return a model of one node, fed with ``shapes``."""
    ends = [
        [helper.make_tensor_value_info(name, *kind) for name, kind in side.items()]
        for side in (inputs, outputs)
    ]
    model = helper.make_model(
        helper.make_graph([node], "brought", *ends),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=ir_version,
    )
    dtypes = tuple({FLOAT: "float32", INT64: "int64"}[kind] for kind, _ in inputs.values())
    return Graph(onnx=model.SerializeToString(), inputs=tuple(shapes.items()), dtypes=dtypes)


def refused(graph: Graph, kind: type[LatkitError] = UnsupportedGraph) -> str:
    """Return why a graph cannot be timed: one line, at the latest when it runs."""
    with (
        pytest.raises(kind) as raised,
        OnnxRuntimeCpu(cpu()).open(graph) as session,
    ):
        session.time(1)
    assert "\n" not in str(raised.value)
    return str(raised.value)


RELU = helper.make_node("Relu", ["x"], ["y"])


def test_an_open_batch_is_that_of_the_inputs() -> None:
    ends: tuple[Ends, Ends] = {"x": (FLOAT, ["batch", 4])}, {"y": (FLOAT, ["batch", 4])}
    with OnnxRuntimeCpu(cpu()).open(brought(RELU, *ends, shapes={"x": (3, 4)})) as session:
        assert isinstance(session, OnnxRuntimeSession)
        assert session.time(2) > 0.0
        (output,) = session.binding.get_outputs()
    assert output.shape() == [3, 4]


def test_outputs_of_known_sizes_are_allocated_once_and_have_their_type() -> None:
    node = helper.make_node("ArgMax", ["x"], ["y"], axis=1)
    ends = {"x": (FLOAT, [3, 4])}, {"y": (INT64, [3, 1])}
    with OnnxRuntimeCpu(cpu()).open(brought(node, *ends, shapes={"x": (3, 4)})) as session:
        assert isinstance(session, OnnxRuntimeSession)
        (before,) = session.binding.get_outputs()
        session.time(2)
        (after,) = session.binding.get_outputs()
    assert before.data_ptr() == after.data_ptr()
    assert after.data_type() == "tensor(int64)"


def test_what_fails_only_when_it_runs_says_why() -> None:
    node = helper.make_node("Reshape", ["x", "to"], ["y"])
    inputs = {"x": (FLOAT, [5]), "to": (INT64, [2])}
    outputs = {"y": (FLOAT, [None, None])}
    said = refused(brought(node, inputs, outputs, shapes={"x": (5,), "to": (2,)}))
    assert said.startswith("ONNX Runtime cannot run the graph: ")
    assert "Reshape" in said
    assert "/onnxruntime_src" not in said


def test_shapes_that_the_runtime_does_not_take_say_why() -> None:
    ends = {"x": (FLOAT, [1, 4])}, {"y": (FLOAT, [1, 4])}
    said = refused(brought(RELU, *ends, shapes={"x": (1, 5)}))
    assert "Got: 5 Expected: 4" in said


def test_more_memory_than_there_is_is_said() -> None:
    ends = {"x": (FLOAT, ["n"])}, {"y": (FLOAT, ["n"])}
    said = refused(brought(RELU, *ends, shapes={"x": (2**60,)}), OutOfMemory)
    assert said.startswith("ONNX Runtime cannot take the inputs: the device has too little memory")
    assert said.endswith("stop other programs, or take a smaller batch or resolution")


FULL = "Non-zero status code: Failed to allocate memory for requested buffer of size 163840000"
"""What the runtime's arena says of it, as it says everything else: by a RuntimeError."""


@pytest.mark.parametrize(
    "error", [RuntimeError(FULL), MemoryError(), RuntimeError("std::bad_alloc")]
)
def test_memory_that_is_lacking_is_no_refusal(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("onnxruntime.InferenceSession", fail)
    said = refused(chain_graph((Conv(input_shape=(1, 4, 8, 8), channels=4),)), OutOfMemory)
    assert said.startswith("ONNX Runtime refuses the graph: the device has too little memory free")
    assert not issubclass(OutOfMemory, UnsupportedGraph)


@pytest.mark.parametrize(
    ("opset", "ir_version", "says"),
    [
        (99, IR_VERSION, r"Opset 99 .*till opset \d+"),
        (OPSET, 99, r"Unsupported model IR version: 99, max supported IR version: \d+"),
    ],
)
def test_a_file_that_is_too_new_names_the_newest_that_is_not(
    opset: int, ir_version: int, says: str
) -> None:
    ends = {"x": (FLOAT, [1, 4])}, {"y": (FLOAT, [1, 4])}
    shapes = {"x": (1, 4)}
    said = refused(brought(RELU, *ends, shapes=shapes, opset=opset, ir_version=ir_version))
    assert re.search(says, said)
    assert "/onnxruntime_src" not in said


def test_a_trace_shows_what_was_fused() -> None:
    chain = (Conv(input_shape=(1, 16, 8, 8), channels=16, activation="relu"),)
    plain, fused = (
        OnnxRuntimeCpu(cpu(optimization=level)).trace(chain_graph(chain), runs=3)
        for level in ("disable", "extended")
    )
    assert {"Conv", "Relu"} <= {kernel.op for kernel in plain.kernels}
    assert "FusedConv" in {kernel.op for kernel in fused.kernels}
    ran = Counter(kernel.op for kernel in fused.kernels)
    assert ran == fusion(chain_graph(chain).onnx, fused.optimized).after


def test_what_fails_when_it_runs_is_not_traced_either() -> None:
    node = helper.make_node("Reshape", ["x", "to"], ["y"])
    inputs = {"x": (FLOAT, [5]), "to": (INT64, [2])}
    graph = brought(node, inputs, {"y": (FLOAT, [None])}, shapes={"x": (5,), "to": (2,)})
    with pytest.raises(UnsupportedGraph, match="cannot run the graph"):
        OnnxRuntimeCpu(cpu()).trace(graph, runs=3)


def test_a_missing_runtime_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "devices.onnx_runtime.cpu")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceUnavailable, match=r"needs 'onnxruntime'.*pip install latkit"):
        backend_for(cpu())
