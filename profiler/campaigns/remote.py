"""A campaign on a device that is not this machine: its agent measures, this side listens.

The agent does not wait for anybody: it writes every event on the device and goes on. Here the
events are read as they come. After a cut what is new is fetched; after a kill of the agent it is
started again and goes on; after a kill of this side, the same command finds the job again by its
name and takes what it does not have yet.
"""

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from devices import DeviceSpec, DeviceUnavailable, Graph, LatkitError
from devices.remote.agent_site import Site
from devices.remote.plain import device_to_plain
from devices.remote.serve import ERRORS
from devices.transport import DeviceFull, LinkCut, connect
from profiler.campaigns.events import Event, Task
from profiler.campaigns.jobs import JOB, LAST, LOG, PROCESS, Line, event_of, key_of, not_yet_known
from profiler.campaigns.measure import Pace
from profiler.campaigns.process import ProcessDied
from profiler.operators.chains import chain_to_key
from profiler.operators.graphs import Build
from profiler.operators.ops import Chain
from profiler.operators.probes import APART, CANARY

RECONNECT_S, PATIENCE_S = 2.0, 600.0
"""After a cut: seconds between two tries, and until it is left to the user to try again."""

SILENCE_S = 120.0
"""Seconds without a word from a follower after which the link counts as cut. It speaks every few
seconds, but first it must load Python; a link that is really cut is noticed by ssh and adb."""

LAUNCH = """
rm -f "$1"; mark=$1; log=$2; shift 2
setsid sh -c 'echo $$ >"$0"; exec "$@"' "$mark" "$@" </dev/null >>"$log" 2>&1 &
"""
"""Starts a command that outlives the link, its process number in a file of its own: whoever follows
sees at once that it has ended, and not only when it should have begun."""

DEATHS = 3
"""Times that an agent may end without having measured anything in between."""

log = logging.getLogger(__name__)


class DeviceBusy(LatkitError):
    """The device works on a campaign of somebody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a campaign is to measure.

    Attributes:
        graphs: What a task's number means.
        tasks: Slices to take, in this order.
        pace: Time for each.
        replicate: Which of several processes this is.
        campaign: Name of what the measurements are for, which the same command will use again
            after a kill; empty where it would rather begin anew.
        sustained: Whether the tasks are windows of one load, see
            `profiler.whole_models.sustained_load`.
    """

    graphs: Sequence[Chain | Graph]
    tasks: Sequence[Task]
    pace: Pace
    replicate: int
    campaign: str
    sustained: bool = False


def remote_stream(device: DeviceSpec, wanted: Wanted, build: Build) -> Iterator[Event]:
    """Yield the events of a campaign on a device at the other end of its transport.

    A closed generator stops the agent; what it has measured for a named campaign is kept.

    Args:
        device: Has a transport.
        wanted: What to measure.
        build: Makes a graph of operators, in the device's precision.

    Raises:
        DeviceBusy: The device works for somebody else.
        DeviceUnavailable: It does not answer for `PATIENCE_S`, or cannot run the agent.
        ProcessDied: The agent dies again and again.
        LatkitError: Whatever went wrong over there.
    """
    assert device.transport is not None  # else it is this machine
    job = _Job(Site(connect(device.transport), device), _name(device, wanted), wanted.campaign)
    job.site.install()
    earlier = job.asked(job.name)
    if not _holds(earlier, wanted.tasks):
        if earlier:
            job.stop(job.name)
            job.forget(job.name)
        job.create(_plain(job.site, wanted, build))
    ended = False
    try:
        yield from not_yet_known(_events(job), wanted.tasks)
        ended = True
    except DeviceBusy:
        ended = True  # before it began
        raise
    except GeneratorExit:
        with suppress(DeviceUnavailable):  # then it goes on, and the next command will find it
            job.stop(job.name)
            ended = not wanted.campaign
        raise
    finally:
        if ended:
            job.forget(job.name)


