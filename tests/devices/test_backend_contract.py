"""What every backend must do. A new backend passes by adding its device to `DEVICES`."""

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from devices import (
    BACKENDS,
    IR_VERSION,
    OPSET,
    DeviceSpec,
    Gpu,
    Graph,
    LoadReading,
    Precision,
    Tensors,
    Transport,
    UnsupportedGraph,
    backend_for,
)
from profiler import Chain, Conv, Head, MBConv, Skip
from profiler.operators.builders import INPUT, OUTPUT, chain_graph, graph_for

AGENT = TemporaryDirectory(prefix="latkit-")
HERE = Transport(kind="local", python=sys.executable, folder=AGENT.name)
"""This machine as if it were another one: an agent stands between."""

DEVICES = [
    DeviceSpec(name="sim", backend="simulated"),
    DeviceSpec(name="cpu", backend="onnxruntime"),
    DeviceSpec(name="sim-int8", backend="simulated", precision="int8"),
    DeviceSpec(name="cpu-int8", backend="onnxruntime", precision="int8"),
    DeviceSpec(name="remote", backend="onnxruntime", transport=HERE),
    DeviceSpec(name="gpu", backend="fake-gpu", gpu=Gpu()),
    DeviceSpec(name="gpu-cold", backend="fake-gpu", gpu=Gpu(cuda_graph=False, cold_l2=True)),
]
"""The fake GPUs run all that is ours of the real ones: sessions, timing, counters."""


@pytest.fixture(autouse=True)
def fake_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "fake-gpu", "tests.fake_gpu:FakeGpu")


every_device = pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)

SHAPE = (1, 3, 32, 32)
NETWORK: Chain = (
    Conv(input_shape=SHAPE, channels=8, kernel=3, stride=2, activation="relu6"),
    MBConv(input_shape=(1, 8, 16, 16), channels=8, kernel=5, expand=3, squeeze=4),
    Skip(input_shape=(1, 8, 16, 16)),
    MBConv(input_shape=(1, 8, 16, 16), channels=12, stride=2, expand=6, activation="hswish"),
    MBConv(input_shape=(1, 12, 8, 8), channels=12, kernel=7, expand=1),
    Head(input_shape=(1, 12, 8, 8), channels=32, classes=10),
)


