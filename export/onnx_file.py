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

from devices import LatkitError, Shape
from devices.files import write_atomically

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[np.float32]

PARITY_TOLERANCE = 1e-4
"""Largest difference of an fp32 logit, relative to the largest logit or to 1 if that is more.

Rounding over 60 layers gives some 1e-6; a wrong statistic or a missing layer gives 1e-2 and more.
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


def export_onnx(network: "nn.Module", input_shape: Shape, path: Path) -> OnnxFile:
    """Write a network as ONNX, batch norm folded; a kill leaves no half file.

    Args:
        network: The chosen sub-network alone, calibrated, see `search.evaluation.final_weights`.
        input_shape: ``(N, 3, H, W)``; baked into the file.
        path: Where to write; a file that is there is replaced.

    Returns:
        What was written.

    Raises:
        ValueError: The network has a batch norm that nothing can take up.
    """
    from devices.lowering import lower

    graph = lower(network, input_shape)
    model = onnx.load_from_string(graph.onnx)
    onnx.checker.check_model(model, full_check=True)
    _check_folded(model)
    weights = _weights(model)
    own = _own_weights(network)
    assert weights <= own, f"{weights} weights in the file, {own} in the network"
    write_atomically(path, graph.onnx)
    return OnnxFile(
        path=path,
        sha256=sha256(graph.onnx).hexdigest(),
        size_bytes=len(graph.onnx),
        opset=model.opset_import[0].version,
        weights=weights,
    )


def _check_folded(model: onnx.ModelProto) -> None:
    left = [node.name for node in model.graph.node if node.op_type == "BatchNormalization"]
    if left:
        raise ValueError(f"batch norm {left[0]!r} has no convolution before it to be folded into")


def _weights(model: onnx.ModelProto) -> int:
    """Count the floats of weights and biases; shapes are integers, bounds of a clip are scalars."""
    return sum(
        int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims
    )


def _own_weights(network: "nn.Module") -> int:
    """Count what a network's file may hold: batch norm's two per channel become one bias.

    The exporter leaves out a bias of zeros, so there may be less in the file, never more.
    """
    from torch import nn

    trained = sum(parameter.numel() for parameter in network.parameters())
    norms = (module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    return trained - sum(norm.num_features for norm in norms)


def reference_outputs(network: "nn.Module", images: Array) -> Array:
    """Return torch's logits, which every deployment of the network must reproduce.

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


def parity(graph_outputs: Array, torch_outputs: Array) -> float:
    """Return the largest absolute difference between two sets of logits.

    Args:
        graph_outputs: Of the exported graph, on some runtime, ``(batch, classes)``.
        torch_outputs: Of `reference_outputs` for the same images.

    Raises:
        ValueError: The shapes differ.
        ParityFailed: The difference is above the tolerance, or a logit is no number.
    """
    if graph_outputs.shape != torch_outputs.shape:
        raise ValueError(f"logits of {graph_outputs.shape} against {torch_outputs.shape}")
    difference = float(np.abs(graph_outputs - torch_outputs).max())
    tolerance = PARITY_TOLERANCE * max(1.0, float(np.abs(torch_outputs).max()))
    if not difference <= tolerance:  # also true of NaN
        raise ParityFailed(
            f"the exported graph's logits are up to {difference:.2g} away from torch's, more than "
            f"the {tolerance:.2g} that rounding explains: export again, and do not ship this file"
        )
    return difference
