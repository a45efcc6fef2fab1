"""What a device eats: a network or an operator as ONNX."""

from dataclasses import dataclass

Shape = tuple[int, ...]

OPSET = 18
"""ONNX operator set of every graph here: old enough for TensorRT 8 and mobile runtimes."""

IR_VERSION = 10
"""ONNX file version; the onnx package would default to one that ONNX Runtime refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A network or a single operator as ONNX, with concrete input shapes.

    Attributes:
        onnx: Serialised ``ModelProto`` of opset `OPSET`.
        inputs: Input name to shape, ``(N, C, H, W)`` for images; all float32.
    """

    onnx: bytes
    inputs: tuple[tuple[str, Shape], ...]
