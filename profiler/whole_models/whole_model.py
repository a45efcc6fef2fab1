"""A whole network as somebody brought it: how long it takes, how steadily, and where the time goes.

Three looks, since none of them can stand for another. The latency comes from the same measuring
loop as a table's operators. Percentiles need single runs, which that loop averages where they are
short, so a pass of its own takes them. What each kernel takes comes from the runtime's profiler,
which slows the network down, so its figures only divide the latency that was measured without it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from devices import DeviceSpec, Graph, Kernel, Trace, backend_for
from profiler.campaigns.process import in_fresh_process
from profiler.campaigns.together import measure_together
from profiler.measurement import Measurement
from profiler.whole_models.percentiles import Percentile, percentile, runs_needed
from profiler.whole_models.single_runs import runs_in_each, take_single_runs

ROUNDS = 4
"""Slices in each process."""

COVERAGE = 0.95
"""Of all intervals here."""

PERCENTS = (50, 90, 99)

TRACED_RUNS, TRACED_S = 50, 2.0
"""Runs in the trace, and the seconds that they may take; three at least."""

DISTORTED = 1.5
"""How far the kernels of a trace may be from the latency, as a factor, before that is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """What was found about one network on one device.

    Attributes:
        measurement: Slices of the latency, in fresh processes behind the gate.
        single_runs_s: Seconds of single runs, one after the other, in fresh processes; nothing is
            left out, so they hold what else went on meanwhile.
        trace: Kernels under the profiler, and the optimised graph.
    """

    measurement: Measurement
    single_runs_s: tuple[float, ...]
    trace: Trace

    @property
    def latency_s(self) -> float:
        """Seconds per run."""
        return self.measurement.latency_s

    @property
    def interval_s(self) -> tuple[float, float]:
        """Where that would lie if it were measured again."""
        return self.measurement.interval_s(COVERAGE)

    @property
    def percentiles(self) -> dict[int, Percentile | None]:
        """Percentiles of the single runs; None for those that need more of them."""
        return {p: percentile(self.single_runs_s, p, coverage=COVERAGE) for p in PERCENTS}

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The kernels without the profiler's slow-down: together they take `latency_s`."""
        scale = self.latency_s / self.trace.sum_s if self.trace.sum_s else 0.0
        return tuple(replace(k, latency_s=k.latency_s * scale) for k in self.trace.kernels)

    def doubts(self) -> list[str]:
        """Return the reasons not to trust this profile, each with its cure; none is good."""
        doubts = self.measurement.doubts()
        runs = len(self.single_runs_s)
        lacking = [p for p, value in self.percentiles.items() if value is None]
        doubts += [
            f"no p{p}: it needs {runs_needed(p):,} single runs, and {runs:,} took up the time"
            for p in lacking
        ]
        return doubts + self._doubts_about_kernels()

    def _doubts_about_kernels(self) -> list[str]:
        stretch = self.trace.sum_s / self.latency_s
        if not self.trace.sum_s:
            return ["the runtime's profiler saw no kernel take any time, so none has a share"]
        if stretch > DISTORTED:
            return [
                f"the profiler slowed the kernels down {stretch:.1f} times, short ones most: their "
                "shares are too large"
            ]
        if stretch < 1 / DISTORTED:
            return [
                f"the kernels explain {stretch:.0%} of the latency: the rest passes between them, "
                "or the device was faster when they were traced. Profile again on a quieter machine"
            ]
        return []


def profile_steps(processes: int) -> int:
    """Return how many steps `profile_model` reports: each look takes fresh processes."""
    return 2 * processes + 1


def profile_model(
    graph: Graph,
    device: DeviceSpec,
    *,
    processes: int,
    on_step: Callable[[int], None] = lambda _: None,
) -> ModelProfile:
    """Look at a whole network, see `ModelProfile`.

    A file brings its own number format, so the device's `precision`, which says what latkit builds
    for it, is not asked here: an int8 file is timed on every device whose runtime takes it.

    Args:
        graph: The network.
        device: Where.
        processes: Fresh processes for the latency, and again for single runs.
        on_step: Called with the number of steps done, of `profile_steps`.

    Raises:
        Unmeasurable: The device refuses the network, cannot run it, or it computes nothing.
        UnsupportedGraph: The same, where only the profiler or a later process met it.
        ProcessDied: A process crashed.
    """
    device = replace(device, precision="fp32", quantization=None)
    found = measure_together(
        [graph], device, processes=processes, rounds=ROUNDS, on_process=on_step
    )
    measurement = found.measured[graph]
    latency_s = measurement.latency_s
    runs = runs_in_each(latency_s, processes=processes)
    single_runs_s: list[float] = []
    for process in range(processes):
        taken = take_single_runs(graph, device, process=process, runs=runs, latency_s=latency_s)
        single_runs_s += taken.runs_s
        on_step(processes + process + 1)
    traced = min(TRACED_RUNS, max(3, int(TRACED_S / latency_s)))
    (trace,) = in_fresh_process(trace_stream, device, graph, traced)
    on_step(profile_steps(processes))
    return ModelProfile(measurement=measurement, single_runs_s=tuple(single_runs_s), trace=trace)


def trace_stream(device: DeviceSpec, graph: Graph, runs: int) -> Iterator[Trace]:
    """Yield once: what the runtime's profiler saw; for `in_fresh_process`."""
    yield backend_for(device).trace(graph, runs=runs)
