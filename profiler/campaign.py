"""Many graphs on one device: interleaved at random, gated, redone where disturbed.

A campaign is a stream of events. It takes the next slice only when the next event is asked for,
so whoever listens can store every event before time goes on: nothing is written inside a slice,
and a kill loses at most the slice in flight.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TypeAlias

import numpy as np

from devices import Backend, DeviceSpec, Graph, UnsupportedGraph, backend_for
from profiler.gate import DRIFT_LIMIT, GROUP_S, judge
from profiler.measure import Pace, Reference, Unmeasurable, take_samples
from profiler.measurement import Gate, Slice
from profiler.ops import Chain
from profiler.probes import CANARY

TRIES = 4
"""Times a slice is taken at most; then it is kept as it is, with what disturbed it."""

REST_S = 0.5
"""Pause after a disturbed group, before asking whether the disturbance is over."""

USUAL_SHARE = 0.2
"""Share of canaries that may be faster than the device's usual speed: what slows a canary down is
somebody else, so the usual is near the fast end."""

FIRST_CANARIES = 5
"""Stretches of canaries before the first slice, to know the usual by."""

REST_LIMIT_S = 30.0
"""Seconds of pauses in a whole campaign, which never rests longer than it has measured either.

When they are used up, disturbed slices are only retried, and the rows say what disturbed them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One slice to take: which graph, in which process and round."""

    number: int
    process: int
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A slice was taken; its group is not judged yet.

    Attributes:
        id: Counts the slices of this stream, from 0.
        number: Which graph.
        slice: The samples.
    """

    id: int
    number: int
    slice: Slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A group ended: what its slices are worth.

    Attributes:
        ids: Slices of the group.
        gate: The verdict on all of them.
        redo: How many of them will be taken again.
        elapsed_s: Device time since the campaign began, by the host's clock.
    """

    ids: tuple[int, ...]
    gate: Gate
    redo: int
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The device cannot run or time a graph; the campaign goes on without it."""

    number: int
    why: str


Build: TypeAlias = Callable[[Chain], Graph]

Event: TypeAlias = Taken | Judged | Refused


def plan_tasks(
    numbers: Sequence[int], *, process: int, rounds: int, rng: np.random.Generator
) -> list[Task]:
    """Return every graph once a round, each round in an order of its own."""
    tasks = []
    for turn in range(rounds):
        order = rng.permutation(len(numbers))
        tasks += [Task(number=numbers[i], process=process, round=turn) for i in order]
    return tasks


def _as_run_on(device: DeviceSpec, chain: Chain) -> Graph:
    from profiler.builders import graph_for  # onnx is slow to import, and tables do without

    return graph_for(chain, device)


def _in_floats(chain: Chain) -> Graph:
    from profiler.builders import chain_graph

    return chain_graph(chain)


def run_campaign(
    backend: Backend,
    graphs: Sequence[Chain | Graph],
    tasks: Sequence[Task],
    pace: Pace,
    *,
    build: Build = _in_floats,
) -> Iterator[Event]:
    """Take slices of many graphs.

    Args:
        backend: The device.
        graphs: What a task's number means: operators to build, or a finished graph.
        tasks: Slices to take, in this order.
        pace: Time for each.
        build: Makes a graph of operators, in the device's precision.

    Yields:
        Events in the order in which they happen.
    """
    campaign = _Campaign(
        backend=backend, graphs=graphs, pace=pace, build=build, began_s=backend.host.clock()
    )
    campaign.queue.extend((task, 1) for task in tasks)
    with campaign.canary() as canary:
        for _ in range(FIRST_CANARIES):
            campaign.time_canary(canary)
    while campaign.queue:
        yield from campaign.group()


def campaign_stream(
    device: DeviceSpec,
    graphs: Sequence[Chain | Graph],
    tasks: Sequence[Task],
    pace: Pace,
    *,
    replicate: int,
) -> Iterator[Event]:
    """Run a campaign from nothing but data, for `profiler.process.in_fresh_process`."""
    backend = backend_for(device, replicate=replicate)
    yield from run_campaign(backend, graphs, tasks, pace, build=partial(_as_run_on, device))


