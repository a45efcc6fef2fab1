"""The one place where torch becomes ONNX: what is timed is what is shipped.

Needs torch and onnxscript; import it by name where they are installed.
"""

from copy import deepcopy

import onnx
import torch
from torch import nn

from devices.graph import IR_VERSION, OPSET, Graph, Shape

INPUT, OUTPUT = "images", "logits"

_SPATIAL = [2, 3]
"""Height and width of ``(N, C, H, W)``."""


def lower(module: nn.Module, input_shape: Shape) -> Graph:
    """Export a module in inference mode; the module itself stays as it is.

    Batch norm is folded into the convolution before it. Global pooling becomes
    ``GlobalAveragePool``, the node that operators are timed with, where torch would write
    ``ReduceMean``: a runtime that blocks channels would leave its layout for that one. What torch
    notes about its own source files is left out, so the bytes do not depend on where the code lies.

    Args:
        module: Operator or network with one image-like input and one output.
        input_shape: ``(N, C, H, W)``; baked into the graph.

    Returns:
        The graph, with the input named ``"images"`` and the output ``"logits"``.
    """
    # strides of channels-last weights would be exported as a Gather before the classifier
    plain = deepcopy(module).eval().to(memory_format=torch.contiguous_format)
    program = torch.onnx.export(
        plain,
        (torch.zeros(input_shape),),
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # torch returns None only when it writes a file
    model = program.model_proto
    model.ir_version = IR_VERSION
    _pool_by_name(model.graph)
    _forget_sources(model)
    return Graph(onnx=model.SerializeToString(deterministic=True), inputs=((INPUT, input_shape),))


def _pool_by_name(graph: onnx.GraphProto) -> None:
    """Turn every mean over height and width into a ``GlobalAveragePool``."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2:
            continue
        axes = onnx.numpy_helper.to_array(tensors[node.input[1]])
        keeps = all(a.i for a in node.attribute if a.name == "keepdims")
        if keeps and sorted(int(axis) % 4 for axis in axes) == _SPATIAL:
            node.op_type = "GlobalAveragePool"
            del node.input[1:]
            del node.attribute[:]
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _forget_sources(model: onnx.ModelProto) -> None:
    """Drop stack traces, scopes and other notes of the exporter."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
        tensor.doc_string = ""
