"""Which GPU an engine is built for, and what that GPU says of it, where it is here."""

from pathlib import Path
from typing import Any, Literal

from devices import (
    DeviceSpec,
    DeviceUnavailable,
    LatkitError,
    Precision,
    device_named,
    known_devices,
)
from devices.catalog import in_precision
from export.bundle.deployment import Deployment
from export.bundle.engine_file import read_engine
from export.verdicts.verify import check_numbers, deployed_graph
from search.answers import Answer

Format = Literal["onnx", "tensorrt"]
"""What a network is exported to."""


class NoEngineDevice(LatkitError):
    """There is no GPU to build an engine for."""


def engine_device_of(
    answer: Answer, *, precision: Precision | None = None, given: DeviceSpec | None = None
) -> DeviceSpec:
    """Return the GPU to build an answer's engine for.

    The first of those that the answer was priced on, or the one given. No table need have priced
    it: then nothing is promised.

    Args:
        answer: What is to be exported.
        precision: Of the engine; None for the GPU's.
        given: The GPU to build for.

    Raises:
        NoEngineDevice: None is known, or it takes other batches than the answer's space.
    """
    known = known_devices()
    named = [device_named(name) for name in answer.devices if _is_known(name, known)]
    gpus = [given] if given is not None else [each for each in named if each.gpu is not None]
    if not gpus or gpus[0].gpu is None:
        others = [given.name] if given is not None else answer.devices
        raise NoEngineDevice(
            f"an engine of TensorRT is built for one kind of GPU, and {', '.join(others)} is none: "
            "name it, such as --device rtx-4090 (latkit devices)"
        )
    device = in_precision(gpus[0], precision or gpus[0].precision)
    batch = answer.space.input_shape[0]
    if device.batch != batch:
        raise NoEngineDevice(
            f"device {device.name!r} takes batches of {device.batch}, the network was searched for "
            f"batches of {batch}: name another device, such as {device.name}-b{batch}"
        )
    return device


def _is_known(name: str, known: dict[str, DeviceSpec]) -> bool:
    return any(name == each or name.startswith(f"{each}-") for each in known)


def engine_facts(folder: Path, deployment: Deployment, device: DeviceSpec) -> dict[str, Any]:
    """Return what an engine is, and how far its outputs are off on its GPU, if that is here.

    Args:
        folder: The deployment directory.
        deployment: What it promises.
        device: The GPU.

    Raises:
        ParityFailed: The GPU computes something else than the model's reference.
    """
    file = read_engine(folder)
    assert file is not None  # it was just written
    facts: dict[str, Any] = {
        "engine": f"{file.module} {file.version}, compute capability {file.compute_capability}",
        "engine_sha256": file.sha256,
        "engine_bytes": file.size_bytes,
        "engine_build_s": file.build_s,
    }
    try:
        graph = deployed_graph(folder, deployment, device)
        off = check_numbers(folder, graph, device)
    except DeviceUnavailable as error:
        why = f"nothing: {error}. Measure it there: latkit verify {folder} --device {device.name}"
        return {**facts, "measured": why}
    return {**facts, "gpu_max_abs": off, "measured": "outputs; the latency: latkit verify"}
