"""What TensorRT says of the layers of an engine, read from its inspector's JSON.

The format changed between versions (types stood beside formats until 11), so what is not there is
left empty. Needs onnx; import it by name.
"""

import json
from collections.abc import Sequence
from typing import Any

from onnx import helper

from devices.graph import IR_VERSION, OPSET
from devices.nvidia.engine_layers import ONNX_LAYER, EngineLayer, format_named

DOMAIN = "com.nvidia.tensorrt"
"""Of the operators that an engine's layers are shown as."""


def layers_of(text: str) -> tuple[EngineLayer, ...]:
    """Read the layers of an engine that was built with detailed profiling.

    Args:
        text: JSON of ``IEngineInspector``; layers without details are their names alone.
    """
    return tuple(_layer(each) for each in json.loads(text).get("Layers", []))


def onnx_of(layers: Sequence[EngineLayer]) -> bytes:
    """Return layers as serialised ONNX, one node each, of operators that only TensorRT knows."""
    nodes = [
        helper.make_node(each.kind, each.inputs, each.outputs, name=each.name, domain=DOMAIN)
        for each in layers
    ]
    graph = helper.make_graph(nodes, "engine", [], [])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _layer(fields: dict[str, Any] | str) -> EngineLayer:
    if isinstance(fields, str):
        fields = {"Name": fields}
    inputs = fields.get("Inputs", [])
    return EngineLayer(
        name=fields["Name"],
        kind=fields.get("LayerType", "unknown"),
        nodes=tuple(ONNX_LAYER.findall(fields.get("Metadata", ""))),
        inputs=tuple(each["Name"] for each in inputs),
        outputs=tuple(each["Name"] for each in fields.get("Outputs", [])),
        types=tuple(dict.fromkeys(filter(None, map(_type, inputs)))),
    )


def _type(tensor: dict[str, Any]) -> str:
    """Return the number format of a tensor; empty where it is not said."""
    said = tensor.get("DataType") or tensor.get("Datatype") or tensor.get("Format/Datatype", "")
    return format_named(said)
