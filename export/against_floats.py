"""What another number format costs and gains: a network in it beside the same one in fp32.

Accuracies are compared image by image, since both see the same ones; latencies side by side in the
same fresh processes, since a machine is not as fast an hour later.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices import DeviceSpec, DeviceUnavailable, Graph, backend_for, device_named
from devices.files import write_atomically
from profiler import Measurement, Pace, Status, Unmeasurable
from profiler.student_t import student_t_quantile
from profiler.together import measure_together
from search.data import Split

if TYPE_CHECKING:
    from export.deploy import Exported

Labels = NDArray[np.int64]

SIDE_BY_SIDE = "side_by_side.json"
"""Latency of an exported model as a share of the network in fp32, with the conditions."""

COVERAGE = 0.95
"""Of every interval here."""

BATCH = 256
"""Images decoded at a time."""

PROCESSES, ROUNDS = 5, 6
"""Fresh processes of a comparison of latencies, and slices of either graph in each."""

_Z = NormalDist().inv_cdf((1.0 + COVERAGE) / 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What two versions of one network say of the same images.

    Attributes:
        images: How many.
        both_right: Images that both get right.
        lost: Those that only the network in fp32 gets right.
        gained: Those that only the other one does.
        agreeing: Images that both take for the same class, right or wrong.
    """

    images: int
    both_right: int
    lost: int
    gained: int
    agreeing: int

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError("an agreement needs images, got none")

    @property
    def accuracy_fp32(self) -> float:
        """Top-1 in [0, 1] in fp32."""
        return (self.both_right + self.lost) / self.images

    @property
    def accuracy(self) -> float:
        """Top-1 in [0, 1] in the other format."""
        return (self.both_right + self.gained) / self.images

    @property
    def agreement(self) -> float:
        """Share of images that both take for the same class."""
        return self.agreeing / self.images

    @property
    def drop_points(self) -> float:
        """Points of top-1 that the other format costs; below 0 where it gains some."""
        return 100.0 * (self.lost - self.gained) / self.images

    @property
    def drop_interval_points(self) -> tuple[float, float]:
        """Where the drop would lie on other images of the same kind.

        Source:
            Agresti and Min, Simple improved confidence intervals for comparing matched
            proportions, Statistics in Medicine 24, 2005: half an image more in each of four cells.
        """
        count, lost, gained = self.images + 2.0, self.lost + 0.5, self.gained + 0.5
        drop = (lost - gained) / count
        deviation = math.sqrt((lost + gained) / count - drop**2) / math.sqrt(count)
        return 100.0 * (drop - _Z * deviation), 100.0 * (drop + _Z * deviation)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "images": self.images,
            "accuracy_fp32": self.accuracy_fp32,
            "accuracy_fp32_interval": list(share_interval(self.accuracy_fp32, self.images)),
            "accuracy": self.accuracy,
            "accuracy_interval": list(share_interval(self.accuracy, self.images)),
            "drop_points": self.drop_points,
            "drop_interval_points": list(self.drop_interval_points),
            "agreement": self.agreement,
        }


def share_interval(share: float, count: int) -> tuple[float, float]:
    """Return where a share of some images would lie on other images, in [0, 1].

    Source:
        Wilson, Probable inference, JASA 22, 1927: the score interval.
    """
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    reach = _Z / (1 + _Z**2 / count)
    reach *= math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def agreement(before: Labels, after: Labels, labels: Labels) -> Agreement:
    """Compare what two networks take images for.

    Args:
        before: Classes that the network in fp32 names, ``(images,)``.
        after: Those that the other one does.
        labels: What is true.
    """
    was, is_ = before == labels, after == labels
    return Agreement(
        images=len(labels),
        both_right=int((was & is_).sum()),
        lost=int((was & ~is_).sum()),
        gained=int((~was & is_).sum()),
        agreeing=int((before == after).sum()),
    )


