"""Many graphs on one device: interleaved at random, gated, redone where disturbed.

A campaign is a stream of events. It takes the next slice only when the next event is asked for,
so whoever listens can store every event before time goes on: nothing is written inside a slice,
and a kill loses at most the slice in flight.
"""

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from textwrap import shorten

import numpy as np

from devices import Backend, Graph, UnsupportedGraph
from devices.errors import OutOfMemory
from devices.nvidia.engine_facts import BuildsEngines
from profiler.campaigns.canary import Canary, loaded_canary, seconds_on
from profiler.campaigns.engines import Noted
from profiler.campaigns.events import TRIES, Event, Judged, Refused, Taken, Task
from profiler.campaigns.gate import DRIFT_LIMIT, GROUP_S, LEAST_GAIN, judge
from profiler.campaigns.measure import Pace, Unmeasurable
from profiler.measurement import Gate, Slice, trusted
from profiler.operators.graphs import Build, in_floats
from profiler.operators.ops import Chain
from profiler.operators.probes import APART, CANARY, is_probe

REST_S = 0.5
"""Pause after a disturbed group, before asking whether the disturbance is over."""

USUAL_SHARE = 0.2
"""Share of canaries that may be faster than the device's usual speed: what slows a canary down is
somebody else, so the usual is near the fast end."""

FIRST_CANARIES = 5
"""Stretches of canaries before the first slice, to know the usual by."""

APART_LIMIT_S = 20.0
"""Seconds that a device with several threads gets before the first slice to show that they gain
anything; then it is measured as it is, and every slice beside which they do not says so."""

SHOWN = 120
"""Letters of a graph's operators in a message."""

REST_LIMIT_S = 30.0
"""Seconds of pauses in a whole campaign, which never rests longer than it has measured either.

When they are used up, disturbed slices are only retried, and the rows say what disturbed them.
"""


def plan_tasks(
    numbers: Sequence[int], *, process: int, rounds: int, rng: np.random.Generator
) -> list[Task]:
    """Return every graph once a round, each round in an order of its own."""
    tasks = []
    for turn in range(rounds):
        order = rng.permutation(len(numbers))
        tasks += [Task(number=numbers[i], process=process, round=turn) for i in order]
    return tasks


