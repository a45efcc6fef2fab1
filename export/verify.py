"""Whether a deployed model keeps its promise: right numbers, within the limit, on the device.

Needs no torch: the outputs are compared with those that were stored at export.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from devices import DeviceSpec, Graph, InvalidFile, LatkitError, Precision, backend_for
from devices.files import write_atomically
from export.deployment import (
    HISTORY,
    VERDICT,
    Deployment,
    read_deployment,
    read_graph,
    read_reference,
)
from export.engine_file import read_engine
from export.onnx_file import parity
from lut import Conditions, current_conditions
from lut.table import EMULATED, is_emulated
from profiler import Measurement, Pace, Status, measure_replicates

PROCESSES, MOST_PROCESSES = 5, 15
"""Fresh processes to measure in: at least, and at most while the verdict is open."""

ROUNDS = 8
"""Slices in each process."""

COVERAGE = 0.95
"""Of the interval that has to lie on one side of the limit."""

EMULATION = "the device is emulated: its numbers are right and its latency is no real one's"
"""What is to be said of every verdict on such a device."""


class NoLimit(LatkitError):
    """Nothing was promised on a device, so there is nothing to verify."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What verifying said.

    Attributes:
        limit_s: Largest acceptable latency, in seconds.
        predicted_s: What the table had predicted, if any.
        measurement: Every sample.
        conditions: What the measurement depends on.
        parity_max_abs: Largest difference to the stored logits, absolute.
    """

    limit_s: float
    predicted_s: float | None
    measurement: Measurement
    conditions: Conditions
    parity_max_abs: float

    @property
    def measured_s(self) -> float:
        """Seconds of the middle run in fresh processes, by the clock."""
        return self.measurement.median_s

    @property
    def interval_s(self) -> tuple[float, float]:
        """Where that would lie if all were measured again."""
        return self.measurement.median_interval_s(COVERAGE)

    @property
    def verdict(self) -> Literal["met", "missed", "undecided"]:
        """``met`` and ``missed`` only beyond doubt, see `decision`."""
        return decision(self.limit_s, self.measurement)

    @property
    def met(self) -> bool:
        """Whether the limit is kept beyond doubt."""
        return self.verdict == "met"

    @property
    def status(self) -> Status | Literal["emulated"]:
        """Whether the measurement is to be trusted."""
        return EMULATED if is_emulated(self.conditions) else self.measurement.status

    def doubts(self) -> list[str]:
        """Return the reasons not to trust the latency, each with its cure; none is good."""
        unreal = [EMULATION] if is_emulated(self.conditions) else []
        return unreal + self.measurement.doubts()

    def as_json(self) -> dict[str, Any]:
        """Return plain data; latencies in milliseconds."""
        return {
            "verdict": self.verdict,
            "met": self.met,
            "limit_ms": self.limit_s * 1e3,
            "predicted_ms": None if self.predicted_s is None else self.predicted_s * 1e3,
            "measured_ms": self.measured_s * 1e3,
            "interval_ms": [end * 1e3 for end in self.interval_s],
            "processes": len(self.measurement.by_process),
            "parity_max_abs": self.parity_max_abs,
            "status": self.status,
            "doubts": self.doubts(),
            "device": self.conditions.device.name,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How hard to look.

    Attributes:
        processes: Fresh processes at least.
        most: Fresh processes at most, while the verdict is undecided.
        rounds: Slices in each.
        pace: Time for each slice.
    """

    processes: int = PROCESSES
    most: int = MOST_PROCESSES
    rounds: int = ROUNDS
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        if not 1 <= self.processes <= self.most:
            raise ValueError(f"processes are 1 to {self.most}, got {self.processes}")


