import os
import sys
from typing import get_args

import numpy as np
import pytest
from onnx import TensorProto, helper

from devices import (
    IR_VERSION,
    OPSET,
    DeviceSpec,
    DeviceUnavailable,
    Graph,
    Precision,
    UnsupportedGraph,
    backend_for,
)
from devices.host import allowed_cpus
from devices.onnxruntime_cpu import LEVELS, PROVIDER, OnnxRuntimeCpu, OnnxRuntimeSession
from devices.spec import Optimization
from profiler import MBConv
from profiler.builders import INPUT, OUTPUT, chain_graph

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


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_precision_that_is_not_built_is_refused_with_the_cure(precision: Precision) -> None:
    said = refusal(cpu(precision=precision))
    assert f"device 'mine' asks for {precision}" in said
    assert "precision: fp32" in said


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


def opened(device: DeviceSpec) -> tuple[int, str, object, str]:
    """Return threads, spinning, level and worker CPUs as the open session has them."""
    with OnnxRuntimeCpu(device).open(chain_graph(BLOCK)) as session:
        assert isinstance(session, OnnxRuntimeSession)
        assert session.session.get_providers() == [PROVIDER]
        options = session.session.get_session_options()
        spinning = options.get_session_config_entry("session.intra_op.allow_spinning")
        workers = ""
        if device.threads > 1:
            workers = options.get_session_config_entry("session.intra_op_thread_affinities")
        level = options.graph_optimization_level
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


def test_a_graph_without_fixed_shapes_is_refused() -> None:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 4]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "any batch", [x], [y])
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    with (
        pytest.raises(UnsupportedGraph, match=r"output 'y' has no fixed shape, but \['batch', 4\]"),
        OnnxRuntimeCpu(cpu()).open(Graph(onnx=model.SerializeToString(), inputs=(("x", (1, 4)),))),
    ):
        pass


def test_a_missing_runtime_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "devices.onnxruntime_cpu")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceUnavailable, match=r"needs 'onnxruntime'.*pip install latkit"):
        backend_for(cpu())