def graph_of(kind: str, domain: str = "") -> Graph:
    """Return a graph of one node that maps ``x`` to ``y`` of the same shape."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, SHAPE) for n in "xy")
    node = helper.make_node(kind, ["x"], ["y"], domain=domain)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(
        helper.make_graph([node], "one node", [x], [y]), opset_imports=opsets, ir_version=IR_VERSION
    )
    return Graph(onnx=model.SerializeToString(), inputs=(("x", SHAPE),))


IDENTITY = graph_of("Identity")
STRANGE = {
    "a foreign domain": graph_of("Attention", domain="com.example"),
    "an unknown operator": graph_of("Convolve"),
    "no ONNX": Graph(onnx=b"not a graph", inputs=(("x", SHAPE),)),
    "nothing": Graph(onnx=b"", inputs=(("x", SHAPE),)),
}


WEIGHTS = {
    "table": np.arange(32, dtype=np.float32).reshape(8, 4),
    "square": np.eye(4, dtype=np.float32),
    "trips": np.array(3),
    "go_on": np.array(True),
    "scale": np.array(0.1, np.float32),
    "zero": np.array(0, np.int8),
    "nothing": np.array(0, np.float32),
}
"""Constants that the models below may use."""


def value(
    name: str, shape: Sequence[int | str | None] | None, kind: int = TensorProto.FLOAT
) -> object:
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes: list[NodeProto], inputs: list[object], outputs: list[object]) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in WEIGHTS.items()]
    return helper.make_model(
        helper.make_graph(nodes, "a model", inputs, outputs, tensors),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


def branch(operator: str) -> onnx.GraphProto:
    node = helper.make_node(operator, ["x", "square"], ["picked"], name=operator.lower())
    return helper.make_graph([node], operator, [], [value("picked", (4, 4))])


def loop_body() -> onnx.GraphProto:
    nodes = [
        helper.make_node("MatMul", ["state", "square"], ["next"], name="step"),
        helper.make_node("Identity", ["going"], ["still"]),
    ]
    inputs = [
        value("turn", (), TensorProto.INT64),
        value("going", (), TensorProto.BOOL),
        value("state", (4, 4)),
    ]
    outputs = [value("still", (), TensorProto.BOOL), value("next", (4, 4))]
    return helper.make_graph(nodes, "body", inputs, outputs)


def control_flow() -> onnx.ModelProto:
    """Return a model that multiplies x three times by one, then adds one to its diagonal."""
    node = helper.make_node
    branches = {"then_branch": branch("Add"), "else_branch": branch("Mul")}
    nodes = [
        node("Loop", ["trips", "go_on", "x"], ["looped"], name="loop", body=loop_body()),
        node("ReduceMax", ["looped"], ["largest"], keepdims=0, name="largest"),
        node("Greater", ["largest", "nothing"], ["positive"], name="positive"),
        node("If", ["positive"], ["y"], name="if", **branches),
    ]
    return model(nodes, [value("x", (4, 4))], [value("y", (4, 4))])


def quantised() -> onnx.ModelProto:
    node, parameters = helper.make_node, ["scale", "zero"]
    nodes = [
        node("QuantizeLinear", ["x", *parameters], ["q"], name="q"),
        node("DequantizeLinear", ["q", *parameters], ["dq"], name="dq"),
        node("QuantizeLinear", ["square", *parameters], ["wq"], name="wq"),
        node("DequantizeLinear", ["wq", *parameters], ["wdq"], name="wdq"),
        node("MatMul", ["dq", "wdq"], ["y"], name="product"),
    ]
    return model(nodes, [value("x", (4, 4))], [value("y", (4, 4))])


def gathering() -> onnx.ModelProto:
    """Return a model of an open batch, with two inputs: indices and something to add."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="gather"),
        helper.make_node("Add", ["rows", "x"], ["y"], name="add"),
    ]
    ids = value("ids", ("batch", 2), TensorProto.INT64)
    return model(nodes, [ids, value("x", ("batch", 2, 4))], [value("y", ("batch", 2, 4))])


def searching() -> onnx.ModelProto:
    """Return a model with a type for each end, and a size that depends on the data."""
    nodes = [
        helper.make_node("And", ["a", "b"], ["both"], name="and"),
        helper.make_node("NonZero", ["both"], ["places"], name="nonzero"),
    ]
    ends = [value(name, (2, 3), TensorProto.BOOL) for name in "ab"]
    outputs = [value("places", (2, None), TensorProto.INT64), value("both", None, TensorProto.BOOL)]
    return model(nodes, ends, outputs)


def brought(made: onnx.ModelProto, *inputs: tuple[str, tuple[int, ...], str]) -> Graph:
    return Graph(
        onnx=made.SerializeToString(),
        inputs=tuple((name, shape) for name, shape, _ in inputs),
        dtypes=tuple(dtype for *_, dtype in inputs),
    )


SQUARE = ("x", (4, 4), "float32")
BROUGHT = {
    "control flow": brought(control_flow(), SQUARE),
    "integers in the graph": brought(quantised(), SQUARE),
    "indices and an open batch": brought(
        gathering(), ("ids", (3, 2), "int64"), ("x", (3, 2, 4), "float32")
    ),
    "an output of unknown size": brought(searching(), ("a", (2, 3), "bool"), ("b", (2, 3), "bool")),
}
"""What people bring, beside graphs that are built here."""
every_model = pytest.mark.parametrize("what", BROUGHT)


