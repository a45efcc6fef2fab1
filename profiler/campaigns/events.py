"""What a campaign is asked to do, and what it tells: tasks, and the events that become of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from profiler.campaigns.engines import Noted
from profiler.measurement import Gate, Slice

TRIES = 4
"""Times a slice is taken at most; then it is kept as it is, with what disturbed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One slice to take.

    Attributes:
        number: Which graph.
        process: In which process.
        round: Of that process.
        tries: How often it was taken before, and disturbed each time.
    """

    number: int
    process: int
    round: int
    tries: int = 0


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


Event: TypeAlias = Taken | Judged | Refused | Noted


def judged_slices(events: Iterable[Event]) -> Iterator[tuple[Taken, Judged]]:
    """Yield every slice with the verdict on it, when that comes; what nobody judged is left out.

    Args:
        events: In their order. Numbers may begin anew, as after an interruption.
    """
    waiting: dict[int, Taken] = {}
    for event in events:
        match event:
            case Taken():
                waiting[event.id] = event
            case Judged():
                for id_ in event.ids:
                    yield waiting.pop(id_), event