def run_campaign(
    backend: Backend,
    graphs: Sequence[Chain | Graph],
    tasks: Sequence[Task],
    pace: Pace,
    *,
    cold: bool,
    build: Build = in_floats,
    threads: int = 1,
) -> Iterator[Event]:
    """Take slices of many graphs.

    Args:
        backend: The device.
        graphs: What a task's number means: operators to build, or a finished graph.
        tasks: Slices to take, in this order.
        pace: Time for each.
        cold: Whether operators are timed by single runs, see `devices.DeviceSpec.timed_cold`.
        build: Makes a graph of operators, in the device's precision.
        threads: Of the device.

    Yields:
        Events in the order in which they happen.

    Raises:
        OutOfMemory: The device lacked memory for a graph as often as a slice is tried; everything
            else was taken before.
    """
    campaign = _Campaign(
        backend=backend,
        graphs=graphs,
        pace=pace,
        build=build,
        threads=threads,
        cold=cold,
        began_s=backend.host.clock(),
    )
    campaign.queue.extend((task, task.tries + 1) for task in tasks)
    campaign.know_the_usual()
    while campaign.queue:
        yield from campaign.group()
    if campaign.lacking is not None:
        raise campaign.lacking


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A slice that waits for the verdict on its group."""

    id: int
    task: Task
    attempt: int
    together_s: float  # the slower reading of the threads' test beside it; 0 on one thread


@dataclass(slots=True, kw_only=True)
class _Campaign:
    backend: Backend
    graphs: Sequence[Chain | Graph]
    pace: Pace
    build: Build
    threads: int
    cold: bool
    began_s: float
    queue: deque[tuple[Task, int]] = field(default_factory=deque)  # with the number of the try
    taken: int = 0
    rested_s: float = 0.0
    canaries_s: list[float] = field(default_factory=list)
    shared_s: float = math.inf  # threads this slow together share one core
    sharing: Gate = "shared"  # what is said of a slice then
    built: dict[int, Graph] = field(default_factory=dict)
    probes: dict[Chain, Graph] = field(default_factory=dict)
    noted: set[int] = field(default_factory=set)
    lacking: OutOfMemory | None = None  # of a graph that was given up for it

    @contextmanager
    def canary(self) -> Iterator[Canary]:
        """Load the canary."""
        with loaded_canary(self.backend, self._probe(CANARY), self.pace) as canary:
            yield canary

    def know_the_usual(self) -> None:
        """Learn how fast the device usually is, before the first slice."""
        if self.threads > 1:
            self._wait_until_apart()
        with self.canary() as canary:
            self.canaries_s += [canary.seconds() for _ in range(FIRST_CANARIES)]

    def _wait_until_apart(self) -> None:
        """Learn how slow the threads are when they gain nothing, and wait until they do."""
        host, start = self.backend.host, self.backend.host.clock()
        alone = [self._together_s(threads=1) for _ in range(FIRST_CANARIES)]
        self.shared_s = median(alone) / LEAST_GAIN
        while host.clock() - start < APART_LIMIT_S:
            if median(self._together_s() for _ in range(FIRST_CANARIES)) < self.shared_s:
                return
            host.rest(REST_S)
        self.sharing = "together"

    def _together_s(self, *, threads: int | None = None) -> float:
        """Return how long the test of threads takes; 0 on a device that has one."""
        if self.threads == 1:
            return 0.0
        return seconds_on(self.backend, self._probe(APART), self.pace, threads=threads)

    def group(self) -> Iterator[Event]:
        """Take slices until they can be judged together, and judge them."""
        host = self.backend.host
        before, start = host.load(), host.clock()
        members: list[_Member] = []
        told = len(self.canaries_s)
        with self.canary() as canary:
            full = yield from self._slices(canary, members, until_s=start + GROUP_S)
            while host.clock() - start < GROUP_S:  # a short last group
                self.canaries_s.append(canary.seconds())
        gate = judge(before, host.load())
        spoken = self.canaries_s[told:]
        if trusted(gate) and spoken and self._drifted(median(spoken)):
            gate = "drift"  # the canary speaks where counters do not
        shared = [m for m in members if trusted(gate) and self._shared(m.together_s)]
        yield self._judged([m for m in members if m not in shared], gate)
        if shared:
            yield self._judged(shared, self.sharing)
        shares = members[-1:] == shared[-1:] != [] and self.sharing == "shared"
        if (full or not trusted(gate) or shares) and self.queue:
            self._wait_until_calm()

    def _slices(
        self, canary: Canary, members: list[_Member], *, until_s: float
    ) -> Generator[Event, None, bool]:
        """Take the slices of a group; return whether it ended because memory was lacking."""
        host = self.backend.host
        together_s = self._together_s()
        while self.queue and (not members or host.clock() < until_s):
            task, attempt = self.queue.popleft()
            if self._shared(together_s):  # what told of one slice must not condemn the next
                together_s = self._together_s()
            try:
                event = self._take(task, canary)
            except OutOfMemory as error:
                self._put_off(task, attempt, error)
                return True
            if isinstance(event, Taken):
                before_s, together_s = together_s, self._together_s()
                slower_s = max(before_s, together_s)
                member = _Member(id=event.id, task=task, attempt=attempt, together_s=slower_s)
                members.append(member)
            yield event
            yield from self._notes(event)
        return False

    def _put_off(self, task: Task, attempt: int, error: OutOfMemory) -> None:
        """Try a slice again when everything else was; give its graph up after the last try."""
        if attempt < TRIES:
            self.queue.append((task, attempt + 1))
            return
        self._drop(task.number)
        graph = self.graphs[task.number]
        what = "the graph" if isinstance(graph, Graph) else ", ".join(map(str, graph))
        self.lacking = OutOfMemory(
            f"{shorten(what, SHOWN, placeholder=' ...')} was given up: {error}. Everything else of "
            "this process is measured and kept; run the same command again to go on"
        )

    def _drop(self, number: int) -> None:
        """Take no more slices of a graph."""
        self.queue = deque(each for each in self.queue if each[0].number != number)

    def _judged(self, members: Sequence[_Member], gate: Gate) -> Judged:
        """Return the verdict on slices of a group; what was disturbed is taken again.

        Not so where threads gained nothing from the first on: more tries would not help.
        """
        bad = not trusted(gate) and gate != "together"
        again = [(m.task, m.attempt + 1) for m in members if bad and m.attempt < TRIES]
        self.queue.extend(again)
        return Judged(
            ids=tuple(member.id for member in members),
            gate=gate,
            redo=len(again),
            elapsed_s=self.backend.host.clock() - self.began_s,
        )

    def _take(self, task: Task, canary: Canary) -> Event:
        try:
            graph = self.graphs[task.number]
            cold = self.cold and not isinstance(graph, Graph) and is_probe(graph)
            taken = canary.slice(self._graph(task.number), cold=cold)
        except (UnsupportedGraph, Unmeasurable) as error:
            self._drop(task.number)
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

    def _notes(self, event: Event) -> Iterator[Noted]:
        """Say what became of an engine that was timed for the first time here."""
        backend = self.backend
        if isinstance(event, Taken) and isinstance(backend, BuildsEngines):
            if event.number not in self.noted:
                facts = backend.engine_facts(self._graph(event.number))
                yield Noted(number=event.number, facts=facts)
            self.noted.add(event.number)

    def _probe(self, chain: Chain) -> Graph:
        """Build a fixed chain once: it is loaded for every group, or for every slice."""
        if chain not in self.probes:
            self.probes[chain] = self.build(chain)
        return self.probes[chain]

    def _graph(self, number: int) -> Graph:
        if number not in self.built:
            graph = self.graphs[number]
            self.built[number] = graph if isinstance(graph, Graph) else self.build(graph)
        return self.built[number]

    def _drifted(self, canary_s: float) -> bool:
        """Whether the canary was slower than usual in this process."""
        usual_s = float(np.quantile(self.canaries_s, USUAL_SHARE))
        return canary_s > usual_s * (1 + DRIFT_LIMIT)

    def _shared(self, together_s: float) -> bool:
        """Whether the device's threads gained nothing: their CPUs share a core for a while."""
        return together_s > self.shared_s

    def _wait_until_calm(self) -> None:
        """Leave the device alone until others do too and the canary is as fast as usual."""
        host = self.backend.host
        while self.rested_s < self._rest_limit_s():
            before = host.load()
            host.rest(REST_S)
            self.rested_s += REST_S
            calm = trusted(judge(before, host.load()))
            with self.canary() as canary:
                canary_s = canary.seconds()
            self.canaries_s.append(canary_s)
            if calm and not self._drifted(canary_s) and not self._sharing_for_now():
                return

    def _sharing_for_now(self) -> bool:
        """Whether the device's threads share a core, and have had one each before."""
        return self.sharing == "shared" and self._shared(self._together_s())

    def _rest_limit_s(self) -> float:
        """Return how long this campaign may have rested so far: no longer than it measured."""
        measured_s = self.backend.host.clock() - self.began_s - self.rested_s
        return min(REST_LIMIT_S, measured_s)