def numbers(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def outputs(device: DeviceSpec, chain: Chain) -> Tensors:
    with backend_for(device).open(graph_for(chain, device)) as session:
        return session.run({INPUT: numbers(chain[0].input_shape)})


@every_device
def test_the_identity_returns_its_input(device: DeviceSpec) -> None:
    x = numbers(SHAPE)
    with backend_for(device).open(IDENTITY) as session:
        returned = session.run({"x": x})
    assert list(returned) == ["y"]
    np.testing.assert_array_equal(returned["y"], x)


@every_device
def test_time_is_positive_and_grows_with_repeats(device: DeviceSpec) -> None:
    with backend_for(device).open(IDENTITY) as session:
        session.time(100)
        few, many = (min(session.time(n) for _ in range(5)) for n in (10, 2_000))
    assert 0.0 < few < many  # of five each: others interrupt the clock of a real one


@every_device
def test_single_runs_are_timed_one_by_one(device: DeviceSpec) -> None:
    with backend_for(device).open(IDENTITY) as session:
        runs_s = session.time_each(20)
    assert len(runs_s) == 20
    assert min(runs_s) > 0.0


@every_device
def test_the_environment_is_text_and_no_draw(device: DeviceSpec) -> None:
    environment = backend_for(device).environment()
    assert environment
    assert all(isinstance(text, str) for pair in environment.items() for text in pair)
    assert backend_for(device).environment() == environment
    assert backend_for(device, replicate=3).environment() == environment


@every_device
@pytest.mark.parametrize("what", STRANGE)
def test_a_graph_it_cannot_run_is_refused_in_one_line(device: DeviceSpec, what: str) -> None:
    backend = backend_for(device)
    with pytest.raises(UnsupportedGraph) as raised, backend.open(STRANGE[what]):
        pass
    assert str(raised.value)
    assert "\n" not in str(raised.value)
    with backend.open(IDENTITY) as session:  # the other graphs are not affected
        assert session.time(10) > 0.0


@every_device
def test_a_graph_can_be_opened_twice_at_once_and_again(device: DeviceSpec) -> None:
    backend = backend_for(device)
    x = numbers(SHAPE)
    with backend.open(IDENTITY) as first, backend.open(IDENTITY) as second:
        np.testing.assert_array_equal(first.run({"x": x})["y"], second.run({"x": x})["y"])
        assert min(first.time(10), second.time(10), first.time(10)) > 0.0
    with backend.open(IDENTITY) as third:
        assert third.time(10) > 0.0


@every_device
def test_timing_leaves_the_numbers_alone(device: DeviceSpec) -> None:
    x = numbers(NETWORK[0].input_shape)
    with backend_for(device).open(graph_for(NETWORK, device)) as session:
        before = session.run({INPUT: x})[OUTPUT]
        session.time(3)
        np.testing.assert_array_equal(session.run({INPUT: x})[OUTPUT], before)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.02)])
def test_backends_agree_on_the_numbers(precision: Precision, tolerance: float) -> None:
    devices = [device for device in DEVICES if device.precision == precision]
    expected, *others = (outputs(device, NETWORK)[OUTPUT] for device in devices)
    assert expected.shape == (1, 10)
    assert np.abs(expected).max() > 0.01
    assert others
    for other in others:
        np.testing.assert_allclose(other, expected, rtol=tolerance, atol=tolerance)


@every_device
def test_the_clock_never_goes_back(device: DeviceSpec) -> None:
    backend = backend_for(device)
    seen = [backend.host.clock()]
    with backend.open(IDENTITY) as session:
        for _ in range(5):
            session.time(10)
            seen.append(backend.host.clock())
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


@every_device
def test_a_rest_lasts_as_long_as_it_was_asked_to(device: DeviceSpec) -> None:
    host = backend_for(device).host
    before = host.clock()
    host.rest(0.01)
    assert host.clock() - before >= 0.01 - 1e-9


@every_device
def test_the_counters_of_the_load_never_go_back(device: DeviceSpec) -> None:
    backend = backend_for(device)
    readings = [backend.host.load()]
    with backend.open(IDENTITY) as session:
        for _ in range(5):
            session.time(1_000)
            readings.append(backend.host.load())
    known = [reading for reading in readings if reading is not None]
    if not known:
        pytest.skip("this system has no load counters, so there is no gate to test")
    assert len(known) == len(readings)
    for field in fields(LoadReading):
        values = [getattr(reading, field.name) for reading in known]
        assert values == sorted(values), field.name
    assert known[-1].own_s > known[0].own_s
    assert known[-1].cpus == device.threads


@every_device
def test_the_preflight_is_a_list_of_sentences(device: DeviceSpec) -> None:
    assert all(doubt and "\n" not in doubt for doubt in backend_for(device).host.preflight())


