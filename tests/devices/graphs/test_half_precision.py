"""Graphs in fp16: what is converted, what is not, and that the numbers stay what they were."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from devices import DeviceSpec, Graph, UnsupportedGraph, backend_for
from devices.graphs.half_precision import in_half
from profiler import Chain, Conv, Head, MBConv
from profiler.operators.builders import INPUT, OUTPUT, chain_graph, graph_for

SHAPE = (2, 3, 16, 16)
CHAIN: Chain = (
    Conv(input_shape=SHAPE, channels=8, kernel=3, stride=2, activation="relu6"),
    MBConv(input_shape=(2, 8, 8, 8), channels=8, expand=3, squeeze=4, activation="hswish"),
    Head(input_shape=(2, 8, 8, 8), channels=16, classes=5),
)
CPU = DeviceSpec(name="cpu", backend="onnxruntime")


def graph_of(nodes: list[onnx.NodeProto], **weights: np.ndarray) -> Graph:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 4)) for n in "xy")
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], tensors),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    return Graph(onnx=model.SerializeToString(), inputs=(("x", (1, 4)),))


def run(graph: Graph, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    with backend_for(CPU).open(graph) as session:
        return dict(session.run(inputs))


def test_every_weight_is_halved_and_the_ends_stay_fp32() -> None:
    graph = chain_graph(CHAIN)
    half = in_half(graph)
    model = onnx.load_from_string(half.onnx)
    onnx.checker.check_model(model, full_check=True)
    assert {t.data_type for t in model.graph.initializer} == {TensorProto.FLOAT16}
    ends = [*model.graph.input, *model.graph.output]
    assert {end.type.tensor_type.elem_type for end in ends} == {TensorProto.FLOAT}
    assert [end.name for end in ends] == [INPUT, OUTPUT]
    assert half.inputs == graph.inputs
    assert len(half.onnx) < 0.7 * len(graph.onnx)


def test_the_numbers_are_those_of_fp32_but_for_rounding() -> None:
    graph = chain_graph(CHAIN)
    images = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
    full, half = (run(each, **{INPUT: images})[OUTPUT] for each in (graph, in_half(graph)))
    assert half.dtype == np.float32
    assert np.abs(full).max() > 0.1
    assert 0.0 < np.abs(half - full).max() < 2e-3 * np.abs(full).max()


def test_an_fp16_device_is_timed_with_such_graphs() -> None:
    device = DeviceSpec(name="gpu", backend="tensorrt", precision="fp16")
    assert graph_for(CHAIN, device) == in_half(chain_graph(CHAIN))


def test_a_constant_in_an_attribute_is_halved_too_and_casts_follow() -> None:
    two = numpy_helper.from_array(np.full((1, 4), 2, np.float32), "two")
    nodes = [
        helper.make_node("Constant", [], ["two"], value=two),
        helper.make_node("Cast", ["n"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "two"], ["z"]),
        helper.make_node("Add", ["z", "m"], ["y"]),
    ]
    half = in_half(graph_of(nodes, n=np.full((1, 4), 3, np.int64)))
    y = run(half, x=np.ones((1, 4), np.float32))["y"]
    assert y.tolist() == [[5.0] * 4]


def test_an_input_that_is_an_output_as_well_is_handed_on() -> None:
    half = in_half(graph_of([helper.make_node("Identity", ["x"], ["y"])]))
    x = np.array([[0.5, 1.0, 2.0, 4.0]], np.float32)
    np.testing.assert_array_equal(run(half, x=x)["y"], x)


def test_a_weight_that_is_too_large_is_named() -> None:
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    with pytest.raises(UnsupportedGraph, match=r"'w' holds 7e\+04, which is too large for fp16"):
        in_half(graph_of(nodes, w=np.full((1, 4), 7e4, np.float32)))


def test_integers_are_not_halved_again() -> None:
    device = DeviceSpec(name="gpu", backend="tensorrt", precision="int8")
    with pytest.raises(UnsupportedGraph, match="with DequantizeLinear, QuantizeLinear"):
        in_half(graph_for(CHAIN, device))
