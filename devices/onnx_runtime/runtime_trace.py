"""ONNX Runtime's trace of several runs, read as kernels."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from devices.kernels import Kernel

Event = Mapping[str, Any]
"""One record of the trace: ``name``, ``ts`` and ``dur`` in whole microseconds, ``args``."""

RUN, KERNEL = "model_run", "_kernel_time"

Key = tuple[str, str, str]
"""Name, operator, number. Names need not be unique, and numbers start anew in every branch."""


def kernels_of(events: Sequence[Event], *, skip: int) -> tuple[Kernel, ...]:
    """Return the median of every kernel over the runs of a trace.

    Args:
        events: The trace; without order, and cut off where it got too long for the runtime.
        skip: First runs that do not count.

    Returns:
        Kernels in the order in which they first ran; none if no run was traced to its end.
    """
    runs = sorted((e for e in events if e["name"] == RUN), key=lambda e: e["ts"])[skip:]
    nodes = sorted(
        (e for e in events if e["name"].endswith(KERNEL)), key=lambda e: (e["ts"], -e["dur"])
    )
    seconds: dict[Key, list[float]] = {}
    for number, spent in enumerate(_by_run(runs, nodes)):
        for key in spent:
            seconds.setdefault(key, [0.0] * len(runs))[number] = spent[key] * 1e-6
    return tuple(
        Kernel(name=name, op=op, latency_s=median(values))
        for (name, op, _), values in seconds.items()
    )


def _by_run(runs: Sequence[Event], nodes: Sequence[Event]) -> Iterator[Counter[Key]]:
    """Yield the microseconds of every kernel, run by run; both sequences are in order."""
    starts = [node["ts"] for node in nodes]
    for i, run in enumerate(runs):
        # What follows the last run belongs to one that was cut off.
        stop = runs[i + 1]["ts"] if i + 1 < len(runs) else _end(run) + 1
        yield _own_us(nodes[bisect_left(starts, run["ts"]) : bisect_left(starts, stop)])


def _own_us(nodes: Sequence[Event]) -> Counter[Key]:
    """Add up what every kernel took itself, without the kernels that ran inside it."""
    spent: Counter[Key] = Counter()
    around: list[Event] = []  # the branches and loops that are being run
    for node in nodes:
        while around and _end(around[-1]) <= node["ts"]:
            around.pop()
        if around:
            spent[_key(around[-1])] -= min(node["dur"], spent[_key(around[-1])])
        spent[_key(node)] += node["dur"]
        around.append(node)
    return spent


def _end(event: Event) -> int:
    end: int = event["ts"] + event["dur"]
    return end


def _key(node: Event) -> Key:
    arguments = node["args"]
    name = node["name"].removesuffix(KERNEL)
    return name, str(arguments.get("op_name", "")), str(arguments.get("node_index", ""))
