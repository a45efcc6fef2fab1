"""Whether an engine computes in the number formats that its graph asks for.

A strongly typed engine computes in the types of the graph by contract. Where a GPU has no units for
a format the builder converts in front of an operator all the same: integers on compute capability
7.5 are computed in floats. Needs onnx; import it by name.
"""

from collections.abc import Mapping, Sequence

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from devices.graph import Graph
from devices.nvidia.engine_layers import EngineLayer
from devices.spec import Precision

ARITHMETIC = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose format decides how fast a network is."""

FORMATS: dict[int, Precision] = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16"}

DEQUANTIZED = "DequantizeLinear"


def strays_of(graph: Graph, layers: Sequence[EngineLayer]) -> tuple[int, tuple[str, ...]]:
    """Return how many operators of a graph were found in its engine, and which of them stray.

    An operator is found by its name among the nodes of layers. It may be in several, its products
    and the rescaling behind them, and strays where none of them reads what the graph asks for.
    Layers whose nodes or types are not known say nothing.

    Args:
        graph: What was built.
        layers: Of its engine, from the inspector or from the builder's log.

    Returns:
        Operators found; for each that strays its name and both formats.
    """
    wanted = wanted_formats(onnx.load_from_string(graph.onnx))
    read: dict[str, list[str]] = {}
    for layer in layers:
        for node in layer.nodes if layer.types else ():
            read.setdefault(node, []).extend(layer.types)
    strays = (
        f"{node} reads {' and '.join(dict.fromkeys(read[node]))}, not {format_}"
        for node, format_ in wanted.items()
        if node in read and format_ not in read[node]
    )
    return len(read.keys() & wanted.keys()), tuple(strays)


def wanted_formats(model: ModelProto) -> Mapping[str, Precision]:
    """Return the number format that a model asks for in each of its `ARITHMETIC` operators.

    Integers stand before an operator as a pair of ``QuantizeLinear`` and ``DequantizeLinear``;
    otherwise it computes in the type of its weights.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    types = {each.name: each.data_type for each in model.graph.initializer}
    formats: dict[str, Precision] = {}
    for node in model.graph.node:
        if node.op_type not in ARITHMETIC:
            continue
        if all(_dequantized(makers.get(name)) for name in node.input[:2]):
            formats[node.name] = "int8"
        elif types.get(node.input[1]) in FORMATS:
            formats[node.name] = FORMATS[types[node.input[1]]]
    return formats


def _dequantized(node: NodeProto | None) -> bool:
    return node is not None and node.op_type == DEQUANTIZED
