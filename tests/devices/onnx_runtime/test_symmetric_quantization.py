"""The scheme that TensorRT takes: zero stays zero, biases stay floats, activations stay fused."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from devices import DeviceSpec, Graph, Quantization, UnsupportedGraph, backend_for, device_named
from devices.nvidia.tensorrt_build import build_engine
from devices.onnx_runtime.quantization import observe, quantized
from devices.spec import TENSORRT_SCHEME
from profiler import Chain, Conv, Head, MBConv
from profiler.operators.builders import INPUT, OUTPUT, chain_graph

SHAPE = (1, 3, 16, 16)
NETWORK: Chain = (
    Conv(input_shape=SHAPE, channels=8, kernel=3, stride=2, activation="relu6"),
    MBConv(input_shape=(1, 8, 8, 8), channels=8, expand=3, squeeze=4, activation="hswish"),
    MBConv(input_shape=(1, 8, 8, 8), channels=12, stride=2, expand=6),
    Head(input_shape=(1, 12, 4, 4), channels=16, classes=5),
)
ACTIVATIONS = {"Relu", "Clip", "HardSwish", "HardSigmoid"}
CPU = device_named("cpu")


def images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((count, *SHAPE[1:]), np.float32)


def outputs(graph: Graph, x: NDArray[np.float32]) -> NDArray[np.float32]:
    with backend_for(CPU).open(graph) as session:
        return np.concatenate([session.run({INPUT: each[None]})[OUTPUT] for each in x])


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load_from_string(quantized(chain_graph(NETWORK), TENSORRT_SCHEME).onnx)


def test_it_is_what_an_int8_gpu_asks_for() -> None:
    gpu = DeviceSpec(name="gpu", backend="tensorrt", precision="int8")
    assert gpu.quantization == TENSORRT_SCHEME == Quantization(activations="int8", symmetric=True)


def test_every_zero_point_is_zero_and_no_bias_is_an_integer(model: onnx.ModelProto) -> None:
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    pairs = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        zero = tensors[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
    assert TensorProto.INT32 not in {t.data_type for t in model.graph.initializer}


def test_nothing_stands_between_a_convolution_and_its_activation(model: onnx.ModelProto) -> None:
    made_by = {y: node.op_type for node in model.graph.node for y in node.output}
    sources = [made_by[n.input[0]] for n in model.graph.node if n.op_type in ACTIVATIONS]
    assert set(sources) == {"Conv"}
    assert len(sources) == 8  # stem, two each of the blocks, two of the gate, head


def test_every_convolution_and_classifier_reads_integers(model: onnx.ModelProto) -> None:
    made_by = {y: node.op_type for node in model.graph.node for y in node.output}
    computed = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(computed) == 11
    for node in computed:
        assert [made_by[x] for x in node.input[:2]] == ["DequantizeLinear"] * 2


def test_with_ranges_of_images_it_stays_near_the_floats() -> None:
    graph = chain_graph(NETWORK)
    integers = quantized(graph, TENSORRT_SCHEME, observed=observe(graph, images(32)))
    floats = outputs(graph, images(8))
    off = np.abs(outputs(integers, images(8)) - floats).max()
    assert 0.0 < off < 0.06 * np.abs(floats).max()


def test_the_parser_refuses_the_scheme_of_arm_for_its_biases() -> None:
    arm = quantized(chain_graph(NETWORK), Quantization(activations="int8"))
    with pytest.raises(UnsupportedGraph, match=r"refuses the graph: .*Dequantize"):
        build_engine(arm, compute_capabilities=("8.6",))


def test_unsigned_activations_are_not_symmetric() -> None:
    with pytest.raises(ValueError, match="symmetric activations are int8, not uint8"):
        Quantization(symmetric=True)