@dataclass(slots=True, kw_only=True)
class _Campaign:
    backend: Backend
    graphs: Sequence[Chain | Graph]
    pace: Pace
    build: Build
    began_s: float
    queue: deque[tuple[Task, int]] = field(default_factory=deque)  # with the number of the try
    taken: int = 0
    rested_s: float = 0.0
    canaries_s: list[float] = field(default_factory=list)
    built: dict[int, Graph] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)

    @contextmanager
    def canary(self) -> Iterator[Reference]:
        """Load the canary anew: where its memory lies must not decide a whole process."""
        with self.backend.open(self.build(CANARY), threads=1) as session:
            yield Reference(session, self.pace)

    def group(self) -> Iterator[Event]:
        """Take slices until they can be judged together, and judge them."""
        host = self.backend.host
        before, start = host.load(), host.clock()
        members: list[tuple[int, Task, int]] = []
        told = len(self.canaries_s)
        with self.canary() as canary:
            while self.queue and (not members or host.clock() - start < GROUP_S):
                task, attempt = self.queue.popleft()
                if task.number in self.refused:
                    continue
                event = self._take(task, canary)
                if isinstance(event, Taken):
                    members.append((event.id, task, attempt))
                yield event
            while host.clock() - start < GROUP_S:  # a short last group
                self.time_canary(canary)
        gate = judge(before, host.load())
        spoken = self.canaries_s[told:]
        if gate in _FINE and spoken and self._drifted(spoken):
            gate = "drift"  # the canary speaks where counters do not
        again = [(task, n + 1) for _, task, n in members if n < TRIES and gate not in _FINE]
        self.queue.extend(again)
        yield Judged(
            ids=tuple(id_ for id_, _, _ in members),
            gate=gate,
            redo=len(again),
            elapsed_s=host.clock() - self.began_s,
        )
        if gate not in _FINE and self.queue:
            self._wait_until_calm()

    def _take(self, task: Task, canary: Reference) -> Event:
        try:
            with self.backend.open(self._graph(task.number)) as session:
                taken = take_samples(session, self.pace, canary)
        except (UnsupportedGraph, Unmeasurable) as error:
            self.refused.add(task.number)
            return Refused(number=task.number, why=str(error))
        piece = Slice(
            process=task.process,
            round=task.round,
            repeats=taken.repeats,
            samples_s=taken.samples_s,
            reference_s=taken.reference_s,
        )
        self.canaries_s.append(median(taken.reference_s))
        self.taken += 1
        return Taken(id=self.taken - 1, number=task.number, slice=piece)

    def _graph(self, number: int) -> Graph:
        if number not in self.built:
            graph = self.graphs[number]
            self.built[number] = graph if isinstance(graph, Graph) else self.build(graph)
        return self.built[number]

    def time_canary(self, canary: Reference) -> None:
        """Time the canary alone for as long as a slice takes."""
        host = self.backend.host
        canaries_s: list[float] = []
        start = host.clock()
        while not canaries_s or host.clock() - start < self.pace.slice_s:
            canaries_s.append(canary.time())
        self.canaries_s.append(median(canaries_s))

    def _drifted(self, canaries_s: Sequence[float]) -> bool:
        """Whether the canary was slower than usual in this process."""
        usual_s = float(np.quantile(self.canaries_s, USUAL_SHARE))
        return median(canaries_s) > usual_s * (1 + DRIFT_LIMIT)

    def _wait_until_calm(self) -> None:
        """Leave the device alone until others do too and the canary is as fast as usual."""
        host = self.backend.host
        while self.rested_s < self._rest_limit_s():
            before = host.load()
            host.rest(REST_S)
            self.rested_s += REST_S
            calm = judge(before, host.load()) in _FINE
            with self.canary() as canary:
                self.time_canary(canary)
            if calm and not self._drifted(self.canaries_s[-1:]):
                return

    def _rest_limit_s(self) -> float:
        """Return how long this campaign may have rested so far: no longer than it measured."""
        measured_s = self.backend.host.clock() - self.began_s - self.rested_s
        return min(REST_LIMIT_S, measured_s)


_FINE = ("clean", "open")