def fed(graph: Graph) -> dict[str, NDArray[np.generic]]:
    """Return an array of ones for every input."""
    return {name: np.ones(shape, dtype) for name, shape, dtype in graph.typed_inputs}


ANSWERS: dict[str, NDArray[np.float64]] = {
    "control flow": np.ones((4, 4)) + np.eye(4),
    "integers in the graph": np.ones((4, 4)),
    "indices and an open batch": np.tile(np.arange(5.0, 9.0), (3, 2, 1)),
    "an output of unknown size": np.array([[0.0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]),
}


def refuses(device: DeviceSpec, what: str) -> bool:
    """Return whether a device has to know the size of every output before it runs."""
    return device.gpu is not None and what == "an output of unknown size"


@pytest.mark.parametrize(
    ("device", "what"),
    [(device, what) for device in DEVICES for what in BROUGHT if not refuses(device, what)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_model_that_somebody_brought_is_run_and_timed(device: DeviceSpec, what: str) -> None:
    with backend_for(device).open(BROUGHT[what]) as session:
        first, *_ = session.run(fed(BROUGHT[what])).values()
        np.testing.assert_allclose(first, ANSWERS[what], rtol=1e-5)
        assert session.time(3) > 0.0
        assert session.time(3) > 0.0  # an output that was allocated by the first run


@pytest.mark.parametrize("device", [d for d in DEVICES if d.gpu], ids=lambda device: device.name)
def test_gpus_refuse_an_output_whose_size_depends_on_the_data(device: DeviceSpec) -> None:
    what = BROUGHT["an output of unknown size"]
    with (
        pytest.raises(UnsupportedGraph, match="the size of output 'places' depends on the data"),
        backend_for(device).open(what),
    ):
        pass


@every_device
@every_model
def test_every_kernel_of_a_trace_has_a_name_and_an_operator(device: DeviceSpec, what: str) -> None:
    trace = backend_for(device).trace(BROUGHT[what], runs=5)
    assert trace.kernels
    assert all(kernel.name and kernel.op for kernel in trace.kernels)
    assert onnx.load_from_string(trace.optimized).graph.node


@every_device
def test_what_runs_inside_a_loop_and_a_branch_is_traced(device: DeviceSpec) -> None:
    kernels = backend_for(device).trace(BROUGHT["control flow"], runs=5).kernels
    assert {"loop", "step", "if", "add"} <= {kernel.name for kernel in kernels}


@every_device
def test_a_trace_tells_large_kernels_from_small_ones(device: DeviceSpec) -> None:
    backend = backend_for(device)
    chain: Chain = (
        Conv(input_shape=SHAPE, channels=64, kernel=7),
        Conv(input_shape=(1, 64, 32, 32), channels=1),
    )
    large, small, *_ = backend.trace(chain_graph(chain), runs=5).kernels
    assert large.op == small.op == "Conv"
    assert large.latency_s > small.latency_s


@every_device
@pytest.mark.parametrize("what", STRANGE)
def test_a_graph_it_cannot_run_is_not_traced_either(device: DeviceSpec, what: str) -> None:
    with pytest.raises(UnsupportedGraph) as raised:
        backend_for(device).trace(STRANGE[what], runs=1)
    assert "\n" not in str(raised.value)


@every_device
def test_a_trace_leaves_no_files(
    device: DeviceSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    backend_for(device).trace(IDENTITY, runs=1)
    assert list(tmp_path.iterdir()) == []


@every_device
def test_weights_beside_the_file_are_found(device: DeviceSpec, tmp_path: Path) -> None:
    made = gathering()
    path = tmp_path / "model.onnx"
    onnx.save(made, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    ids, x = ("ids", (3, 2)), ("x", (3, 2, 4))
    inside = Graph(
        onnx=path.read_bytes(),
        inputs=(ids, x),
        dtypes=("int64", "float32"),
        folder=tmp_path,
    )
    backend = backend_for(device)
    with backend.open(inside) as session:
        assert session.run(fed(inside))["y"][0, 0, 0] == 5.0
    assert backend.trace(inside, runs=1).kernels
