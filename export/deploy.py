"""From an answer and the weights it was found with to a deployment directory."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from devices import DeviceSpec, Graph, InvalidFile, Quantization, Shape, device_named
from export.deployment import MODEL, Deployment, write_deployment
from export.engine_file import remove_engine
from export.onnx_file import (
    Array,
    network_graph,
    parity,
    reference_outputs,
    write_onnx,
)
from export.verify import logits_on
from search.answers import Answer
from search.data import ImageData
from search.evaluation import accuracy, calibration_images, final_weights
from search.final_training import FinalRun
from search.runs import TrainedRun
from search.spaces import space_label

AnyRun: TypeAlias = TrainedRun | FinalRun
"""Where weights come from: a supernet, or a network that was trained alone."""

REFERENCE_IMAGES = 8
"""Images of the test split whose logits are stored with a model."""

PARITY_DEVICE = "cpu"
"""Where a file is compared with the network it was made from: every install has it."""

EVALUATION_BATCH = 256
"""Images of the test split at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What exporting made.

    Attributes:
        deployment: The promise that was written.
        test_accuracy: Top-1 in [0, 1] on the test split, which nothing was chosen by.
    """

    deployment: Deployment
    test_accuracy: float


def deploy(
    answer: Answer, run: AnyRun, data: ImageData, folder: Path, *, device: DeviceSpec
) -> Exported:
    """Write the chosen network alone, with what is needed to verify it elsewhere.

    Args:
        answer: What to export.
        run: The supernet that it was searched with, or the network trained alone.
        data: What that was trained on.
        folder: Made if it is not there.
        device: In whose precision; the limit is promised on it if it is one of the answer's.

    Raises:
        InvalidFile: The answer is of another space than the run, or of another architecture
            than the one that was trained alone.
        ParityFailed: The file computes something else than the network.
    """
    _check_fit(answer, run)
    shape = answer.space.input_shape
    calibration = calibration_images(data.training)
    network = _network(answer, run, calibration)
    images = _images(data, count=max(1, REFERENCE_IMAGES // shape[0]) * shape[0])
    model = _in_floats(network, images, data, shape)
    if device.precision == "fp16":
        model = _halved(model, images, data)
    if device.quantization is not None:
        model = _in_integers(model, device.quantization, images, data, calibration)
    folder.mkdir(parents=True, exist_ok=True)
    file = write_onnx(model.graph, folder / MODEL)
    remove_engine(folder)  # of another model that was here
    limit_s, predicted_s, interval_s = _promise(answer, device)
    deployment = Deployment(
        arch=str(answer.arch),
        space=space_label(answer.space),
        sha256=file.sha256,
        input_shape=shape,
        precision=device.precision,
        device=device.name,
        limit_s=limit_s,
        predicted_s=predicted_s,
        interval_s=interval_s,
        parity_max_abs=model.parity_max_abs,
        facts={"test_accuracy": model.test_accuracy, **model.facts, **_facts(answer, run, data)},
        weights="final" if isinstance(run, FinalRun) else "inherited",
    )
    write_deployment(folder, deployment, images, model.logits)
    return Exported(deployment=deployment, test_accuracy=model.test_accuracy)


def _check_fit(answer: Answer, run: AnyRun) -> None:
    """Check that a run holds the weights of an answer's network."""
    space = run.space if isinstance(run, FinalRun) else run.supernet.space
    if answer.space != space:
        raise InvalidFile(
            f"the architecture is of space {answer.space.name!r} {space_label(answer.space)}, "
            f"the run of {space_label(space)}: give the run it was searched with"
        )
    if isinstance(run, FinalRun) and answer.space.alone(answer.arch) != run.arch:
        raise InvalidFile(
            f"the run trained {run.arch} alone and holds no weights of {answer.arch}: give the "
            f"run of the supernet, or train it: latkit train final ARCH.json -o ANOTHER_RUN"
        )


def _promise(
    answer: Answer, device: DeviceSpec
) -> tuple[float | None, float | None, tuple[float, float] | None]:
    """Return limit, prediction and its interval in seconds; nothing where no table priced it."""
    if device.name not in answer.devices:
        return None, None, None
    here = answer.devices.index(device.name)
    return answer.limits_s[here], answer.predicted_s[here], answer.interval_s[here]


def _network(answer: Answer, run: AnyRun, calibration: Sequence[Tensor]) -> nn.Module:
    """Return the network as it ships; one that was trained alone has statistics of its own."""
    if isinstance(run, FinalRun):
        return run.network
    return final_weights(run.supernet, answer.arch, calibration)


