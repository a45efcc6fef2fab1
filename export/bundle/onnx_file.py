"""A network as an ONNX file that ships, and the check that it still computes the same.

torch is imported by the functions that need it: a machine that only verifies a deployment reads
`parity` from here and has no torch.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from devices import Graph, LatkitError, Precision, Shape
from devices.files import write_atomically

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[np.float32]

PARITY_TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2, "int8": 5e-2}
"""Largest difference of a logit, relative to the largest logit or to 1 if that is more.

In fp32, rounding over 60 layers gives some 1e-6; a wrong statistic or a missing layer gives 1e-2
and more. In fp16, as in TF32, a number has 10 bits: 2e-4 was seen on a CPU, in 16 layers. In int8,
kernels that round a number differently are one of 255 steps apart, which later layers spread: up to
1.6e-2 was seen, in 67 layers.
"""


class ParityFailed(LatkitError):
    """An exported graph does not compute what the network computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """What was written.

    Attributes:
        path: The file.
        sha256: Of its content, 64 hexadecimal digits.
        size_bytes: Of its content.
        opset: Version of the ONNX operators.
        weights: Numbers in its weights and biases.
    """

    path: Path
    sha256: str
    size_bytes: int
    opset: int
    weights: int


def network_graph(network: "nn.Module", input_shape: Shape) -> Graph:
    """Return a network as a graph in fp32, batch norm folded.

    Args:
        network: The chosen sub-network alone, calibrated, see
            `search.supernets.evaluation.final_weights`.
        input_shape: ``(N, 3, H, W)``; baked into the graph.

    Raises:
        ValueError: A batch norm was not folded into the convolution before it.
    """
    from devices.graphs.lowering import lower
    from profiler.operators.modules import deployed

    shipped = deployed(network)
    graph = lower(shipped, input_shape)
    model = onnx.load_from_string(graph.onnx)
    _check_folded(model)
    weights, own = _weights(model), _own_weights(shipped) + _norm_weights(model)
    assert weights <= own, f"{weights} weights in the graph, {own} in the network"
    return graph


def write_onnx(graph: Graph, path: Path) -> OnnxFile:
    """Write a graph as a file; a kill leaves no half of it.

    Args:
        graph: What to write.
        path: Where; a file that is there is replaced.

    Returns:
        What was written.
    """
    model = onnx.load_from_string(graph.onnx)
    onnx.checker.check_model(model, full_check=True)
    write_atomically(path, graph.onnx)
    return OnnxFile(
        path=path,
        sha256=sha256(graph.onnx).hexdigest(),
        size_bytes=len(graph.onnx),
        opset=model.opset_import[0].version,
        weights=_weights(model),
    )


def _check_folded(model: onnx.ModelProto) -> None:
    convolved = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    for node in _norms(model):
        if node.input[0] in convolved:
            raise ValueError(f"batch norm {node.name!r} was not folded into its convolution")


def _norms(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the batch norms that are left: those of no convolution."""
    return [node for node in model.graph.node if node.op_type == "BatchNormalization"]


def _weights(model: onnx.ModelProto) -> int:
    """Count the numbers of weights and biases: floats, or integers of 8 and 32 bits.

    Shapes have 64 bits, bounds of a clip are scalars, and scales belong to the integers.
    """
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.INT32)
    quantizing = ("QuantizeLinear", "DequantizeLinear")
    nodes = (node for node in model.graph.node if node.op_type in quantizing)
    scales = {name for node in nodes for name in node.input[1:]}
    return sum(
        int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type in kinds and tensor.dims and tensor.name not in scales
    )


def _norm_weights(model: onnx.ModelProto) -> int:
    """Count what the batch norms that are left hold beyond the one bias of those that are not."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    return sum(3 * sizes[node.input[1]] for node in _norms(model))


def _own_weights(network: "nn.Module") -> int:
    """Count what a network's file may hold: batch norm's two per channel become one bias.

    The exporter leaves out a bias of zeros, so there may be less in the file, never more.
    """
    from torch import nn

    trained = sum(parameter.numel() for parameter in network.parameters())
    norms = (module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    return trained - sum(norm.num_features for norm in norms)


def reference_outputs(network: "nn.Module", images: Array) -> Array:
    """Return torch's logits, which every fp32 deployment of the network must reproduce.

    Args:
        network: In evaluation mode.
        images: ``(batch, 3, height, width)``, normalised as in training.

    Returns:
        Logits, ``(batch, classes)``.

    Raises:
        ValueError: The network is in training mode.
    """
    import torch

    if network.training:
        raise ValueError("a network in training mode gives other logits: call eval() first")
    with torch.inference_mode():
        logits: Array = network(torch.from_numpy(images)).numpy()
    return logits


def parity(graph_outputs: Array, reference: Array, *, precision: Precision = "fp32") -> float:
    """Return the largest absolute difference between two sets of logits.

    Args:
        graph_outputs: Of the exported graph, on some runtime, ``(batch, classes)``.
        reference: What they should be for the same images: see `export.bundle.deployment`.
        precision: Of the graph.

    Raises:
        ValueError: The shapes differ.
        ParityFailed: The difference is above the tolerance, or a logit is no number.
    """
    if graph_outputs.shape != reference.shape:
        raise ValueError(f"logits of {graph_outputs.shape} against {reference.shape}")
    difference = float(np.abs(graph_outputs - reference).max())
    tolerance = PARITY_TOLERANCE[precision] * max(1.0, float(np.abs(reference).max()))
    if not difference <= tolerance:  # also true of NaN
        raise ParityFailed(
            f"the exported graph's logits are up to {difference:.2g} away from the reference, more "
            f"than the {tolerance:.2g} that rounding in {precision} explains: export again, and do "
            "not ship this file"
        )
    return difference
