"""What runs in one piece in an engine, and which number format that is in, by any of its names."""

import re
from dataclasses import dataclass

ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
"""How a layer names the ONNX nodes that it computes."""

TYPES = {
    "half": "fp16",
    "fp16": "fp16",
    "float16": "fp16",
    "float": "fp32",
    "fp32": "fp32",
    "float32": "fp32",
    "int8": "int8",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}
"""How versions of TensorRT call a type, in lower case, to how we do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLayer:
    """One layer of an engine: what runs in one piece.

    Attributes:
        name: As the profiler reports it.
        kind: TensorRT's type of it.
        nodes: Names of the ONNX nodes that it computes.
        inputs: Names of what it reads.
        outputs: Names of what it writes.
        types: Number formats of the inputs, each once: ``fp16``, ``int8``.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    types: tuple[str, ...]


def format_named(said: str) -> str:
    """Return the number format that a text of TensorRT names last; empty where it names none.

    Args:
        said: A type or a layout: ``Half``, ``Channel major Int8 format``.
    """
    words = re.findall(r"[a-z]+\d*", said.lower())
    return next((TYPES[word] for word in reversed(words) if word in TYPES), "")
