"""A trained network as a graph in a device's number format, and what that costs in accuracy."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from devices import DeviceSpec, Graph, Shape, device_named
from export.bundle.onnx_file import Array, network_graph, parity, reference_outputs
from export.logits import arithmetic_of, logits_on, predictions
from export.precision.against_floats import agreement
from export.precision.calibration import CalibrationAsked, calibration_of
from export.precision.quantize import MAX_DROP_POINTS, quantize
from search.images.data import ImageData
from search.supernets.evaluation import accuracy

PARITY_DEVICE = "cpu"
"""Where a file is compared with the network it was made from: every install has it."""

EVALUATION_BATCH = 256
"""Images of the test split at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionAsked:
    """What a network in integers is to be like.

    Attributes:
        calibration: Images that ranges come from.
        max_drop_points: Points of top-1 that integers may cost on the validation split, 0 or more.
    """

    calibration: CalibrationAsked = field(default_factory=CalibrationAsked)
    max_drop_points: float = MAX_DROP_POINTS

    def __post_init__(self) -> None:
        if not self.max_drop_points >= 0.0:
            raise ValueError(f"a drop is 0 points or more, got {self.max_drop_points}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A graph that can ship, and what was found out about it.

    Attributes:
        graph: The network.
        logits: What it has to give for the reference images, ``(n, classes)``.
        parity_max_abs: How far it is from them here.
        test_accuracy: Top-1 in [0, 1] on the test split.
        floats: The network in fp32, from which it was made.
        float_logits: What torch gives for the reference images, ``(n, classes)``.
        facts: What else is to be known of the number format; nothing in fp32.
        shortfall: What was asked of it and could not be had; empty where nothing.
    """

    graph: Graph
    logits: Array
    parity_max_abs: float
    test_accuracy: float
    floats: Graph
    float_logits: Array
    facts: dict[str, Any] = field(default_factory=dict)
    shortfall: str = ""

    @property
    def as_priced(self) -> bool:
        """Whether all of it is in the format that tables are in: no layer went back to floats."""
        return not self.facts.get("kept_float")


def in_format_of(
    device: DeviceSpec,
    network: nn.Module,
    images: Array,
    data: ImageData,
    *,
    input_shape: Shape,
    asked: PrecisionAsked,
) -> Model:
    """Return a network in the number format of a device.

    Args:
        device: Whose format.
        network: As it ships, in evaluation mode.
        images: Of the reference, whole batches: ``(n, 3, H, W)``.
        data: What the network was trained on.
        input_shape: What the graph takes, ``(N, 3, H, W)``.
        asked: What is wanted of integers.

    Raises:
        BadCalibration: Images cannot tell the ranges of integers.
        ParityFailed: The graph computes something else than the network.
    """
    floats = _in_floats(network, images, data, input_shape)
    if device.precision == "fp16":
        return _halved(floats, images, device, data)
    if device.quantization is not None:
        return _in_integers(floats, images, device, data, asked)
    return floats


def _in_floats(network: nn.Module, images: Array, data: ImageData, input_shape: Shape) -> Model:
    """Return the trained network as it is."""
    graph = network_graph(network, input_shape)
    logits = reference_outputs(network, images)
    return Model(
        graph=graph,
        logits=logits,
        parity_max_abs=parity(logits_on(device_named(PARITY_DEVICE), graph, images), logits),
        test_accuracy=accuracy(network, data.test.batches(EVALUATION_BATCH)),
        floats=graph,
        float_logits=logits,
    )


def _halved(floats: Model, images: Array, device: DeviceSpec, data: ImageData) -> Model:
    """Return the network in fp16, its numbers as a CPU computes them; they are no one's latency."""
    from devices.graphs.half_precision import in_half  # which only fp16 exports need

    graph = in_half(floats.graph)
    found = logits_on(device_named(PARITY_DEVICE), graph, images)
    facts = _against(floats.graph, graph, device, data)
    return replace(
        floats,
        graph=graph,
        parity_max_abs=parity(found, floats.logits, precision="fp16"),
        test_accuracy=facts["against_fp32"]["accuracy"],
        facts=facts,
    )


def _in_integers(
    floats: Model, images: Array, device: DeviceSpec, data: ImageData, asked: PrecisionAsked
) -> Model:
    """Quantise a network as accurately as asked, or as can be."""
    from devices.onnx_runtime.quantization import float_operators  # which only int8 exports need

    assert device.quantization is not None
    calibration = calibration_of(asked.calibration, data, floats.graph.inputs[0][1])
    found = quantize(
        floats.graph,
        device,
        calibration=calibration.images,
        validation=data.validation,
        max_drop_points=asked.max_drop_points,
    )
    cpu = arithmetic_of(device)
    logits = logits_on(replace(cpu, optimization="disable"), found.graph, images)  # node by node
    outputs = logits_on(cpu, found.graph, images)
    facts = _against(floats.graph, found.graph, device, data)
    return replace(
        floats,
        graph=found.graph,
        logits=logits,
        parity_max_abs=parity(outputs, logits, precision="int8"),
        test_accuracy=facts["against_fp32"]["accuracy"],
        facts={
            **facts,
            "fp32_max_abs": float(np.abs(outputs - floats.logits).max()),
            "quantization": asdict(device.quantization),
            "calibration_images": len(calibration.images),
            "calibration": {
                "source": calibration.source,
                "images": len(calibration.images),
                "ranges": found.chosen.rule,
            },
            "kept_float": list(found.chosen.floats),
            "float_operators": float_operators(floats.graph),
            "validation_drop": found.as_json(),
        },
        shortfall=found.shortfall(),
    )


def _against(floats: Graph, graph: Graph, device: DeviceSpec, data: ImageData) -> dict[str, Any]:
    """Return what a format costs on the test split, and what it saves on disk."""
    before = predictions(floats, device_named(PARITY_DEVICE), data.test)
    after = predictions(graph, arithmetic_of(device), data.test)
    found = agreement(before, after, data.test.labels)
    return {
        "test_accuracy_fp32": found.accuracy_fp32,
        "against_fp32": {
            **found.as_json(),
            "size_bytes_fp32": len(floats.onnx),
            "size_bytes": len(graph.onnx),
        },
    }
