"""What a device eats: a network or an operator as ONNX."""

from dataclasses import dataclass
from pathlib import Path

Shape = tuple[int, ...]

OPSET = 18
"""ONNX operator set of every graph built here: old enough for TensorRT 8 and mobile runtimes."""

IR_VERSION = 10
"""ONNX file version; the onnx package would default to one that ONNX Runtime refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A network or a single operator as ONNX, with concrete input shapes.

    The bytes of a file that someone brings stay as they are: sizes that it leaves open are fixed by
    what is fed to it, as they are where it is deployed.

    Attributes:
        onnx: Serialised ``ModelProto``; of opset `OPSET` if built here.
        inputs: Input name to shape, ``(N, C, H, W)`` for images.
        dtypes: NumPy name of each input's type, in the order of ``inputs``; empty: all float32.
        folder: Where weights lie that the bytes only refer to; None if the bytes hold them all.
            ONNX ends at 2 GB, so larger networks keep their weights outside.
        engine: What TensorRT built of it for the device already; None to build it there. Other
            runtimes read the ONNX.
    """

    onnx: bytes
    inputs: tuple[tuple[str, Shape], ...]
    dtypes: tuple[str, ...] = ()
    folder: Path | None = None
    engine: bytes | None = None

    def __post_init__(self) -> None:
        if self.dtypes and len(self.dtypes) != len(self.inputs):
            raise ValueError(f"{len(self.inputs)} inputs have {len(self.dtypes)} types")

    @property
    def typed_inputs(self) -> tuple[tuple[str, Shape, str], ...]:
        """Name, shape and NumPy type of every input."""
        dtypes = self.dtypes or ("float32",) * len(self.inputs)
        return tuple((*pair, dtype) for pair, dtype in zip(self.inputs, dtypes, strict=True))
