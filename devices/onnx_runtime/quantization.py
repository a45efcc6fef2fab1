"""Networks in 8-bit integers, by ONNX Runtime's quantiser: the only file that imports it.

There is one placement. Operators between their neighbours, carriers, whole networks and exports
all go through `quantized`, and whether a node is computed in integers depends on nothing but its
kind, so a chain of operators runs the kernels that a network of them runs. The one exception is
said by name: a layer that an export keeps in floats, since its accuracy suffers.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    TensorData,
    TensorsData,
    create_calibrator,
)

from devices.errors import UnsupportedGraph
from devices.graph import Graph
from devices.onnx_runtime.quantization_ranges import BINS, LEVELS, Histogram, RangeRule, range_of
from devices.spec import Integers, Quantization

Array = NDArray[np.float32]

COMPUTED = ("Conv", "Gemm", "Add", "Mul", "GlobalAveragePool", "AveragePool", "MaxPool", "Concat")
"""Kinds of nodes that are computed in integers, wherever they stand."""

FOLLOWING = ("Relu", "Clip", "Flatten", "Reshape")
"""Kinds that become part of their integer neighbours. All others stay in floats."""

WEIGHTED = ("Conv", "Gemm")
"""Kinds with a weight, their second input, and maybe a bias, their third."""

FLOAT_OUTPUT = ("Gemm",)
"""Kinds that hand out floats: with 256 levels, close logits would be ties."""

TYPES: dict[Integers, QuantType] = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}

SYMMETRIC = {"ActivationSymmetric": True, "QuantizeBias": False}
"""What the quantiser is told where zero has to stay zero and biases are floats."""

WEIGHT_LIMIT, REDUCED_LIMIT = 127, 63
"""Largest integer in a weight of 8 bits, and of 7."""

BIAS_LIMIT = 2.0**31 / 1.001
"""Largest integer in a bias, which has 32 bits; the rest is for scales that are rounded."""

ASSUMED, ASSUMED_RECTIFIED = (-4.0, 4.0), (0.0, 6.0)
"""Ranges where nothing is calibrated: integers take the same time whatever they stand for."""

Ranges = Mapping[str, TensorData]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """What every tensor of a graph held while images went through it.

    Attributes:
        histograms: By name of the tensor.
        images: How many there were.
    """

    histograms: Mapping[str, Histogram]
    images: int

    def ranges(self, rule: RangeRule, *, symmetric: bool) -> Ranges:
        """Return what the integers of every tensor stand for, see `range_of`."""
        return {
            name: _range(*range_of(each, rule, symmetric=symmetric))
            for name, each in self.histograms.items()
        }


def quantized(
    graph: Graph,
    scheme: Quantization,
    *,
    observed: Observed | None = None,
    rule: RangeRule = "minmax",
    floats: Collection[str] = (),
) -> Graph:
    """Return a graph whose nodes are computed in integers, where their kind can be.

    The same input gives the same bytes. Where nothing was observed the ranges are assumed, which is
    for timing only: the outputs mean nothing then, and the latency is the same.

    Args:
        graph: In floats, with one input.
        scheme: How numbers become integers.
        observed: What images gave, see `observe`.
        rule: Which range follows from that.
        floats: Layers to leave in floats, see `layers_of`.

    Raises:
        UnsupportedGraph: No node of the graph can be computed in integers.
        ValueError: There is no such layer.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph.onnx))
    kinds = {node.op_type for node in model.graph.node}
    if kinds.isdisjoint(COMPUTED):
        raise UnsupportedGraph(
            f"nothing to compute in 8-bit integers: the graph has only {', '.join(sorted(kinds))}"
        )
    if unknown := set(floats).difference(_layers(model)):
        raise ValueError(f"the graph has no layer {', '.join(sorted(unknown))}")
    ranges = (
        _assumed(model) if observed is None else observed.ranges(rule, symmetric=scheme.symmetric)
    )
    excluded = _named_nodes(model, floats)
    _quantize_weights(model, scheme, ranges, excluded)
    model = _with_quantized_activations(model, scheme, ranges, excluded)
    return replace(graph, onnx=model.SerializeToString(deterministic=True))


def layers_of(graph: Graph) -> tuple[str, ...]:
    """Return the layers that may be left in floats, in order.

    A layer is an operator of a table with all that belongs to it, such as a whole block: had it
    only one convolution in floats, what that reads and writes would be integers all the same. It is
    called by what the names of its weights begin with: ``3`` of ``3.body.expand.weight``.
    """
    return tuple(dict.fromkeys(_layers(onnx.load_from_string(graph.onnx))))