def _facts(answer: Answer, run: AnyRun, data: ImageData) -> dict[str, Any]:
    """Return what is to be known of a network in any precision."""
    return {
        **_accuracy_facts(answer, run, data),
        "classes": list(data.class_names),
        "mean": list(data.mean),
        "std": list(data.std),
        "method": answer.method,
        "seed": answer.seed,
        "versions": dict(run.record.versions),
    }


def _accuracy_facts(answer: Answer, run: AnyRun, data: ImageData) -> dict[str, Any]:
    if not isinstance(run, FinalRun):
        return {"validation_accuracy": answer.accuracy, "accuracy_from": answer.accuracy_from}
    return {
        "validation_accuracy": run.validation.averaged,
        "accuracy_from": (
            f"trained alone for {run.epoch} of {run.record.settings.epochs} epochs, weights "
            f"averaged, {len(data.validation)} validation images"
        ),
        "validation_accuracy_inherited": answer.accuracy,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """A graph that can ship, and what was found out about it.

    Attributes:
        graph: The network.
        logits: What it has to give for the reference images, ``(n, classes)``.
        parity_max_abs: How far it is from them here.
        test_accuracy: Top-1 in [0, 1] on the test split.
        facts: More of it, for people and for the report.
    """

    graph: Graph
    logits: Array
    parity_max_abs: float
    test_accuracy: float
    facts: dict[str, Any]


def _in_floats(network: nn.Module, images: Array, data: ImageData, input_shape: Shape) -> _Model:
    """Return the trained network as it is."""
    graph = network_graph(network, input_shape)
    logits = reference_outputs(network, images)
    return _Model(
        graph=graph,
        logits=logits,
        parity_max_abs=parity(logits_on(device_named(PARITY_DEVICE), graph, images), logits),
        test_accuracy=accuracy(network, data.test.batches(EVALUATION_BATCH)),
        facts={},
    )


def _halved(floats: _Model, images: Array, data: ImageData) -> _Model:
    """Return the network in fp16, its numbers as a CPU computes them; they are no one's latency."""
    from devices.half_precision import in_half  # which only fp16 exports need

    cpu = device_named(PARITY_DEVICE)
    graph = in_half(floats.graph)
    found = logits_on(cpu, graph, images)
    return _Model(
        graph=graph,
        logits=floats.logits,
        parity_max_abs=parity(found, floats.logits, precision="fp16"),
        test_accuracy=accuracy(_OnDevice(graph, cpu), data.test.batches(EVALUATION_BATCH)),
        facts={"test_accuracy_fp32": floats.test_accuracy},
    )


def _in_integers(
    floats: _Model,
    scheme: Quantization,
    images: Array,
    data: ImageData,
    calibration: Sequence[Tensor],
) -> _Model:
    """Quantise a network, with the ranges of its activations from training images."""
    from devices.onnxruntime_quantization import quantized  # which only int8 exports need

    cpu = replace(device_named(PARITY_DEVICE), precision="int8", quantization=scheme)
    seen = np.concatenate([batch.contiguous().numpy() for batch in calibration])
    ((_, (batch, *_)),) = floats.graph.inputs
    graph = quantized(floats.graph, scheme, calibration=_full_batches(seen, batch))
    logits = logits_on(replace(cpu, optimization="disable"), graph, images)  # node by node
    found = logits_on(cpu, graph, images)
    return _Model(
        graph=graph,
        logits=logits,
        parity_max_abs=parity(found, logits, precision="int8"),
        test_accuracy=accuracy(_OnDevice(graph, cpu), data.test.batches(EVALUATION_BATCH)),
        facts={
            "test_accuracy_fp32": floats.test_accuracy,
            "fp32_max_abs": float(np.abs(found - floats.logits).max()),
            "quantization": asdict(scheme),
            "calibration_images": len(seen),
        },
    )


class _OnDevice(nn.Module):
    """A graph on a device, for whoever takes a module."""

    def __init__(self, graph: Graph, device: DeviceSpec) -> None:
        super().__init__()
        self._graph, self._device = graph, device

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, ``(n, classes)``, of any number of images, ``(n, 3, H, W)``."""
        ((_, (batch, *_)),) = self._graph.inputs
        full = _full_batches(images.contiguous().numpy(), batch)
        return torch.from_numpy(logits_on(self._device, self._graph, full)[: len(images)])


def _full_batches(images: Array, batch: int) -> Array:
    """Return images, ``(n, 3, H, W)``, the first of them again until the last batch is full."""
    count = -(-len(images) // batch) * batch
    return np.resize(images, (count, *images.shape[1:]))


def _images(data: ImageData, *, count: int) -> Array:
    """Return the first test images, ``(count, 3, H, W)``, as the network takes them."""
    images, _ = next(data.test.batches(count))
    values: Array = images.contiguous().numpy()
    return values
