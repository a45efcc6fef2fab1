"""A campaign as files: what is asked of an agent, and what it has done so far.

A job is a folder on the device. ``job.json`` says what to do. ``events.jsonl`` has one line for
every event of the campaign, numbered, each on the disk before the next slice begins; what a kill
leaves of a last line does not count. ``end`` and ``failed`` are the only lines after which there
are no more. ``process`` has the number of who was started last, and ``log`` what he complained of.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeAlias

from devices.nvidia.engine_facts import engine_facts_from_json
from profiler.campaigns.engines import Noted
from profiler.campaigns.events import TRIES, Event, Judged, Refused, Taken, Task, judged_slices
from profiler.measurement import Slice

JOB, EVENTS, LOG, PROCESS = "job.json", "events.jsonl", "log", "process"

Line: TypeAlias = dict[str, Any]
"""What a line of ``events.jsonl`` says: its ``n``, counted from 0, its ``kind``, and more."""

KINDS: dict[str, type[Event]] = {
    "taken": Taken,
    "judged": Judged,
    "refused": Refused,
    "noted": Noted,
}

LAST = ("end", "failed")
"""Kinds of lines after which there are no more."""


def line_of(event: Event) -> Line:
    """Return an event as plain data."""
    (kind,) = (name for name, cls in KINDS.items() if isinstance(event, cls))
    return {"kind": kind, **asdict(event)}


def event_of(line: Line) -> Event | None:
    """Return the event of a line; None of one that is none."""
    fields = {key: value for key, value in line.items() if key not in ("kind", "n")}
    match line["kind"]:
        case "taken":
            piece = fields["slice"]
            samples = {key: tuple(piece[key]) for key in ("samples_s", "reference_s")}
            return Taken(**{**fields, "slice": Slice(**{**piece, **samples})})
        case "judged":
            return Judged(**{**fields, "ids": tuple(fields["ids"])})
        case "refused":
            return Refused(**fields)
        case "noted":
            return Noted(**{**fields, "facts": engine_facts_from_json(fields["facts"])})
    return None


def whole_lines(content: bytes) -> list[Line]:
    """Return the lines that were written to their end."""
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


class Lines:
    """Writes numbered lines, each on the disk before anything else happens.

    Args:
        file: At its end.
        count: Lines that are in it.
    """

    def __init__(self, file: IO[bytes], *, count: int) -> None:
        self._file, self._count = file, count

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line."""
        self._file.write(json.dumps({"n": self._count, **line}).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._count += 1


@contextmanager
def appended(path: Path) -> Iterator[tuple[list[Line], Lines]]:
    """Open a file of lines to go on with; yields the lines that it has, and what adds to them.

    Args:
        path: Need not be there yet.
    """
    before = path.read_bytes() if path.exists() else b""
    lines = whole_lines(before)
    with path.open("ab") as file:
        file.truncate(before.rfind(b"\n") + 1)  # what a kill left of a line
        yield lines, Lines(file, count=len(lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a job has behind it.

    Attributes:
        lines: How many it has written.
        taken: How many of them are slices.
        tries: How often each task was taken; `profiler.campaigns.events.TRIES` or more if it needs
            no more.
        refused: Graphs that the device cannot run.
        device_s: Device time spent, as far as it was judged.
        ended: Whether there is nothing to add.
    """

    lines: int
    taken: int
    tries: Mapping[tuple[int, int, int], int]
    refused: frozenset[int]
    device_s: float
    ended: bool


def what_is_done(lines: Sequence[Line]) -> Done:
    """Return what the lines of a job amount to."""
    events = [event for line in lines if (event := event_of(line)) is not None]
    taken = [event for event in events if isinstance(event, Taken)]
    verdicts = {event.id: verdict for event, verdict in judged_slices(events)}
    tries: Counter[tuple[int, int, int]] = Counter()
    for event in taken:
        piece, verdict = event.slice, verdicts.get(event.id)
        again = verdict is not None and verdict.redo and not piece.judged(verdict.gate).trusted
        tries[event.number, piece.process, piece.round] += 1 if again else TRIES
    return Done(
        lines=len(lines),
        taken=len(taken),
        tries=tries,
        refused=frozenset(event.number for event in events if isinstance(event, Refused)),
        device_s=max((e.elapsed_s for e in events if isinstance(e, Judged)), default=0.0),
        ended=any(line["kind"] in LAST for line in lines),
    )


def left_to_do(tasks: Iterable[Task], done: Done) -> list[Task]:
    """Return the tasks that a job still has to take, with how often each was taken already."""
    counted = (
        replace(task, tries=task.tries + done.tries.get(key_of(task), 0))
        for task in tasks
        if task.number not in done.refused
    )
    return [task for task in counted if task.tries < TRIES]


def not_yet_known(events: Iterator[Event], tasks: Sequence[Task]) -> Iterator[Event]:
    """Yield only what adds to what is known, of a job that was asked for more than is wanted now.

    Whoever wants ``tasks`` has everything that the job did on others, and their first ``tries``
    slices.

    Args:
        events: Of a job, from its beginning.
        tasks: What is wanted now.
    """
    known = {key_of(task): task.tries for task in tasks}
    numbers = {task.number for task in tasks}
    kept: set[int] = set()
    for event in events:
        match event:
            case Taken(slice=piece):
                key = (event.number, piece.process, piece.round)
                known[key] = known.get(key, TRIES) - 1
                if known[key] < 0:
                    kept.add(event.id)
                    yield event
            case Judged():
                ids = tuple(id_ for id_ in event.ids if id_ in kept)
                if ids or not event.ids:
                    yield replace(event, ids=ids, redo=min(event.redo, len(ids)))
            case Refused() | Noted():
                if event.number in numbers:
                    yield event


def key_of(task: Task) -> tuple[int, int, int]:
    """Return what makes a task that one: its graph, process and round."""
    return task.number, task.process, task.round
