"""What every backend must do. A new backend passes by adding its device to `DEVICES`."""

from dataclasses import fields

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from devices import (
    IR_VERSION,
    OPSET,
    DeviceSpec,
    Graph,
    LoadReading,
    Tensors,
    UnsupportedGraph,
    backend_for,
)
from profiler import Chain, Conv, Head, MBConv, Skip
from profiler.builders import INPUT, OUTPUT, chain_graph

DEVICES = [
    DeviceSpec(name="sim", backend="simulated"),
    DeviceSpec(name="cpu", backend="onnxruntime"),
]
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


def numbers(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def outputs(device: DeviceSpec, chain: Chain) -> Tensors:
    with backend_for(device).open(chain_graph(chain)) as session:
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
        assert 0.0 < session.time(10) < session.time(2_000)


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
    with backend_for(device).open(chain_graph(NETWORK)) as session:
        before = session.run({INPUT: x})[OUTPUT]
        session.time(3)
        np.testing.assert_array_equal(session.run({INPUT: x})[OUTPUT], before)


def test_backends_agree_on_the_numbers() -> None:
    expected, *others = (outputs(device, NETWORK)[OUTPUT] for device in DEVICES)
    assert expected.shape == (1, 10)
    assert np.abs(expected).max() > 0.01
    for other in others:
        np.testing.assert_allclose(other, expected, rtol=1e-4, atol=1e-4)


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
