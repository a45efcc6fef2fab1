"""One graph without a pause, for minutes: what a device does that may heat up.

A campaign of its own kind, with the tasks and events of every other: a task is a window of about
a second, whose slice holds single runs, evenly spread; the device is as busy between them. So
whoever stores or sends the events of a campaign stores and sends these. Nothing is taken again, no
canary interrupts the load, and heat is no disturbance here: the gate only says whether others were
at work.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial

from devices import Backend, DeviceSpec, Graph, Session, UnsupportedGraph, backend_for
from profiler.campaigns.events import Event, Judged, Refused, Taken, Task
from profiler.campaigns.gate import judge
from profiler.campaigns.measure import Pace, Unmeasurable
from profiler.campaigns.process import in_fresh_process
from profiler.measurement import Slice
from profiler.operators.chains import chain_to_key
from profiler.operators.graphs import Build, as_run_on
from profiler.operators.ops import Chain
from profiler.whole_models.sustained import Sustained, Window, sustained_from, windows_in

WINDOW_S = 1.0
"""Seconds of a window; one run at least."""

SINGLE_RUNS = 25
"""Runs of a window that are timed by themselves."""

SLACK = 0.5
"""Share of a window that need not be taken to be done."""

SHORTEST_S = 15.0
"""Seconds; shorter loads have no beginning that differs from their end."""


def windows_to_take(load_s: float, before: Sequence[Window]) -> list[Task]:
    """Return the tasks of a load, or what is left of them.

    Args:
        load_s: Seconds.
        before: Windows that were taken before it was interrupted.
    """
    left_s = load_s - (before[-1].ends_s if before else 0.0)
    count = math.ceil(left_s / WINDOW_S - SLACK)
    return [Task(number=0, process=0, round=len(before) + turn) for turn in range(count)]


def run_sustained(
    backend: Backend, graphs: Sequence[Chain | Graph], tasks: Sequence[Task], *, build: Build
) -> Iterator[Event]:
    """Run a graph without a pause, and take a window for each task.

    Args:
        backend: The device.
        graphs: One: operators to build, or a finished graph.
        tasks: Of `windows_to_take`. Where they do not begin with the first one, the device has
            rested before, which is said of it. Where a run takes longer than a window, fewer are
            taken in the time of all.
        build: Makes a graph of operators, in the device's precision.

    Yields:
        For each task what was taken and how it is judged; or once that the device refuses.
    """
    if not tasks:
        return
    (wanted,) = graphs
    host = backend.host
    graph = wanted if isinstance(wanted, Graph) else build(wanted)
    try:
        with backend.open(graph) as session:
            began_s = host.clock()
            for number, task in enumerate(tasks):
                if host.clock() - began_s > (len(tasks) - SLACK) * WINDOW_S:
                    return
                before = host.load()
                piece = Slice(
                    process=task.process, round=task.round, repeats=1, samples_s=_window(session)
                )
                yield Taken(id=number, number=0, slice=piece)
                gate = judge(before, host.load())
                if number == 0 and task.round > 0:
                    gate = "rested"
                elapsed_s = host.clock() - began_s
                yield Judged(ids=(number,), gate=gate, redo=0, elapsed_s=elapsed_s)
    except (UnsupportedGraph, Unmeasurable) as error:
        yield Refused(number=0, why=str(error))


def _window(session: Session) -> tuple[float, ...]:
    """Return single runs, evenly spread over a window that is busy throughout."""
    samples: list[float] = []
    spent_s = 0.0
    while spent_s < WINDOW_S and len(samples) < SINGLE_RUNS:
        (run_s,) = session.time_each(1)
        if run_s <= 0.0:
            raise Unmeasurable("a run takes no time: nothing is computed")
        samples.append(run_s)
        between = math.ceil((len(samples) * WINDOW_S / SINGLE_RUNS - spent_s) / run_s) - 1
        spent_s += run_s + (session.time(between) if between > 0 else 0.0)
    return tuple(samples)


def sustained_stream(
    device: DeviceSpec, graphs: Sequence[Chain | Graph], tasks: Sequence[Task], *, campaign: str
) -> Iterator[Event]:
    """Run a load from nothing but data, for `profiler.campaigns.process.in_fresh_process`.

    Args:
        device: Where; one with a transport measures by itself, see `profiler.campaigns.remote`.
        graphs: One: operators to build, or a finished graph.
        tasks: See `run_sustained`.
        campaign: Name of what the measurements are for, see
            `profiler.campaigns.stream.campaign_stream`.
    """
    build = partial(as_run_on, device)
    if device.perf_test:
        raise Unmeasurable(
            f"device {device.name!r} cannot be loaded without a pause: each run of "
            "onnxruntime_perf_test begins by loading the graph. A device with Python can"
        )
    if not device.has_agent:
        yield from run_sustained(backend_for(device), graphs, tasks, build=build)
        return
    from profiler.campaigns.remote import Wanted, remote_stream  # only for devices elsewhere

    yield from remote_stream(
        device,
        Wanted(
            graphs=graphs,
            tasks=tasks,
            pace=Pace(),
            replicate=0,
            campaign=campaign,
            sustained=True,
        ),
        build,
    )


def measure_sustained(
    graph: Chain | Graph,
    device: DeviceSpec,
    *,
    load_s: float,
    earlier: Sequence[Event] = (),
    on_event: Callable[[Event], None] = lambda _: None,
) -> Sustained:
    """Run a graph without a pause in one fresh process.

    Args:
        graph: Operators to build, or a finished graph.
        device: Where. One elsewhere goes on by itself through cuts of the link, and the same call
            finds its work again.
        load_s: Seconds, `SHORTEST_S` or more.
        earlier: Events of a load that was interrupted: what they hold is not run again.
        on_event: Called with every event before time goes on, so that it can be stored.

    Raises:
        ValueError: ``load_s`` is too short.
        Unmeasurable: The device refuses the graph, or it computes nothing.
        ProcessDied: The process crashed.
    """
    if load_s < SHORTEST_S:
        raise ValueError(f"a sustained load lasts {SHORTEST_S:g} s or more, not {load_s:g}")
    events = list(earlier)
    todo = windows_to_take(load_s, list(windows_in(events)))
    stream = in_fresh_process(
        sustained_stream, device, [graph], todo, campaign=f"sustained {_digest(graph)}"
    )
    with closing(stream) as coming:
        for event in coming if todo else ():
            if isinstance(event, Refused):
                raise Unmeasurable(f"device {device.name!r} cannot time the graph: {event.why}")
            on_event(event)
            events.append(event)
    return sustained_from(events)


def _digest(graph: Chain | Graph) -> str:
    """Return a name for what is run: nobody else's load on the device is taken for this one."""
    content = graph.onnx if isinstance(graph, Graph) else chain_to_key(graph).encode()
    return hashlib.sha256(content).hexdigest()[:16]
