"""One graph, timed in several fresh processes: what a verdict stands on."""

from collections.abc import Callable
from contextlib import closing

from devices import DeviceSpec, Graph
from profiler.campaigns.events import Judged, Refused, Taken, Task
from profiler.campaigns.measure import Pace, Unmeasurable
from profiler.campaigns.process import in_fresh_process
from profiler.campaigns.stream import campaign_stream
from profiler.measurement import Measurement, Slice


def measure_process(
    graph: Graph, device: DeviceSpec, *, process: int, rounds: int, pace: Pace
) -> Measurement:
    """Time a graph in one fresh process, behind the same gate as a table's operators.

    Args:
        graph: What to time.
        device: Where.
        process: Number of the process, for its slices and for a simulated device's noise.
        rounds: Slices.
        pace: Time for each slice.

    Raises:
        Unmeasurable: The device refuses the graph, or it computes nothing.
        ProcessDied: The process crashed.
    """
    tasks = [Task(number=0, process=process, round=turn) for turn in range(rounds)]
    slices: dict[int, Slice] = {}
    stream = in_fresh_process(campaign_stream, device, [graph], tasks, pace, replicate=process)
    with closing(stream) as events:  # a refusal ends the process, too
        for event in events:
            match event:
                case Taken():
                    slices[event.id] = event.slice
                case Judged():
                    for id_ in event.ids:
                        slices[id_] = slices[id_].judged(event.gate)
                case Refused():
                    why = f"device {device.name!r} cannot time the graph: {event.why}"
                    raise Unmeasurable(why)
    return Measurement(slices=tuple(slices.values()))


def measure_replicates(
    graph: Graph,
    device: DeviceSpec,
    *,
    processes: int,
    most: int,
    rounds: int,
    pace: Pace,
    enough: Callable[[Measurement], bool] = lambda _: True,
    on_process: Callable[[int], None] = lambda _: None,
) -> Measurement:
    """Time a graph in fresh processes until there is enough to decide.

    Args:
        graph: What to time.
        device: Where.
        processes: At least so many.
        most: At most so many.
        rounds: Slices in each.
        pace: Time for each slice.
        enough: Whether a measurement decides what it was made for.
        on_process: Called with the number of processes done.

    Raises:
        Unmeasurable: The device refuses the graph, or it computes nothing.
        ProcessDied: A process crashed.
    """
    slices: tuple[Slice, ...] = ()
    for process in range(most):
        part = measure_process(graph, device, process=process, rounds=rounds, pace=pace)
        slices += part.slices
        on_process(process + 1)
        if process + 1 >= processes and enough(Measurement(slices=slices)):
            break
    return Measurement(slices=slices)