def verify(
    folder: Path,
    device: DeviceSpec,
    *,
    limit_s: float | None = None,
    plan: Plan | None = None,
    on_process: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """Check a deployment on a device, and write the verdict beside it.

    Args:
        folder: The deployment directory.
        device: Where to check; its prediction is quoted only on the device it was made for.
        limit_s: Seconds; None for the limit that was promised on this device.
        plan: How hard to look; None for the usual.
        on_process: Called with the number of fresh processes done.

    Raises:
        InvalidFile: The directory is damaged or the model was altered.
        WrongPrecision: The device runs networks of another precision.
        NoLimit: No limit is given, and none was promised on this device.
        ParityFailed: The outputs are not those that were stored.
        DeviceUnavailable: The device is not usable here.
    """
    deployment = read_deployment(folder)
    deployment.require(device)
    promised_here = device.name == deployment.device
    limit = deployment.limit_s if limit_s is None and promised_here else limit_s
    if limit is None:
        raise NoLimit(
            f"{folder} promises no latency on {device.name!r}, only on {deployment.device!r}. "
            "Name the limit to verify: --limit-ms"
        )
    graph = deployed_graph(folder, deployment, device)
    conditions = current_conditions(device)
    parity_max_abs = check_numbers(folder, graph, device)
    plan = plan or Plan()
    measurement = measure_replicates(
        graph,
        device,
        processes=plan.processes,
        most=plan.most,
        rounds=plan.rounds,
        pace=plan.pace,
        enough=partial(_decided, limit),
        on_process=on_process,
    )
    verdict = Verdict(
        limit_s=limit,
        predicted_s=deployment.predicted_s if promised_here else None,
        measurement=measurement,
        conditions=conditions,
        parity_max_abs=parity_max_abs,
    )
    _record(folder, deployment, verdict)
    return verdict


def deployed_graph(folder: Path, deployment: Deployment, device: DeviceSpec) -> Graph:
    """Return what a deployment runs on a device: its engine on a GPU, its model elsewhere.

    Raises:
        InvalidFile: A file of the engine is damaged, or it is for another GPU.
    """
    engine = read_engine(folder) if device.gpu is not None else None
    if engine is not None:
        engine.require(device)
    return read_graph(folder, deployment.input_shape, engine=engine is not None)


def check_numbers(folder: Path, graph: Graph, device: DeviceSpec) -> float:
    """Compare a model's logits on a device with the stored ones.

    Returns:
        The largest absolute difference.

    Raises:
        ParityFailed: It is more than rounding explains.
        InvalidFile: The stored images do not fit the model.
    """
    images, logits = read_reference(folder)
    (_, shape), *_ = graph.inputs
    if images.shape[1:] != shape[1:] or len(images) % shape[0]:
        raise InvalidFile(f"{folder}: the stored images {images.shape} do not fit {shape}")
    return parity(logits_on(device, graph, images), logits, precision=_rounding(device))


def _rounding(device: DeviceSpec) -> Precision:
    """Return the precision that a device rounds like: fp32 in TF32 has no more bits than fp16."""
    rounded = device.precision == "fp32" and device.gpu is not None and device.gpu.tf32
    return "fp16" if rounded else device.precision


def logits_on(device: DeviceSpec, graph: Graph, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a graph on a device.

    Args:
        device: Where.
        graph: Takes one batch of images.
        images: ``(n, 3, H, W)``, a multiple of that batch.

    Returns:
        Logits, ``(n, classes)``.
    """
    (name, shape), *_ = graph.inputs
    with backend_for(device).open(graph) as session:
        batches = (images[i : i + shape[0]] for i in range(0, len(images), shape[0]))
        outputs = [next(iter(session.run({name: batch}).values())) for batch in batches]
    return np.concatenate(outputs)


def decision(limit_s: float, measurement: Measurement) -> Literal["met", "missed", "undecided"]:
    """Compare a measurement with a limit.

    Met: the whole interval is within it.
    Missed: the whole interval is beyond it, in slices that nothing disturbed. Else undecided.
    """
    low, high = measurement.median_interval_s(COVERAGE)
    if high <= limit_s:
        return "met"
    return "missed" if low > limit_s and not measurement.disturbed else "undecided"


def _decided(limit_s: float, measurement: Measurement) -> bool:
    return decision(limit_s, measurement) != "undecided"


def _record(folder: Path, deployment: Deployment, verdict: Verdict) -> None:
    """Write the verdict, and add it with its samples to the history."""
    summary = verdict.as_json() | {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": deployment.sha256,
        "conditions": verdict.conditions.as_meta(),
    }
    slices = [
        {"process": s.process, "round": s.round, "gate": s.gate, "samples_s": s.samples_s}
        for s in verdict.measurement.slices
    ]
    history = folder / HISTORY
    before = history.read_bytes() if history.is_file() else b""
    line = json.dumps(summary | {"slices": slices}) + "\n"
    write_atomically(history, before + line.encode())
    write_atomically(folder / VERDICT, (json.dumps(summary, indent=2) + "\n").encode())
