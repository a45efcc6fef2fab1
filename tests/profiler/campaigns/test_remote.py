"""Campaigns on a device at the other end of a link, and what may happen to both."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from devices import DeviceSpec, DeviceUnavailable, Simulation, Transport
from devices.remote.agent_file import agent_bytes, agent_name
from devices.remote.agent_site import Site
from devices.transport import DeviceFull, connect
from devices.transport.link import exit_status, reporting
from profiler import (
    TRIES,
    Chain,
    Event,
    Judged,
    MBConv,
    Pace,
    ProcessDied,
    Taken,
    Task,
    campaign_stream,
    in_context,
    plan_tasks,
)
from profiler.agent import Clocks
from profiler.campaigns.follow import START_S
from profiler.campaigns.jobs import Line, event_of, left_to_do, line_of, what_is_done
from profiler.campaigns.remote import DEATHS, DeviceBusy

RealDevice = tuple[Transport, str]

QUIET = Simulation(noise=0.01, seed=3)
CHAINS: list[Chain] = [
    in_context(MBConv(input_shape=(1, 8, 16, 16), channels=8, expand=expand)) for expand in (1, 3)
]


def device(transport: Transport | None, folder: str = "") -> DeviceSpec:
    if transport is not None and folder:
        transport = replace(transport, folder=f"{transport.folder}/{folder}")
    return DeviceSpec(name="far", backend="simulated", simulation=QUIET, transport=transport)


def tasks(rounds: int) -> list[Task]:
    return plan_tasks([0, 1], process=0, rounds=rounds, rng=np.random.default_rng(0))


def campaign(
    spec: DeviceSpec, todo: list[Task], *, campaign: str = "", replicate: int = 0
) -> Iterator[Event]:
    return campaign_stream(spec, CHAINS, todo, Pace(), replicate=replicate, campaign=campaign)


def worker(spec: DeviceSpec) -> int:
    """Return the process that works on a device."""
    assert spec.transport is not None
    lock = json.loads((Path(spec.transport.folder) / "lock").read_text())
    return int(lock["process"])


def has_ended(process: int) -> bool:
    """Return whether a process ends; its lock is free, and its name open to a parent, before."""
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        try:
            if psutil.Process(process).status() == "zombie":
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


WAIT = """
import sys, time
from pathlib import Path
looks, wall, allowed = [], time.time, Path({allowed!r})
def waiting():
    looks.append(0)
    while "work" in sys.orig_argv and len(looks) > int(allowed.read_text()):
        time.sleep(0.01)
    return wall()
