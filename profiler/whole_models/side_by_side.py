"""What another number format gains: latencies in it and in fp32, timed in turns.

Both are timed in the same fresh processes, since a machine is not as fast an hour later.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from devices import DeviceSpec, Graph, backend_for
from devices.backend import EMULATED, is_emulated
from profiler.campaigns.measure import Pace, Unmeasurable
from profiler.campaigns.together import measure_together
from profiler.intervals import mean_ratio
from profiler.measurement import Measurement, Status

COVERAGE = 0.95
"""Of every interval here."""

PROCESSES, ROUNDS = 5, 6
"""Fresh processes of a comparison of latencies, and slices of either graph in each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """Latencies of two graphs that were timed in turns in the same fresh processes.

    Attributes:
        floats: Of the network in fp32.
        other: Of the other one.
        emulated: Whether software pretends to be the device.
    """

    floats: Measurement
    other: Measurement
    emulated: bool = False

    @property
    def ratio(self) -> float:
        """How long the other one takes, as a share of the network in fp32."""
        return mean_ratio(self._logs(), COVERAGE)[0]

    @property
    def ratio_interval(self) -> tuple[float, float]:
        """Where that would lie in other processes."""
        _, low, high = mean_ratio(self._logs(), COVERAGE)
        return low, high

    @property
    def status(self) -> Status | Literal["emulated"]:
        """Whether to trust it: the worse of the two."""
        if self.emulated:
            return EMULATED
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
    return SideBySide(
        floats=found.measured[floats],
        other=found.measured[other],
        emulated=is_emulated(backend_for(device).environment()),
    )