def _name(device: DeviceSpec, wanted: Wanted) -> str:
    """Return the name of a job: that of an earlier one if that is to be gone on with."""
    if not wanted.campaign:
        return secrets.token_hex(8)
    graphs = [
        hashlib.sha256(graph.onnx).hexdigest() if isinstance(graph, Graph) else chain_to_key(graph)
        for graph in wanted.graphs
    ]
    parts = (device_to_plain(device), graphs, asdict(wanted.pace), wanted.replicate)
    text = json.dumps([wanted.campaign, wanted.sustained, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(site: Site, wanted: Wanted, build: Build) -> dict[str, Any]:
    """Send the graphs that are needed, and return what is asked as plain data."""
    needed = {task.number for task in wanted.tasks}
    graphs = (graph if i in needed else None for i, graph in enumerate(wanted.graphs))
    return {
        "device": device_to_plain(site.device),
        "campaign": wanted.campaign,
        "replicate": wanted.replicate,
        "sustained": wanted.sustained,
        "pace": asdict(wanted.pace),
        "tasks": [asdict(task) for task in wanted.tasks],
        "graphs": [graph and _sent(site, graph, build) for graph in graphs],
        "probes": [_sent(site, chain, build) for chain in (CANARY, APART)],
    }


def _sent(site: Site, graph: Chain | Graph, build: Build) -> dict[str, Any]:
    if isinstance(graph, Graph):
        return {"chain": "", **site.send(graph)}
    return {"chain": chain_to_key(graph), **site.send(build(graph))}


def _holds(asked: Mapping[str, Any], tasks: Sequence[Task]) -> bool:
    """Return whether all these tasks are among those of a job."""
    there = {key_of(Task(**task)) for task in asked.get("tasks", ())}
    return {key_of(task) for task in tasks} <= there


@dataclass(frozen=True, slots=True)
class _Job:
    """A job on a device, see `profiler.campaigns.jobs`."""

    site: Site
    name: str
    campaign: str

    @property
    def folder(self) -> str:
        return f"{self.site.folder}/jobs/{self.name}"

    def asked(self, name: str) -> Mapping[str, Any]:
        """Return what a job of that name asks for; nothing of one that is not there."""
        path = f"{self.site.folder}/jobs/{name}/{JOB}"
        said = self._shell('cat "$1" 2>/dev/null || true', path)
        return json.loads(said) if said.strip() else {}

    def create(self, plain: Mapping[str, Any]) -> None:
        """Put the job on the device."""
        with TemporaryDirectory(prefix="latkit-") as folder:
            file = Path(folder) / JOB
            file.write_text(json.dumps(plain))
            self.site.connection.push(file, f"{self.folder}/{JOB}")

    def launch(self) -> None:
        """Start the agent on the job; one that is at work already stays alone."""
        work = self.site.command("work", self.site.folder, self.name)
        self._shell(LAUNCH, f"{self.folder}/{PROCESS}", f"{self.folder}/{LOG}", *work)

    def stop(self, name: str) -> None:
        """End the work on a job of that name."""
        words = self.site.command("stop", self.site.folder, name)
        self.site.connection.run(words, timeout_s=SILENCE_S, repeatable=True)

    def forget(self, name: str) -> None:
        """Remove a job of that name from the device."""
        self._shell('rm -rf "$1"', f"{self.site.folder}/jobs/{name}")

    def lines(self, first: int) -> Iterator[Line]:
        """Yield what a follower says, while the link lasts."""
        words = self.site.command("follow", self.site.folder, self.name, str(first))
        with self.site.connection.start(words) as follower:
            for line in follower.lines(timeout_s=SILENCE_S):
                yield json.loads(line)

    def _shell(self, script: str, *words: str) -> str:
        done = self.site.connection.run(["sh", "-c", script, "sh", *words], repeatable=True)
        return done.stdout.decode(errors="replace")


def _events(job: _Job) -> Iterator[Event]:
    """Yield the events of a job from its beginning, through cuts and deaths."""
    for line in _lines(job):
        match line["kind"]:
            case "failed":
                with suppress(DeviceUnavailable):  # all it did was heard; to ask again is to try
                    job.forget(job.name)
                raise ERRORS.get(line["error"], LatkitError)(line["why"])
            case "jump":
                log.warning(
                    "the clock of %s was set by %+.0f s; latencies are by one that nobody sets",
                    job.site.connection.name,
                    line["by_s"],
                )
        event = event_of(line)
        if event is not None:
            yield event


@dataclass(slots=True)
class _Heard:
    """What was heard of a job so far."""

    first: int = 0  # line that was not heard yet
    deaths: int = 0  # of the agent, since it measured anything
    at_s: float = field(default_factory=time.monotonic)
    at_work: bool = False  # as far as we know
    ended: bool = False


def _lines(job: _Job) -> Iterator[Line]:
    """Yield the numbered lines of a job, each once."""
    heard = _Heard()
    while not heard.ended:
        try:
            yield from _heard_at_once(job, heard)
        except LinkCut as error:
            if time.monotonic() - heard.at_s > PATIENCE_S:
                raise DeviceUnavailable(
                    f"{error}. It goes on measuring; run the same command again to fetch that"
                ) from error
            log.warning("%s; trying again, the device goes on by itself", error)
            time.sleep(RECONNECT_S)


def _heard_at_once(job: _Job, heard: _Heard) -> Iterator[Line]:
    """Yield what is new of a job while one follower lasts."""
    if not heard.at_work:
        job.launch()
        heard.at_work = True
    for line in job.lines(heard.first):
        heard.at_s = time.monotonic()
        if "n" in line:
            heard.first, heard.deaths = line["n"] + 1, 0
            heard.ended = line["kind"] in LAST
            yield line
        elif line["kind"] == "busy":
            heard.at_work = False
            _make_room(job, line)
        elif line["kind"] == "dead":
            heard.at_work = False
            heard.deaths += 1
            if line["full"]:
                raise DeviceFull(
                    f"the disk of {job.site.connection.name} is full; what was measured before is "
                    "kept. Free some space there and run the same command again to go on"
                )
            if heard.deaths >= DEATHS:
                raise ProcessDied(
                    f"the agent on {job.site.connection.name} died {DEATHS} times in the same "
                    f"place ({line['why']}); what was measured before is kept. "
                    "Run the same command again to go on"
                )


def _make_room(job: _Job, busy: Line) -> None:
    """End what is left of an earlier run of this campaign; leave what is somebody else's alone."""
    other = job.asked(busy["job"])
    if job.campaign and other.get("campaign") == job.campaign:
        job.stop(busy["job"])
        job.forget(busy["job"])
        return
    raise DeviceBusy(
        f"{job.site.connection.name} works on another campaign (process {busy['process']} there). "
        "Wait until it is done, or end that process, and run the same command again"
    )
