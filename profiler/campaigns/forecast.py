"""How long a campaign will take, said before it begins: the measuring loop in arithmetic.

What a run takes is not known yet, so it is guessed from its operations at a usual speed. Whoever
waits is told an order of magnitude, and the real time beside it when all is done. Slices that are
taken again, because something disturbed them, come on top.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from devices import DeviceSpec
from devices.spec import TensorRTModule
from profiler.campaigns.campaign import FIRST_CANARIES
from profiler.campaigns.gate import GROUP_S
from profiler.campaigns.measure import COLD_SAMPLES, FEWEST_SAMPLES, Pace
from profiler.operators.costs import total_macs
from profiler.operators.ops import Chain
from profiler.operators.probes import CANARY, is_probe

OVERSHOOT = 1.5
"""How much longer a sample is than the shortest allowed, in the mean: runs are doubled until they
are long enough."""

WINDOWS = 4
"""Last windows that finding the number of runs takes: two of each size, each twice the last."""

CPU_MACS_PER_S = {"fp32": 15e9, "fp16": 15e9, "int8": 30e9}
"""Multiply-accumulates a second on one thread, depthwise and dense together: about what greedynas
networks come to on an x86 with AVX-512. Small boards take a few times as long."""

GPU_MACS_PER_S = 2e12
"""The same on a GPU, where nobody has measured it: small batches leave most of a GPU idle."""

GPU_RUN_S = 50e-6
"""Seconds that a small graph takes on a GPU whatever it computes; a guess."""

LOAD_S, GPU_LOAD_S = 0.01, 0.05
"""Seconds to load a graph; on a GPU an engine, its memory and its CUDA graph."""

BUILD_S: dict[TensorRTModule, float] = {"tensorrt_rtx": 0.1, "tensorrt": 1.0}
"""Seconds to build the engine of one operator. TensorRT for RTX: bench/tensorrt_builds.py, here.
TensorRT times kernels while it builds, on the GPU itself: a guess."""

BUILD_OPERATOR_S: dict[TensorRTModule, float] = {"tensorrt_rtx": 0.02, "tensorrt": 0.5}
"""Seconds that each further operator adds."""

CACHED = 0.2
"""Share of TensorRT's building time that is left where its timing cache knows the kernels: a
guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a campaign is about to do, and about how long that takes.

    Attributes:
        rows: Graphs that are timed.
        slices: Stretches of timing, of all of them.
        processes: In which they are taken.
        builds: Engines that are built; 0 where nothing is.
        measuring_s: Seconds of timing.
        building_s: Seconds of building.
    """

    rows: int
    slices: int
    processes: int
    builds: int
    measuring_s: float
    building_s: float

    @property
    def seconds(self) -> float:
        """About how long all of it takes."""
        return self.measuring_s + self.building_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a device usually is.

    Attributes:
        macs_per_s: Multiply-accumulates a second.
        least_s: Seconds of a run that computes next to nothing.
        load_s: Seconds to load a graph.
    """

    macs_per_s: float
    least_s: float = 0.0
    load_s: float = LOAD_S

    def run_s(self, chain: Chain) -> float:
        """Return seconds of one run."""
        return self.least_s + total_macs(chain) / self.macs_per_s


def forecast(
    slices: Mapping[Chain, int], device: DeviceSpec, pace: Pace, *, processes: int
) -> Forecast:
    """Foretell a campaign.

    Args:
        slices: What is timed to how many slices of it are lacking, over all processes.
        device: Where.
        pace: Time for each slice.
        processes: Fresh processes, each of which builds and loads for itself.
    """
    wanted = {chain: count for chain, count in slices.items() if count > 0}
    speed, threads = usual_speed(device), device.threads
    canary_s = speed.run_s(CANARY)
    measuring_s = sum(
        count
        * slice_seconds(
            speed.run_s(chain),
            pace,
            canary_s=canary_s,
            cold=device.timed_cold and is_probe(chain),
        )
        for chain, count in wanted.items()
    )
    loads = 2 if threads > 1 else 1  # beside every slice the threads are tested
    measuring_s += loads * speed.load_s * sum(wanted.values())
    if wanted:  # at its beginning a process looks at the device; its last group is filled up
        measuring_s += processes * (FIRST_CANARIES * pace.slice_s + GROUP_S / 2)
    return Forecast(
        rows=len(wanted),
        slices=sum(wanted.values()),
        processes=processes if wanted else 0,
        builds=0 if device.gpu is None else len(wanted) * processes,
        measuring_s=measuring_s,
        building_s=building_seconds(wanted, device, processes=processes),
    )


def usual_speed(device: DeviceSpec) -> Speed:
    """Return how fast such a device usually is."""
    if device.simulation is not None:
        return Speed(macs_per_s=device.simulation.dense_macs_per_s, load_s=0.0)
    if device.gpu is not None:
        return Speed(macs_per_s=GPU_MACS_PER_S, least_s=GPU_RUN_S, load_s=GPU_LOAD_S)
    return Speed(macs_per_s=CPU_MACS_PER_S[device.precision] * device.threads)


def slice_seconds(run_s: float, pace: Pace, *, canary_s: float, cold: bool) -> float:
    """Return how long a slice takes, without loading: `profiler.campaigns.measure` in arithmetic.

    Args:
        run_s: Seconds of one run of what is timed.
        pace: Time for each slice.
        canary_s: Seconds of one run of the canary beside it.
        cold: Whether single runs are timed.
    """
    reading_s = canary_s + max(canary_s, OVERSHOOT * pace.sample_s / 2)
    if cold:
        return (2 + COLD_SAMPLES) * run_s + (1 + COLD_SAMPLES) * reading_s
    sample_s = max(run_s, OVERSHOOT * pace.sample_s)
    samples = max(FEWEST_SAMPLES, math.ceil(pace.slice_s / sample_s))
    before_s = WINDOWS * sample_s + 2 * max(run_s, pace.warm_window_s)
    return before_s + samples * (run_s + sample_s) + (1 + samples) * reading_s


def building_seconds(chains: Iterable[Chain], device: DeviceSpec, *, processes: int) -> float:
    """Return how long building takes in all: once in each process.

    Of TensorRT the timing cache of one pass makes the next ones shorter.
    """
    if device.gpu is None:
        return 0.0
    module = device.gpu.module
    once_s = sum(BUILD_S[module] + BUILD_OPERATOR_S[module] * len(chain) for chain in chains)
    return once_s * (processes if module == "tensorrt_rtx" else 1 + CACHED * processes)