time.time = waiting
"""
"""An agent looks at the clock before it writes an event; this one waits there for leave."""


def made_to_wait(spec: DeviceSpec, folder: Path) -> tuple[DeviceSpec, Callable[[int], None]]:
    """Make the agent of a device wait in the middle, so that however fast it is, it is at work.

    Returns:
        The device, and what says how many events a process there may write: 30 at first.
    """
    assert spec.transport is not None
    allowed = folder / "allowed"

    def allow(events: int) -> None:
        (folder / "next").write_text(str(events))
        (folder / "next").replace(allowed)  # at once: the agent reads it all the time

    allow(30)
    (folder / "sitecustomize.py").write_text(WAIT.format(allowed=str(allowed)))
    python = wrapped_python(folder, f"export PYTHONPATH={shlex.quote(str(folder))}")
    return replace(spec, transport=replace(spec.transport, python=python)), allow


def jobs(spec: DeviceSpec) -> list[Path]:
    assert spec.transport is not None
    return list((Path(spec.transport.folder) / "jobs").iterdir())


def slices(events: list[Event]) -> Counter[tuple[int, int]]:
    """Return how many slices there are of each graph and round."""
    return Counter((e.number, e.slice.round) for e in events if isinstance(e, Taken))


@pytest.fixture
def here(tmp_path: Path) -> DeviceSpec:
    """This machine, as if it were another one."""
    folder = tmp_path / "the agent's folder"
    return device(Transport(kind="local", python=sys.executable, folder=str(folder)))


def test_an_agent_measures_exactly_what_this_machine_would(real_device: RealDevice) -> None:
    far = list(campaign(device(real_device[0], "same"), tasks(20)))
    assert far == list(campaign(device(None), tasks(20)))
    assert len(far) > 40


def test_a_finished_job_leaves_nothing_but_the_graphs(here: DeviceSpec) -> None:
    list(campaign(here, tasks(1), campaign="table"))
    assert jobs(here) == []
    assert here.transport is not None
    graphs = list((Path(here.transport.folder) / "graphs").iterdir())
    assert len(graphs) == len(CHAINS) + 2  # the canary, and the test of threads


@pytest.mark.parametrize("real_device", ["ssh", "adb"], indirect=True)
def test_a_cut_in_the_middle_loses_nothing(real_device: RealDevice, tmp_path: Path) -> None:
    transport, cut = real_device
    slow, allow = made_to_wait(device(transport, "cut"), tmp_path)
    far: list[Event] = []
    for event in campaign(slow, tasks(100)):
        far.append(event)
        if len(far) in (3, 50):  # the second while another connection follows
            subprocess.run(["sh", "-c", cut], check=True)
            allow(60 if len(far) == 3 else 1000)
    assert far == list(campaign(device(None), tasks(100)))


def test_a_killed_agent_is_started_again_and_goes_on(here: DeviceSpec, tmp_path: Path) -> None:
    slow, allow = made_to_wait(here, tmp_path)
    events, workers = [], []
    for event in campaign(slow, tasks(100)):
        events.append(event)
        if len(events) in (3, 50):  # the second while another agent works
            workers.append(worker(slow))
            os.kill(workers[-1], signal.SIGKILL)
            allow(60 if len(events) == 3 else 1000)
    assert len(set(workers)) == 2
    assert slices(events) == Counter({(i, turn): 1 for i in (0, 1) for turn in range(100)})
    taken = [event.id for event in events if isinstance(event, Taken)]
    assert taken == list(range(200))
    elapsed = [event.elapsed_s for event in events if isinstance(event, Judged)]
    assert elapsed == sorted(elapsed)


def test_an_agent_that_dies_again_and_again_is_given_up(here: DeviceSpec, tmp_path: Path) -> None:
    slow, _ = made_to_wait(here, tmp_path)
    stream = campaign(slow, tasks(100))
    next(stream)
    remove_graphs(slow)  # whoever starts again finds nothing to measure
    os.kill(worker(slow), signal.SIGKILL)
    with pytest.raises(ProcessDied, match=f"died {DEATHS} times in the same place"):
        list(stream)


def wrapped_python(folder: Path, before: str) -> str:
    """Return a program that does something first, and then is Python."""
    program = folder / "python"
    program.write_text(f'#!/bin/sh\n{before}\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return str(program)


def test_an_agent_that_dies_before_it_begins_is_noticed_at_once(
    here: DeviceSpec, tmp_path: Path
) -> None:
    assert here.transport is not None
    luckless = wrapped_python(tmp_path, '[ "$2" = work ] && { echo no luck today >&2; exit 7; }')
    unlucky = replace(here, transport=replace(here.transport, python=luckless))
    with pytest.raises(ProcessDied, match=rf"died {DEATHS} times .*\(no luck today\)"):
        list(campaign(unlucky, tasks(1)))  # within seconds, and not after `START_S` each


def test_a_follower_ends_when_nobody_listens_any_more(real_device: RealDevice) -> None:
    far = device(real_device[0], "followed")
    assert far.transport is not None
    site = Site(connect(far.transport), far)
    site.install()
    words = site.command("follow", site.folder, "no such job", "0")
    # nobody works, so it would wait for `START_S` and then say so
    command = site.connection.link.command(reporting(shlex.join(words)))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as follower:
        said, errors = follower.communicate(timeout=START_S - 60)
    assert exit_status(site.connection.link, errors) == (0, "")
    assert b"dead" not in said


CLOCK = """
import time
looks, wall = [], time.time
time.time = lambda: looks.append(0) or wall() + (3600 if len(looks) > 5 else 0)
"""
"""A machine whose clock is set, an hour on, at the sixth look."""


def test_a_clock_that_is_set_meanwhile_is_said_once_and_changes_nothing(
    here: DeviceSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert here.transport is not None
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    python = wrapped_python(tmp_path, f"export PYTHONPATH={tmp_path}")
    jumping = replace(here, transport=replace(here.transport, python=python))
    assert list(campaign(jumping, tasks(10))) == list(campaign(device(None), tasks(10)))
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "the clock of this machine was set by +3600 s; latencies are by one that nobody sets"
    ]


def remove_graphs(spec: DeviceSpec) -> None:
    assert spec.transport is not None
    shutil.rmtree(Path(spec.transport.folder) / "graphs", ignore_errors=True)


@contextmanager
def abandoned(spec: DeviceSpec, todo: list[Task], *, after: int) -> Iterator[list[Event]]:
    """Give a campaign up as a killed process does, so that the agent goes on; yield the events."""
    stream = campaign(spec, todo, campaign="table")
    events = [next(stream) for _ in range(after)]
    with pytest.raises(MemoryError):
        stream.throw(MemoryError)  # type: ignore[attr-defined]
    yield events


def test_who_was_killed_takes_the_rest_from_the_device(here: DeviceSpec) -> None:
    with abandoned(here, tasks(60), after=31) as first:
        pass
    lines: list[Line] = [line_of(event) for event in first]
    todo = left_to_do(tasks(60), what_is_done(lines))
    assert 60 < len(todo) < 120
    rest = list(campaign(here, todo, campaign="table"))
    assert slices(first + rest) == Counter({(i, turn): 1 for i in (0, 1) for turn in range(60)})
    alone = [e.slice.samples_s for e in campaign(device(None), tasks(60)) if isinstance(e, Taken)]
    both = [e.slice.samples_s for e in first + rest if isinstance(e, Taken)]
    assert both == alone  # nothing was measured twice
    assert jobs(here) == []


def test_what_is_for_nothing_in_particular_is_measured_anew(
    here: DeviceSpec, tmp_path: Path
) -> None:
    slow, _ = made_to_wait(here, tmp_path)
    stream = campaign(slow, tasks(100))
    next(stream)
    at_work = worker(slow)
    stream.close()  # type: ignore[attr-defined]
    assert jobs(here) == []
    assert has_ended(at_work)
    assert len(slices(list(campaign(here, tasks(2))))) == 4


def test_a_device_works_for_one_at_a_time(here: DeviceSpec, tmp_path: Path) -> None:
    slow, _ = made_to_wait(here, tmp_path)
    with abandoned(slow, tasks(100), after=1):
        busy = rf"another campaign \(process {worker(slow)} there"
        with pytest.raises(DeviceBusy, match=busy):
            list(campaign(here, tasks(1), campaign="another table"))
        other = campaign(here, tasks(1), campaign="table", replicate=7)  # of the same table
        assert len(slices(list(other))) == 2
    assert jobs(here) == []


def test_an_agent_that_was_altered_is_replaced(here: DeviceSpec) -> None:
    assert here.transport is not None
    folder = Path(here.transport.folder)
    folder.mkdir()
    (folder / agent_name()).write_bytes(b"print('an impostor')")
    assert len(slices(list(campaign(here, tasks(1))))) == 2
    assert (folder / agent_name()).read_bytes() == agent_bytes()


def test_an_agent_of_another_version_is_not_asked(here: DeviceSpec) -> None:
    assert here.transport is not None
    folder = Path(here.transport.folder)
    folder.mkdir()
    (folder / "agent-0123456789abcdef.pyz").write_bytes(b"print('an older one')")
    assert len(slices(list(campaign(here, tasks(1))))) == 2
    assert (folder / agent_name()).exists()


def test_what_the_device_refuses_comes_through_as_it_was(here: DeviceSpec) -> None:
    strange = replace(here, backend="onnxruntime", simulation=None, threads=1000)
    with pytest.raises(DeviceUnavailable, match="wants 1000 threads") as raised:
        list(campaign(strange, tasks(1)))
    assert type(raised.value) is DeviceUnavailable


def test_a_job_that_failed_is_not_found_again_by_the_same_command(here: DeviceSpec) -> None:
    strange = replace(here, backend="onnxruntime", simulation=None, threads=1000)
    for _ in range(2):
        with pytest.raises(DeviceUnavailable, match="wants 1000 threads"):
            list(campaign(strange, tasks(1), campaign="table"))
        assert jobs(here) == []


def test_a_device_without_python_says_so(here: DeviceSpec) -> None:
    assert here.transport is not None
    bare = replace(here, transport=replace(here.transport, python="/no/such/python"))
    with pytest.raises(DeviceUnavailable, match="has no Python that runs as '/no/such/python'"):
        list(campaign(bare, tasks(1)))


def test_a_python_for_another_processor_says_so(here: DeviceSpec, tmp_path: Path) -> None:
    assert here.transport is not None
    header = bytearray(Path(sys.executable).resolve().read_bytes()[:4096])
    header[18:20] = b"\xee\xee"  # an ELF file for a machine that nobody has built
    foreign = tmp_path / "python"
    foreign.write_bytes(header)
    foreign.chmod(0o755)
    other = replace(here, transport=replace(here.transport, python=str(foreign)))
    with pytest.raises(DeviceUnavailable, match=r"has no Python that runs as .*xec format error"):
        list(campaign(other, tasks(1)))


def test_a_runtime_that_cannot_be_loaded_is_named_with_the_cure(
    here: DeviceSpec, tmp_path: Path
) -> None:
    assert here.transport is not None
    (tmp_path / "numpy.py").write_text("raise ImportError('wrong ELF class: ELFCLASS32')")
    python = wrapped_python(tmp_path, f"export PYTHONPATH={tmp_path}")
    other = replace(here, transport=replace(here.transport, python=python))
    with pytest.raises(DeviceUnavailable) as raised:
        list(campaign(other, tasks(1)))
    assert "cannot run the agent: ImportError: wrong ELF class" in str(raised.value)
    assert str(raised.value).endswith(f"{python} -m pip install numpy onnxruntime")


def fill(folder: Path) -> None:
    """Write to a disk until it is full."""
    with (folder / "other things").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(2**14))


def test_a_full_disk_in_the_middle_keeps_what_was_measured(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=True)
    small = device(Transport(kind="local", python=sys.executable, folder=str(folder)))
    try:
        events: list[Event] = []
        with pytest.raises(DeviceFull, match="the disk of this machine is full"):  # noqa: PT012
            for event in campaign(small, tasks(2000), campaign="table"):
                events.append(event)
                fill(folder)
        (job,) = jobs(small)
        kept = (job / "events.jsonl").read_bytes().split(b"\n")[:-1]
        assert [event_of(json.loads(line)) for line in kept] == events
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_the_agent_needs_nothing_but_numpy_and_the_runtime(tmp_path: Path) -> None:
    path = tmp_path / agent_name()
    path.write_bytes(agent_bytes())
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import profiler.agent, profiler\n"
        "import devices.onnx_runtime.cpu; assert sys.argv[1] in profiler.__file__\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code, str(path)], cwd=tmp_path)
    names = set(loaded.decode().split())
    assert {"numpy", "onnxruntime", "profiler"} <= names
    assert names.isdisjoint({"onnx", "pydantic", "pandas", "yaml", "psutil", "torch", "typer"})


def test_a_clock_that_was_set_is_noticed_and_drift_is_not() -> None:
    clocks = Clocks(wall_s=1_000.0, steady_s=10.0)
    assert clocks.jump_s(1_005.001, 15.0) == 0.0
    assert clocks.jump_s(4_606.001, 16.0) == pytest.approx(3_600.0)
    assert clocks.jump_s(4_607.001, 17.0) == 0.0  # once
    assert clocks.jump_s(1_008.001, 18.0) == pytest.approx(-3_600.0)


def test_events_survive_the_road_to_a_file_and_back() -> None:
    events = list(campaign(device(None), tasks(2)))
    lines = [json.loads(json.dumps({"n": n, **line_of(e)})) for n, e in enumerate(events)]
    assert [event_of(line) for line in lines] == events


def test_a_disturbed_slice_is_left_to_do_until_it_was_tried_often_enough() -> None:
    (taken, *_) = campaign(device(None), tasks(1))
    assert isinstance(taken, Taken)
    (task,) = (t for t in tasks(1) if t.number == taken.number)
    for disturbed in range(1, TRIES + 1):
        lines: list[Line] = []
        for number in range(disturbed):
            lines.append(line_of(replace(taken, id=number)))
            lines.append(line_of(Judged(ids=(number,), gate="load", redo=1, elapsed_s=1.0)))
        left = left_to_do([task], what_is_done(lines))
        assert left == ([replace(task, tries=disturbed)] if disturbed < TRIES else [])
    assert left_to_do([task], what_is_done([line_of(taken)])) == []
