"""Operators as ONNX graphs, built directly: half a millisecond each, without torch.

Batch norm is folded, as an exporter folds it, so that the runtime sees what it will see in the
network that ships.
"""

from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from devices import IR_VERSION, OPSET, DeviceSpec, Graph
from profiler.operators.chains import check_chain
from profiler.operators.ops import Chain, OpSpec
from profiler.operators.primitives import (
    Activation,
    AveragePool,
    Branch,
    Branches,
    ConvNorm,
    GlobalPool,
    Linear,
    MaxPool,
    MixedDepthwise,
    Norm,
    Primitive,
    Rectify,
    Shift,
    SqueezeExcite,
)

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
    """Build operators in a device's number format: as they are, halved, or in its integers.

    Args:
        chain: Operators that fit each other.
        device: Where they are timed; the numbers that they compute in integers mean nothing.

    Raises:
        ValueError: The operators do not fit.
        UnsupportedGraph: The device computes in integers, and the chain has nothing for it.
    """
    graph = chain_graph(chain)
    if device.precision == "fp16":
        from devices.graphs.half_precision import in_half

        return in_half(graph)
    if device.quantization is None:
        return graph
    from devices.onnx_runtime.quantization import quantized  # which only int8 devices need

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
            case MixedDepthwise():
                return self._mixed(x, name, primitive)
            case SqueezeExcite(channels=channels, squeeze=squeeze):
                pooled = self._node("GlobalAveragePool", [x], f"{name}.pool")
                hidden = self._conv(pooled, f"{name}.reduce", (squeeze, channels, 1, 1))
                hidden = self._activate(hidden, f"{name}.relu", "relu")
                gate = self._conv(hidden, f"{name}.expand", (channels, squeeze, 1, 1))
                gate = self._node("HardSigmoid", [gate], f"{name}.gate", alpha=1 / 6, beta=0.5)
                return self._node("Mul", [x, gate], f"{name}.mul")
            case Branches():
                return self._branches(x, name, primitive)
            case Norm() | Rectify() | GlobalPool():
                return self._plain(x, name, primitive)
            case AveragePool() | MaxPool() | Shift():
                return self._window(x, name, primitive)
            case Linear(in_features=features, out_features=classes):
                flat = self._node("Flatten", [x], f"{name}.flatten")
                weight = self._weight(f"{name}.weight", (classes, features), features)
                bias = self._weight(f"{name}.bias", (classes,), classes)
                return self._node("Gemm", [flat, weight, bias], name, transB=1)

    def _plain(self, x: str, name: str, primitive: Norm | Rectify | GlobalPool) -> str:
        match primitive:
            case Rectify():
                return self._activate(x, name, "relu")
            case GlobalPool():
                return self._node("GlobalAveragePool", [x], name)
            case Norm(channels=channels):
                parts = ("weight", "bias", "running_mean", "running_var")
                values = np.abs(self._drawn((len(parts), channels), 2))  # a variance is positive
                pairs = zip(parts, values, strict=True)
                weights = [self._constant(f"{name}.{part}", each) for part, each in pairs]
                return self._node("BatchNormalization", [x, *weights], name)

    def _window(self, x: str, name: str, primitive: AveragePool | MaxPool | Shift) -> str:
        if isinstance(primitive, Shift):
            return self._shifted(x, name, primitive)
        own = {"ceil_mode": int(primitive.partial)} if isinstance(primitive, AveragePool) else {}
        return self._node(
            type(primitive).__name__,  # ONNX calls them the same
            [x],
            name,
            kernel_shape=[primitive.kernel] * 2,
            strides=[primitive.stride] * 2,
            pads=[primitive.padding] * 4,
            **own,
        )

    def _shifted(self, x: str, name: str, shift: Shift) -> str:
        if shift.padded:
            pads = self._constant(f"{name}.pads", np.array([0, 0, 0, 0, 0, 0, 1, 1]))
            x = self._node("Pad", [x, pads], f"{name}.pad")
        for axis in (2, 3):  # one after the other, as the exporter writes it
            values = {"start": 1, "end": np.iinfo(np.int64).max, "axis": axis}
            at = f"{name}.{axis}"
            bounds = [self._constant(f"{at}.{key}", np.array([v])) for key, v in values.items()]
            x = self._node("Slice", [x, *bounds], at)
        return x

    def _branches(self, x: str, name: str, graph: Branches) -> str:
        nodes = {0: x}
        known: dict[tuple[str, Primitive], str] = {}  # as an exporter finds equal nodes
        for target, branches in groupby(graph.branches, lambda branch: branch.target):
            terms: list[str] = []
            for branch in branches:
                at = f"{name}.{branch.name}"
                terms.append(self._branch(nodes[branch.source], at, branch, known))
                if len(terms) > 1 and target not in graph.concatenated:
                    terms = [self._node("Add", terms, at)]
            whole = len(terms) > 1
            nodes[target] = (
                self._node("Concat", terms, f"{name}.node{target}", axis=1) if whole else terms[0]
            )
        if not graph.branches:
            return self._node("Mul", [x, self._constant(f"{name}.zero", np.float32(0))], name)
        return nodes[max(nodes)]

    def _branch(
        self, x: str, at: str, branch: Branch, known: dict[tuple[str, Primitive], str]
    ) -> str:
        for primitive in branch.primitives:
            key = (x, replace(primitive, name=""))
            if key not in known:
                known[key] = self._primitive(x, f"{at}.{primitive.name}", primitive)
            shared = isinstance(primitive, AveragePool | MaxPool | Rectify)
            x = known[key] if shared else known.pop(key)
        return x

    def _conv_norm(self, x: str, name: str, conv: ConvNorm) -> str:
        shape = (conv.out_channels, conv.in_channels // conv.groups, conv.kernel, conv.kernel)
        y = self._conv(
            x, name, shape, stride=conv.stride, groups=conv.groups, dilation=conv.dilation
        )
        return self._activate(y, f"{name}.act", conv.activation)

    def _mixed(self, x: str, name: str, mixed: MixedDepthwise) -> str:
        parts = mixed.parts
        if len(parts) == 1:
            return self._conv_norm(x, name, parts[0])
        if mixed.lowering == "padded":
            return self._activate(self._padded(x, name, mixed), f"{name}.act", mixed.activation)
        sizes = self._constant(f"{name}.sizes", np.array([part.out_channels for part in parts]))
        shares = [f"{name}.{part.name}.x" for part in parts]
        split = helper.make_node("Split", [x, sizes], shares, name=f"{name}.split", axis=1)
        self.nodes.append(split)
        pairs = zip(shares, parts, strict=True)
        done = [self._conv_norm(share, f"{name}.{part.name}", part) for share, part in pairs]
        return self._node("Concat", done, f"{name}.concat", axis=1)

    def _padded(self, x: str, name: str, mixed: MixedDepthwise) -> str:
        """Add one convolution, its smaller kernels surrounded by zeros."""
        largest = max(mixed.kernels)
        kernels = []
        for part in mixed.parts:
            shape = (part.out_channels, 1, part.kernel, part.kernel)
            margin = ((largest - part.kernel) // 2,) * 2
            kernels.append(
                np.pad(self._drawn(shape, part.kernel**2), ((0, 0), (0, 0), margin, margin))
            )
        weight = self._constant(f"{name}.weight", np.concatenate(kernels))
        channels = mixed.channels
        return self._conv_node(
            x, name, weight, (channels, 1, largest, largest), stride=mixed.stride, groups=channels
        )

    def _conv(
        self,
        x: str,
        name: str,
        shape: tuple[int, ...],
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
    ) -> str:
        _, in_channels, kernel, _ = shape
        weight = self._weight(f"{name}.weight", shape, in_channels * kernel * kernel)
        return self._conv_node(
            x, name, weight, shape, stride=stride, groups=groups, dilation=dilation
        )

    def _conv_node(
        self,
        x: str,
        name: str,
        weight: str,
        shape: tuple[int, ...],
        *,
        stride: int,
        groups: int,
        dilation: int = 1,
    ) -> str:
        out_channels, _, kernel, _ = shape
        bias = self._weight(f"{name}.bias", (out_channels,), out_channels)
        return self._node(
            "Conv",
            [x, weight, bias],
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2 * dilation] * 4,
            group=groups,
            **({} if dilation == 1 else {"dilations": [dilation] * 2}),
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
        return self._constant(name, self._drawn(shape, fan_in))

    def _drawn(self, shape: tuple[int, ...], fan_in: int) -> NDArray[np.float32]:
        return self.rng.standard_normal(shape, np.float32) * np.float32((2 / fan_in) ** 0.5)

    def _constant(self, name: str, values: NDArray[Any] | np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name
