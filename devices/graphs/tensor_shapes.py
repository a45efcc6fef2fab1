"""The shapes of all tensors in a graph, for whoever computes what it costs.

Needs onnx; import it by name, where a graph is priced or planned.
"""

from collections.abc import Mapping

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.external_data_helper import load_external_data_for_model

from devices.errors import UnsupportedGraph
from devices.graph import Graph, Shape


def with_shapes(graph: Graph, *, reader: str) -> onnx.ModelProto:
    """Read a graph and infer all its shapes.

    Args:
        graph: What to read.
        reader: Who refuses it, for messages: ``"the simulated device"``.

    Raises:
        UnsupportedGraph: It is no ONNX, or has a node that ONNX does not define.
    """
    try:
        model = onnx.load_from_string(graph.onnx)
        strange = [n.op_type for n in model.graph.node if not onnx.defs.has(n.op_type, n.domain)]
        if strange or not model.graph.node:
            what = f"ONNX defines no {', '.join(strange)}" if strange else "it has no nodes"
            raise UnsupportedGraph(f"{reader} refuses the graph: {what}")
        if graph.folder is not None:
            load_external_data_for_model(model, str(graph.folder))
        _fix_inputs(model, dict(graph.inputs))
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)
    except (DecodeError, onnx.shape_inference.InferenceError) as error:
        why = " ".join(str(error).split())[:300]
        raise UnsupportedGraph(f"{reader} refuses the graph: {why}") from error


def tensor_shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Return the shape of every tensor; sizes that depend on the data count as 0."""
    return {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    } | {weight.name: tuple(weight.dims) for weight in graph.initializer}


def _fix_inputs(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
    """Write the sizes into the inputs, where a file leaves them open."""
    for value in model.graph.input:
        if value.name in shapes:
            kind = value.type.tensor_type.elem_type
            fixed = onnx.helper.make_tensor_type_proto(kind, shapes[value.name])
            value.type.CopyFrom(fixed)
