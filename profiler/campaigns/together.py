"""Many graphs, timed side by side in fresh processes: for whoever compares them at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from devices import DeviceSpec, Graph
from profiler.campaigns.campaign import plan_tasks
from profiler.campaigns.events import Event, Judged, Refused, judged_slices
from profiler.campaigns.measure import Pace, Unmeasurable
from profiler.campaigns.process import in_fresh_process
from profiler.campaigns.stream import campaign_stream
from profiler.measurement import Measurement, Slice
from profiler.operators.ops import Chain

Timed = TypeVar("Timed", bound=Chain | Graph)


@dataclass(frozen=True, slots=True, kw_only=True)
class Together(Generic[Timed]):
    """What a campaign in memory gave.

    Attributes:
        measured: What was timed, in the order in which it was given.
        refused: What the device cannot run or time, and why.
        device_s: Seconds of device time.
    """

    measured: Mapping[Timed, Measurement]
    refused: Mapping[Timed, str]
    device_s: float


def measure_together(
    graphs: Sequence[Timed],
    device: DeviceSpec,
    *,
    processes: int,
    rounds: int,
    most: int | None = None,
    pace: Pace | None = None,
    seed: int = 0,
    enough: Callable[[Together[Timed]], bool] = lambda _: True,
    on_process: Callable[[int], None] = lambda _: None,
) -> Together[Timed]:
    """Time graphs in fresh processes, all of them interleaved in each, behind the usual gate.

    Args:
        graphs: What to time, chains to build or finished graphs; equal ones once.
        device: Where.
        processes: At least so many.
        rounds: Slices of every graph in each.
        most: At most so many processes; None for no more than at least.
        pace: Time for each slice; None for the usual.
        seed: Of the order of the slices.
        enough: Whether what was found decides what it was measured for.
        on_process: Called with the number of processes done.

    Raises:
        Unmeasurable: The device can run none of them.
        ProcessDied: A process crashed.
    """
    found = _Found(tuple(dict.fromkeys(graphs)))
    rng = np.random.default_rng(seed)
    for process in range(most or processes):
        tasks = plan_tasks(found.runnable(), process=process, rounds=rounds, rng=rng)
        stream = in_fresh_process(
            campaign_stream, device, found.graphs, tasks, pace or Pace(), replicate=process
        )
        with closing(stream) as events:
            found.collect(events)
        if not found.runnable():
            why = next(iter(found.refused.values()))
            none = "can time none of them" if len(found.graphs) > 1 else "cannot time the graph"
            raise Unmeasurable(f"device {device.name!r} {none}: {why}")
        on_process(process + 1)
        if process + 1 >= processes and enough(found.as_together()):
            break
    return found.as_together()


class _Found(Generic[Timed]):
    """Slices and refusals, as they come in."""

    def __init__(self, graphs: tuple[Timed, ...]) -> None:
        self.graphs = graphs
        self.refused: dict[int, str] = {}
        self._slices: dict[int, list[Slice]] = {}
        self._device_s = 0.0

    def runnable(self) -> list[int]:
        """Return the numbers of the graphs that no process has refused."""
        return [number for number in range(len(self.graphs)) if number not in self.refused]

    def collect(self, events: Iterator[Event]) -> None:
        """Take in the events of one process."""
        told, elapsed_s = list(events), 0.0
        for event in told:
            match event:
                case Judged():
                    elapsed_s = event.elapsed_s
                case Refused():
                    self.refused[event.number] = event.why
        for taken, verdict in sorted(judged_slices(told), key=lambda pair: pair[0].id):
            piece = taken.slice.judged(verdict.gate)
            self._slices.setdefault(taken.number, []).append(piece)
        self._device_s += elapsed_s

    def as_together(self) -> Together[Timed]:
        """Return what was found."""
        return Together(
            measured={
                self.graphs[number]: Measurement(slices=tuple(self._slices[number]))
                for number in self.runnable()
            },
            refused={self.graphs[number]: why for number, why in self.refused.items()},
            device_s=self._device_s,
        )