def _layers(model: ModelProto) -> list[str]:
    """Return the layer of each node: that of the last weight, or the first."""
    found = [
        node.input[1].partition(".")[0] if node.op_type in WEIGHTED else ""
        for node in model.graph.node
    ]
    layer = next(filter(None, found), "")
    return [layer := each or layer for each in found]


def float_operators(graph: Graph) -> dict[str, int]:
    """Count the nodes that no integer kernel computes, by kind: they stay in floats."""
    nodes = onnx.load_from_string(graph.onnx).graph.node
    counts = Counter(node.op_type for node in nodes)
    ours = (*COMPUTED, *FOLLOWING, "Identity", "Constant")
    return {kind: count for kind, count in sorted(counts.items()) if kind not in ours}


def observe(graph: Graph, images: Array) -> Observed:
    """Run a graph in floats, and count which numbers occur in its tensors.

    Args:
        graph: With one input.
        images: As the network takes them, ``(n, C, H, W)``, ``n`` a multiple of the graph's batch.

    Raises:
        ValueError: The images are not full batches, or of another shape.
    """
    ((name, shape),) = graph.inputs
    if images.shape[1:] != shape[1:]:
        raise ValueError(f"images of {images.shape[1:]} for a graph that takes {shape[1:]}")
    if not len(images) or len(images) % shape[0]:
        raise ValueError(f"{len(images)} calibration images are not full batches of {shape[0]}")
    batches = np.split(images, len(images) // shape[0])
    with TemporaryDirectory(prefix="latkit.") as folder:  # the calibrator takes and leaves files
        path = Path(folder) / "model.onnx"
        path.write_bytes(graph.onnx)
        calibrator = create_calibrator(
            path,
            [*COMPUTED, *FOLLOWING],
            augmented_model_path=str(path.with_name("augmented.onnx")),
            calibrate_method=CalibrationMethod.Percentile,  # whose graph hands out all tensors
        )
        session, wanted = calibrator.infer_session, calibrator.tensors_to_calibrate
        names = sorted(wanted)

        def passes() -> Iterator[Mapping[str, Array]]:
            for batch in batches:
                yield dict(zip(names, session.run(names, {name: batch}), strict=True))

        ends = _ends(passes())
        counts = {tensor: np.zeros(BINS, np.int64) for tensor in names}
        for tensors in passes():
            for tensor, values in tensors.items():
                counts[tensor] += np.histogram(values, BINS, range=ends[tensor])[0]
    histograms = {
        tensor: Histogram(low=low, high=high, counts=counts[tensor])
        for tensor, (low, high) in ends.items()
    }
    return Observed(histograms=histograms, images=len(images))


def _ends(passes: Iterator[Mapping[str, Array]]) -> dict[str, tuple[float, float]]:
    """Return the smallest and the largest number in every tensor."""
    ends: dict[str, tuple[float, float]] = {}
    for tensors in passes:
        for tensor, values in tensors.items():
            low, high = ends.get(tensor, (np.inf, -np.inf))
            ends[tensor] = min(low, float(values.min())), max(high, float(values.max()))
    return ends


def _assumed(model: ModelProto) -> Ranges:
    """Return a range for every tensor; those of rectifiers begin at 0, as real ones do."""
    graph = model.graph
    rectified = {node.output[0] for node in graph.node if node.op_type in ("Relu", "Clip")}
    names = (value.name for value in (*graph.value_info, *graph.input, *graph.output))
    return {name: _range(*(ASSUMED_RECTIFIED if name in rectified else ASSUMED)) for name in names}


def _range(low: float, high: float) -> TensorData:
    return TensorData(lowest=np.float32(low), highest=np.float32(high))


def _named_nodes(model: ModelProto, floats: Collection[str]) -> list[str]:
    """Give every node a name, which the quantiser looks it up by; return those of some layers."""
    for number, node in enumerate(model.graph.node):
        node.name = f"{number}.{node.op_type}"
    layers = zip(model.graph.node, _layers(model), strict=True)
    return [node.name for node, layer in layers if layer in floats]


def _quantize_weights(
    model: ModelProto, scheme: Quantization, ranges: Ranges, excluded: Collection[str]
) -> None:
    """Replace weights by integers and their scales, in place.

    The quantiser takes weights that it finds like this as they are. Its own way goes through them
    channel by channel: a tenth of a second for a wide operator, and a second for a network.
    """
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        weighted = node.op_type in WEIGHTED and node.name not in excluded
        if weighted and node.input[1] in arrays:
            weight, *bias = (arrays[name] for name in node.input[1:])
            axis = 1 if node.op_type == "Gemm" and not _is_transposed(node) else 0
            scale = _weight_scale(weight, bias, scheme, ranges[node.input[0]], axis=axis)
            node.input[1] = f"{node.name}.weight"
            parts = _integers(node.input[1], weight, scale, axis=axis)
            names = [part.name for part in parts]
            nodes.append(helper.make_node("DequantizeLinear", names, [node.input[1]], axis=axis))
            model.graph.initializer.extend(parts)
            floats = helper.make_tensor_value_info(node.input[1], TensorProto.FLOAT, weight.shape)
            model.graph.value_info.append(floats)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _is_transposed(gemm: NodeProto) -> bool:
    """Whether a row of the weight is an output channel."""
    return any(attribute.name == "transB" and attribute.i for attribute in gemm.attribute)


def _weight_scale(
    weight: Array, bias: list[Array], scheme: Quantization, inputs: TensorData, *, axis: int
) -> Array:
    """Return what one step of a weight stands for: ``(channels,)``, or ``()`` for all channels.

    A channel that is almost dead would have a scale so small that its bias does not fit into an
    integer of the scale of the products: it gets a larger one.
    """
    limit = REDUCED_LIMIT if scheme.reduce_range else WEIGHT_LIMIT
    others = tuple(a for a in range(weight.ndim) if a != axis)
    scale = np.abs(weight).max(axis=others) / limit  # (channels,)
    span = max(float(inputs.highest), 0.0) - min(float(inputs.lowest), 0.0)
    input_scale = span / LEVELS or 1.0
    for values in () if scheme.symmetric else bias:  # there they stay floats
        scale = np.maximum(scale, np.abs(values) / (BIAS_LIMIT * input_scale))
    if not scheme.per_channel:
        scale = scale.max()
    return np.where(scale > 0.0, scale, 1.0).astype(np.float32)


def _integers(name: str, weight: Array, scale: Array, *, axis: int) -> tuple[TensorProto, ...]:
    """Return what a DequantizeLinear of a weight reads: integers, their scale, their zero point."""
    shape = [-1 if a == axis else 1 for a in range(weight.ndim)]
    steps = np.rint(weight / (scale.reshape(shape) if scale.ndim else scale))
    return (
        numpy_helper.from_array(steps.astype(np.int8), f"{name}.integers"),
        numpy_helper.from_array(scale, f"{name}.scale"),
        numpy_helper.from_array(np.zeros(scale.shape, np.int8), f"{name}.zero"),
    )


def _with_quantized_activations(
    model: ModelProto, scheme: Quantization, ranges: Ranges, excluded: Collection[str]
) -> ModelProto:
    """Let the quantiser do the rest: activations between the nodes, and biases.

    Symmetric schemes quantise what nodes read, and not what they write: between a convolution and
    its activation function there is nothing then, and TensorRT makes one kernel of both.
    """
    kinds = COMPUTED if scheme.symmetric else (*COMPUTED, *FOLLOWING)
    floats = COMPUTED if scheme.symmetric else FLOAT_OUTPUT
    shapes_known = model.metadata_props.add()  # or it would write files to infer them again
    shapes_known.key, shapes_known.value = "onnx.infer", "onnxruntime.quant"
    quantizer = QDQQuantizer(
        model,
        per_channel=scheme.per_channel,
        reduce_range=False,  # of activations
        weight_qType=QuantType.QInt8,
        activation_qType=TYPES[scheme.activations],
        tensors_range=TensorsData(CalibrationMethod.MinMax, dict(ranges)),
        nodes_to_quantize=[],  # all
        nodes_to_exclude=[*excluded],
        op_types_to_quantize=[*kinds],
        extra_options={
            "OpTypesToExcludeOutputQuantization": [*floats],
            "ForceQuantizeNoInputCheck": True,  # a node's kind decides, not what it follows
            **(SYMMETRIC if scheme.symmetric else {}),
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    finished: ModelProto = quantizer.model.model
    del finished.metadata_props[:]
    del finished.graph.value_info[:]
    return finished
