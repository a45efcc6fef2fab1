"""Single runs of one graph in fresh processes: what percentiles stand on."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from devices import DeviceSpec, Graph, backend_for
from profiler.campaigns.gate import GROUP_S, judge
from profiler.campaigns.process import in_fresh_process
from profiler.measurement import Gate, trusted

SINGLE_RUNS, SINGLE_RUNS_S = 1_000, 30.0
"""Single runs in all processes together, and the seconds that they may take."""

WARM_S = 0.05
"""Seconds of runs in a process before single runs count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleRuns:
    """Runs of one fresh process, one after the other; none is left out.

    Attributes:
        process: Which fresh process took them, from 0.
        runs_s: Seconds of each.
        gate: Whether others were at work meanwhile.
    """

    process: int
    runs_s: tuple[float, ...]
    gate: Gate = "open"

    def __post_init__(self) -> None:
        if not self.runs_s:
            raise ValueError("single runs are one or more")

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against them."""
        return trusted(self.gate)


def runs_in_each(latency_s: float, *, processes: int) -> int:
    """Return how many single runs each of some processes takes for `SINGLE_RUNS` in all.

    Fewer where they would take longer than `SINGLE_RUNS_S`, one at least.
    """
    affordable = int(SINGLE_RUNS_S / latency_s)
    return max(1, -(-min(SINGLE_RUNS, affordable) // processes))


def take_single_runs(
    graph: Graph, device: DeviceSpec, *, process: int, runs: int, latency_s: float
) -> SingleRuns:
    """Run a graph in one fresh process, warm, and time every run by itself.

    Args:
        graph: What to run.
        device: Where.
        process: Number of the process, for a simulated device's noise too.
        runs: How many.
        latency_s: About what one takes.

    Raises:
        UnsupportedGraph: The device cannot run it.
        ProcessDied: The process crashed.
    """
    warm_runs = math.ceil(WARM_S / latency_s)
    (taken,) = in_fresh_process(
        single_runs_stream, device, graph, runs, warm_runs, replicate=process
    )
    return taken


def single_runs_stream(
    device: DeviceSpec, graph: Graph, runs: int, warm_runs: int, *, replicate: int
) -> Iterator[SingleRuns]:
    """Yield once: single runs, for `profiler.campaigns.process.in_fresh_process`."""
    backend = backend_for(device, replicate=replicate)
    host = backend.host
    with backend.open(graph) as session:
        session.time(warm_runs)
        before, start_s = host.load(), host.clock()
        runs_s = session.time_each(runs)
        while host.clock() - start_s < GROUP_S:  # the counters tell nothing of less
            session.time(warm_runs)
        gate = judge(before, host.load())
    yield SingleRuns(process=replicate, runs_s=runs_s, gate=gate)
