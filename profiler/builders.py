"""Operators as ONNX graphs, built directly: half a millisecond each, without torch.

Batch norm is folded, as an exporter folds it, so that the runtime sees what it will see in the
network that ships.
"""

from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from devices import IR_VERSION, OPSET, DeviceSpec, Graph
from profiler.ops import Chain, OpSpec, check_chain
from profiler.primitives import Activation, ConvNorm, GlobalPool, Linear, Primitive, SqueezeExcite

INPUT, OUTPUT = "images", "logits"
"""Names of the input and the output of every graph here."""


def chain_graph(chain: Chain, *, seed: int = 0) -> Graph:
    """Build operators, each fed by the one before, as one graph with random weights.

    Args:
        chain: Operators that fit each other.
        seed: Of the weights. Their scale keeps activations near 1, since denormals and
            infinities take another time than numbers do.

    Raises:
        ValueError: The operators do not fit.
    """
    check_chain(chain)
    writer = _Writer(rng=np.random.default_rng(seed))
    last = reduce(lambda x, pair: writer.add_op(x, *pair), enumerate(chain), INPUT)
    writer.nodes.append(helper.make_node("Identity", [last], [OUTPUT]))
    model = writer.model(chain)
    return Graph(onnx=model.SerializeToString(), inputs=((INPUT, chain[0].input_shape),))


def graph_for(chain: Chain, device: DeviceSpec) -> Graph:
    """Build operators as a device runs them: as they are, or in its kind of integers.

    Args:
        chain: Operators that fit each other.
        device: Where they are timed; the numbers that they compute in integers mean nothing.

    Raises:
        ValueError: The operators do not fit.
        UnsupportedGraph: The device computes in integers, and the chain has nothing for it.
    """
    graph = chain_graph(chain)
    if device.quantization is None:
        return graph
    from devices.onnxruntime_quantization import quantized  # which only int8 devices need

    return quantized(graph, device.quantization)


@dataclass(slots=True)
class _Writer:
    """Nodes and weights of a graph in the making; every method returns the name of its output."""

    rng: np.random.Generator
    nodes: list[NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)

    def model(self, chain: Chain) -> ModelProto:
        first, last = chain[0].input_shape, chain[-1].output_shape
        graph = helper.make_graph(
            self.nodes,
            "chain",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, first)],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, last)],
            self.weights,
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)

    def add_op(self, x: str, index: int, op: OpSpec) -> str:
        y = x
        for primitive in op.primitives:
            y = self._primitive(y, f"{index}.{primitive.name}", primitive)
        return self._node("Add", [x, y], f"{index}.add") if op.residual else y

    def _primitive(self, x: str, name: str, primitive: Primitive) -> str:
        match primitive:
            case ConvNorm():
                return self._conv_norm(x, name, primitive)
            case SqueezeExcite(channels=channels, squeeze=squeeze):
                pooled = self._node("GlobalAveragePool", [x], f"{name}.pool")
                hidden = self._conv(pooled, f"{name}.reduce", (squeeze, channels, 1, 1))
                hidden = self._activate(hidden, f"{name}.relu", "relu")
                gate = self._conv(hidden, f"{name}.expand", (channels, squeeze, 1, 1))
                gate = self._node("HardSigmoid", [gate], f"{name}.gate", alpha=1 / 6, beta=0.5)
                return self._node("Mul", [x, gate], f"{name}.mul")
            case GlobalPool():
                return self._node("GlobalAveragePool", [x], name)
            case Linear(in_features=features, out_features=classes):
                flat = self._node("Flatten", [x], f"{name}.flatten")
                weight = self._weight(f"{name}.weight", (classes, features), features)
                bias = self._weight(f"{name}.bias", (classes,), classes)
                return self._node("Gemm", [flat, weight, bias], name, transB=1)

    def _conv_norm(self, x: str, name: str, conv: ConvNorm) -> str:
        shape = (conv.out_channels, conv.in_channels // conv.groups, conv.kernel, conv.kernel)
        y = self._conv(x, name, shape, stride=conv.stride, groups=conv.groups)
        return self._activate(y, f"{name}.act", conv.activation)

    def _conv(
        self, x: str, name: str, shape: tuple[int, ...], *, stride: int = 1, groups: int = 1
    ) -> str:
        out_channels, in_channels, kernel, _ = shape
        weight = self._weight(f"{name}.weight", shape, in_channels * kernel * kernel)
        bias = self._weight(f"{name}.bias", (out_channels,), out_channels)
        return self._node(
            "Conv",
            [x, weight, bias],
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=groups,
        )

    def _activate(self, x: str, name: str, activation: Activation) -> str:
        match activation:
            case "none":
                return x
            case "relu":
                return self._node("Relu", [x], name)
            case "hswish":
                return self._node("HardSwish", [x], name)
            case "relu6":
                low, high = (
                    self._constant(f"{name}.{end}", np.float32(value))
                    for end, value in (("min", 0), ("max", 6))
                )
                return self._node("Clip", [x, low, high], name)

    def _node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}.y"], name=name, **attributes))
        return f"{name}.y"

    def _weight(self, name: str, shape: tuple[int, ...], fan_in: int) -> str:
        values = self.rng.standard_normal(shape, np.float32) * np.float32((2 / fan_in) ** 0.5)
        return self._constant(name, values)

    def _constant(self, name: str, values: NDArray[np.float32] | np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name
