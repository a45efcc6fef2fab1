"""Networks in 16-bit floats, for runtimes that compute what the file says.

Weights and everything between the nodes become fp16; inputs and outputs stay fp32, so that whoever
feeds a model need not know of it. The conversions at both ends become part of what the runtime does
to the layout of an image anyway.

Needs onnx; import it by name, where a graph is converted.
"""

from dataclasses import replace

import numpy as np
import onnx
from onnx import GraphProto, TensorProto, helper, numpy_helper

from devices.errors import UnsupportedGraph
from devices.graph import Graph

LARGEST = float(np.finfo(np.float16).max)

INSIDE = ".fp16"
"""What the names of inputs and outputs end in between the conversions."""


def in_half(graph: Graph) -> Graph:
    """Return a graph that computes in fp16 what it computed in fp32.

    Args:
        graph: In fp32, without branches and loops.

    Raises:
        UnsupportedGraph: A weight is too large for fp16, or the graph has parts that are not
            converted: branches, loops, or integers for floats.
    """
    model = onnx.load_from_string(graph.onnx)
    kinds = {node.op_type for node in model.graph.node}
    strange = kinds & {"If", "Loop", "Scan", "QuantizeLinear", "DequantizeLinear"}
    if strange:
        raise UnsupportedGraph(
            f"no conversion to fp16 of a graph with {', '.join(sorted(strange))}"
        )
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(_halved(tensor))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(_halved(attribute.t))
            elif node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    del model.graph.value_info[:]
    _convert_ends(model.graph)
    return replace(graph, onnx=model.SerializeToString(deterministic=True))


def _halved(tensor: TensorProto) -> TensorProto:
    """Return a constant in fp16."""
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= LARGEST:
        raise UnsupportedGraph(f"{tensor.name!r} holds {largest:.3g}, which is too large for fp16")
    return numpy_helper.from_array(values.astype(np.float16), tensor.name)


def _convert_ends(graph: GraphProto) -> None:
    """Put a conversion behind every input of floats and before every output."""
    inputs = [each.name for each in graph.input if _holds_floats(each)]
    outputs = [each.name for each in graph.output if _holds_floats(each)]
    ends = {*inputs, *outputs}
    for node in graph.node:
        node.input[:] = [f"{name}{INSIDE}" if name in ends else name for name in node.input]
        node.output[:] = [f"{name}{INSIDE}" if name in ends else name for name in node.output]
    before = [_cast(name, f"{name}{INSIDE}", TensorProto.FLOAT16) for name in inputs]
    after = [_cast(f"{name}{INSIDE}", name, TensorProto.FLOAT) for name in outputs]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)


def _cast(x: str, y: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [x], [y], name=f"{y}.cast", to=to)


def _holds_floats(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT)
