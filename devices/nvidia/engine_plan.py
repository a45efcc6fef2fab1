"""The plan of an engine: its kernels and its memory, as the builder's log tells them.

TensorRT for RTX plans for GPUs that are not here. The text of its log is no interface: it was read
from `KNOWN_VERSIONS`, and where another version writes something else the plan is refused, never
half read.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from devices.errors import LatkitError
from devices.graph import Graph
from devices.nvidia.engine_layers import ONNX_LAYER, EngineLayer, format_named
from devices.nvidia.tensorrt_build import Built, build_engine
from devices.spec import TensorRTModule

KNOWN_VERSIONS = ("1.7.1.116",)
"""Of TensorRT for RTX, whose text was read."""

HEADING = "Layers:"
KERNEL = re.compile(r"Name: (?P<name>[^,]+), LayerType: (?P<kind>[^,]+), Inputs: \[")
TENSOR = re.compile(r"Datatype: (\w+), Format: \((\w+)\)")
MEMORY = {
    "activation_bytes": re.compile(r"Total Activation Memory: (\d+) bytes"),
    "scratch_bytes": re.compile(r"Max Scratch Memory: (\d+) bytes"),
    "weight_bytes": re.compile(r"Total Weights Memory: (\d+) bytes"),
}


class UnreadablePlan(LatkitError):
    """A builder's log does not say what it said in the versions that are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedKernel:
    """One kernel of an engine.

    Attributes:
        name: What the builder calls it.
        kind: Its type there, such as ``correlation`` for a convolution.
        nodes: ONNX nodes that are fused into it; none where it converts a layout. A node may be in
            two kernels, its bias apart from its products, say.
        formats: Number format and layout of what it writes: ``Half NHWC``.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    formats: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlan:
    """What runs a graph on one kind of GPU, and in how much memory. No latency.

    Attributes:
        kernels: In the order in which they run.
        activation_bytes: Of what lies between kernels, scratch included; inputs and outputs of the
            graph do not count.
        scratch_bytes: The largest scratch memory of a part of the graph.
        weight_bytes: Of the weights.
    """

    kernels: tuple[PlannedKernel, ...]
    activation_bytes: int
    scratch_bytes: int
    weight_bytes: int

    @property
    def total_bytes(self) -> int:
        """Weights and activations."""
        return self.weight_bytes + self.activation_bytes

    def as_json(self) -> dict[str, Any]:
        """Return plain data; `plan_from_json` reads it back."""
        return asdict(self)


def plan_from_json(values: dict[str, Any]) -> EnginePlan:
    """Read `EnginePlan.as_json` back; KeyError or TypeError where that is not what it is."""
    kernels = [
        PlannedKernel(
            name=each["name"],
            kind=each["kind"],
            nodes=tuple(each["nodes"]),
            formats=tuple(each["formats"]),
        )
        for each in values["kernels"]
    ]
    return EnginePlan(**{**values, "kernels": tuple(kernels)})


def plan_engine(
    graph: Graph, *, capability: str, module: TensorRTModule = "tensorrt_rtx"
) -> EnginePlan:
    """Build an engine and read its plan.

    Args:
        graph: What to plan.
        capability: Compute capability of the GPU: ``"8.6"``. One engine may be for several, but
            its log tells the plan of one.
        module: Which TensorRT.

    Raises:
        DeviceUnavailable: The module is not installed, or knows no such compute capability.
        UnsupportedGraph: Parser or builder refuse the graph.
        UnreadablePlan: The log is not understood.
    """
    return read_plan(build_engine(graph, module=module, compute_capabilities=(capability,)))


def read_plan(built: Built) -> EnginePlan:
    """Read the plan from what a builder said.

    Raises:
        UnreadablePlan: It is not understood.
    """
    kernels = tuple(map(_kernel, _lines(built)))
    memory = {key: _bytes(built, pattern) for key, pattern in MEMORY.items()}
    return EnginePlan(kernels=kernels, **memory)


def layers_of_plan(built: Built) -> tuple[EngineLayer, ...]:
    """Return the kernels of a plan as the layers of an inspector, without the names of tensors.

    Raises:
        UnreadablePlan: It is not understood.
    """
    return tuple(map(_layer, _lines(built)))


def _lines(built: Built) -> list[str]:
    """Return the lines of a list of layers: one each, without those about the engine."""
    texts = [text for text in built.said("verbose") if text.startswith(HEADING)]
    if len(texts) != 1:
        raise _unreadable(f"{len(texts)} lists of layers, where one was expected")
    lines = [line for line in texts[0].removeprefix(HEADING).splitlines() if "LayerType: " in line]
    if not lines:
        raise _unreadable("a list of layers without a layer")
    return lines


def _layer(line: str) -> EngineLayer:
    kernel = _kernel(line)
    inputs, _, _ = line.partition("Outputs: [")
    inputs, _, _ = inputs.partition("], Constants: [")
    types = (format_named(dtype) for dtype, _ in TENSOR.findall(inputs))
    return EngineLayer(
        name=kernel.name,
        kind=kernel.kind,
        nodes=kernel.nodes,
        inputs=(),
        outputs=(),
        types=tuple(dict.fromkeys(filter(None, types))),
    )


def _kernel(line: str) -> PlannedKernel:
    found = KERNEL.match(line)
    _, _, outputs = line.partition("Outputs: [")
    written = TENSOR.findall(outputs)
    if found is None or "Metadata:" not in line or not written:
        raise _unreadable(f"a layer that reads {line[:80]!r}")
    return PlannedKernel(
        name=found["name"],
        kind=found["kind"],
        nodes=tuple(ONNX_LAYER.findall(line)),
        formats=tuple(f"{dtype} {layout}" for dtype, layout in written),
    )


def _bytes(built: Built, pattern: re.Pattern[str]) -> int:
    found: Sequence[str] = [each for text in built.said("info") for each in pattern.findall(text)]
    if len(found) != 1:
        raise _unreadable(f"{len(found)} lines like {pattern.pattern!r}, where one was expected")
    return int(found[0])


def _unreadable(what: str) -> UnreadablePlan:
    return UnreadablePlan(
        f"the builder's log holds {what}; plans are read from TensorRT for RTX "
        f"{', '.join(KNOWN_VERSIONS)}: pip install 'tensorrt-rtx=={KNOWN_VERSIONS[-1]}'"
    )