def predictions(graph: Graph, device: DeviceSpec, split: Split) -> Labels:
    """Return the class that a graph takes each image of a split for, ``(images,)``.

    Args:
        graph: Takes one batch of images.
        device: Where to run it.
        split: The images; the last batch is filled up with its first ones.
    """
    ((name, (size, *_)),) = graph.inputs
    named: list[Labels] = []
    with backend_for(device).open(graph) as session:
        for images, _ in split.batches(-(-BATCH // size) * size):
            full = full_batches(images.contiguous().numpy(), size)
            parts = (full[start : start + size] for start in range(0, len(full), size))
            logits = [next(iter(session.run({name: part}).values())) for part in parts]
            named.append(np.concatenate(logits)[: len(images)].argmax(axis=1))
    return np.concatenate(named)


def full_batches(images: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """Return images, ``(n, 3, H, W)``, the first of them again until the last batch is full."""
    count = -(-len(images) // batch) * batch
    return np.resize(images, (count, *images.shape[1:]))


def arithmetic_of(device: DeviceSpec) -> DeviceSpec:
    """Return this machine's CPU, computing in the integers of a device where that has some.

    It says what a model answers, never how long it takes.
    """
    cpu = device_named("cpu")
    if device.quantization is None:
        return cpu
    return replace(cpu, precision="int8", quantization=device.quantization)


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """Latencies of two graphs that were timed in turns in the same fresh processes.

    Attributes:
        floats: Of the network in fp32.
        other: Of the other one.
    """

    floats: Measurement
    other: Measurement

    @property
    def ratio(self) -> float:
        """How long the other one takes, as a share of the network in fp32."""
        return math.exp(float(np.mean(self._logs())))

    @property
    def ratio_interval(self) -> tuple[float, float]:
        """Where that would lie in other processes."""
        logs = self._logs()
        if len(logs) < 2:
            return 0.0, math.inf
        quantile = student_t_quantile((1.0 + COVERAGE) / 2.0, len(logs) - 1)
        reach = quantile * float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
        return math.exp(float(np.mean(logs)) - reach), math.exp(float(np.mean(logs)) + reach)

    @property
    def status(self) -> Status:
        """Whether to trust it: the worse of the two."""
        told = {self.floats.status, self.other.status} - {"ok"}
        return min(told, default="ok")

    def _logs(self) -> list[float]:
        """Return the logarithm of the ratio in each process."""
        mine, theirs = (
            {process: seconds / each.reference_s for process, seconds in each.by_process.items()}
            for each in (self.other, self.floats)
        )
        return [
            math.log(mine[process] / theirs[process]) for process in sorted(mine & theirs.keys())
        ]

    def as_json(self) -> dict[str, Any]:
        """Return plain data; latencies in milliseconds."""
        return {
            "ratio": self.ratio,
            "ratio_interval": list(self.ratio_interval),
            "fp32_ms": self.floats.median_s * 1e3,
            "ms": self.other.median_s * 1e3,
            "processes": len(self._logs()),
            "status": self.status,
        }


def side_by_side(
    floats: Graph,
    other: Graph,
    device: DeviceSpec,
    *,
    processes: int = PROCESSES,
    rounds: int = ROUNDS,
    pace: Pace | None = None,
    on_process: Callable[[int], None] = lambda _: None,
) -> SideBySide:
    """Time a network in fp32 and in another format on the same device, in turns.

    Raises:
        DeviceUnavailable: The device is not here.
        Unmeasurable: It cannot run one of them.
    """
    graphs = (floats, other)
    found = measure_together(
        graphs, device, processes=processes, rounds=rounds, pace=pace, on_process=on_process
    )
    for graph in graphs:
        if graph in found.refused:
            raise Unmeasurable(f"device {device.name!r} {found.refused[graph]}")
    return SideBySide(floats=found.measured[floats], other=found.measured[other])


def time_beside(
    folder: Path,
    exported: "Exported",
    graph: Graph,
    device: DeviceSpec,
    *,
    on_process: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Time an exported model beside the network in fp32, and write what was found; return it.

    Args:
        folder: The deployment directory.
        exported: What was exported, in another precision than fp32.
        graph: The model.
        device: Where.
        on_process: Called with the number of fresh processes done.

    Returns:
        The figures; or why there are none, where the device is not here or cannot run both.
    """
    assert exported.floats is not None
    try:
        found = side_by_side(exported.floats, graph, device, on_process=on_process)
    except (DeviceUnavailable, Unmeasurable) as error:
        return {"not_measured": str(error)}
    facts = {"device": device.name, "sha256": exported.deployment.sha256, **found.as_json()}
    write_atomically(folder / SIDE_BY_SIDE, (json.dumps(facts, indent=2) + "\n").encode())
    return facts
