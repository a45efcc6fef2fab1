"""The agent: what runs on a device that is not this machine, from one file with the measuring code.

    agent serve FOLDER            answers questions, see `devices.remote.serve`
    agent work FOLDER JOB         takes what a job still lacks; one job at a time on a device
    agent follow FOLDER JOB N     prints the lines of a job from the Nth on, as they come
    agent stop FOLDER JOB         ends the work on a job

Work goes on where it was stopped, whatever stopped it, and does not need anybody who follows.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from devices import Graph, LatkitError, backend_for
from devices.remote.plain import device_from_plain
from devices.remote.serve import graph_at, serve
from profiler.campaigns.campaign import run_campaign
from profiler.campaigns.events import Event, Judged, Taken, Task
from profiler.campaigns.follow import follow, holding, stop
from profiler.campaigns.jobs import (
    EVENTS,
    JOB,
    Line,
    Lines,
    appended,
    left_to_do,
    line_of,
    what_is_done,
)
from profiler.campaigns.measure import Pace
from profiler.operators.chains import chain_from_key
from profiler.operators.graphs import Build
from profiler.operators.ops import Chain
from profiler.whole_models.sustained_load import run_sustained

JUMP_S = 1.0
"""Seconds by which the wall clock may part from the steady one between two events."""


def main() -> int:
    """Do what the command line says; return the exit status."""
    match sys.argv[1:]:
        case ["serve", folder]:
            serve(Path(folder) / "graphs")
        case ["work", folder, job]:
            work(Path(folder), job)
        case ["follow", folder, job, first]:
            follow(Path(folder), job, first=int(first))
        case ["stop", folder, job]:
            stop(Path(folder), job)
        case _:
            print(__doc__, file=sys.stderr)  # noqa: T201 - a program of its own
            return 2
    return 0


def work(folder: Path, job: str) -> None:
    """Take what a job lacks, unless somebody is at work: who follows will see on what.

    Args:
        folder: The agent's.
        job: Name of the job.
    """
    with holding(folder, job) as held:
        if not held:
            return
        with appended(folder / "jobs" / job / EVENTS) as (before, lines):
            if not what_is_done(before).ended:
                _take(folder, job, before, lines)


def _take(folder: Path, job: str, before: list[Line], lines: Lines) -> None:
    asked = json.loads((folder / "jobs" / job / JOB).read_text())
    clocks = Clocks(time.time(), time.monotonic())
    try:
        for event in events_of_job(folder / "graphs", asked, before):
            if by_s := clocks.jump_s(time.time(), time.monotonic()):
                lines.write({"kind": "jump", "by_s": by_s})
            lines.write(line_of(event))
        lines.write({"kind": "end"})
    except LatkitError as error:
        lines.write({"kind": "failed", "error": type(error).__name__, "why": str(error)})


def events_of_job(graphs: Path, job: Mapping[str, Any], before: list[Line]) -> Iterator[Event]:
    """Run the campaign of a job: the same as anywhere, with graphs that are read from files.

    Args:
        graphs: Where those are.
        job: What is asked, see `profiler.campaigns.remote`.
        before: Lines that the job has already; events are counted on from there.
    """
    files = {
        chain_from_key(file["chain"]): file
        for file in (*job["graphs"], *job["probes"])
        if file and file["chain"]
    }

    def build(chain: Chain) -> Graph:
        return graph_at(graphs, files[chain])

    wanted = [_named(graphs, file) if file else () for file in job["graphs"]]  # no task needs a ()
    done = what_is_done(before)
    tasks = left_to_do([Task(**task) for task in job["tasks"]], done)
    spent_s = 0.0 if job["sustained"] else done.device_s  # a load says itself that it went on
    for event in _taken(job, wanted, tasks, build):
        match event:
            case Taken():
                yield replace(event, id=event.id + done.taken)
            case Judged():
                ids = tuple(id_ + done.taken for id_ in event.ids)
                yield replace(event, ids=ids, elapsed_s=event.elapsed_s + spent_s)
            case _:
                yield event


def _taken(
    job: Mapping[str, Any], wanted: Sequence[Chain | Graph], tasks: Sequence[Task], build: Build
) -> Iterator[Event]:
    """Take slices for a job, or windows where it is a load."""
    device = device_from_plain(job["device"])
    backend = backend_for(device, replicate=job["replicate"])
    if job["sustained"]:
        return run_sustained(backend, wanted, tasks, build=build)
    return run_campaign(
        backend,
        wanted,
        tasks,
        Pace(**job["pace"]),
        cold=device.timed_cold,
        build=build,
        threads=device.threads,
    )


def _named(graphs: Path, file: Mapping[str, Any]) -> Chain | Graph:
    return chain_from_key(file["chain"]) if file["chain"] else graph_at(graphs, file)


@dataclass(slots=True)
class Clocks:
    """The wall clock beside the steady one, which nobody sets: where they part, somebody did.

    Attributes:
        wall_s: Seconds since 1970, at the last look.
        steady_s: Seconds of the steady clock, at the last look.
    """

    wall_s: float
    steady_s: float

    def jump_s(self, wall_s: float, steady_s: float) -> float:
        """Look again; return how far the wall clock was set meanwhile, 0 for no more than drift."""
        by_s = (wall_s - self.wall_s) - (steady_s - self.steady_s)
        self.wall_s, self.steady_s = wall_s, steady_s
        return by_s if abs(by_s) > JUMP_S else 0.0
