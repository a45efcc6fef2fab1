"""Who works on a device, and what the work has come to: the agent's side of a link that may be cut.

Only one agent works at a time. It holds a lock, which the system takes back however it ends.
"""

import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from devices.remote.serve import private_stdout
from profiler.campaigns.jobs import EVENTS, LAST, LOG, PROCESS, Line, whole_lines

LOCK = "lock"
"""The file that who works holds; it says on which job, and in which process."""

HOLD_TRIES, HOLD_PAUSE_S = 20, 0.05
"""A lock that is held for a moment only is no work: somebody looks whether there is any."""

POLL_S = 0.1
"""Between two looks at a job that is followed: a few questions to the file system."""

ALIVE_S = 5.0
"""A follower says something so often at least: else nobody could tell that the link is up."""

START_S = 180.0
"""Seconds in which an agent that lives has to begin: loading Python from a card takes a while."""

LEAST_BYTES = 2**16
"""With less room on its disk an agent cannot have ended for another reason."""

END_S = 10.0
"""Seconds that stopped work gets to end."""


@contextmanager
def holding(folder: Path, job: str) -> Iterator[bool]:
    """Hold the device for a job; yields whether it could be had.

    Args:
        folder: The agent's.
        job: Name of the job.
    """
    with (folder / LOCK).open("a+") as lock:
        for _ in range(HOLD_TRIES):
            if _locked(lock, fcntl.LOCK_EX):
                break
            time.sleep(HOLD_PAUSE_S)
        else:
            yield False
            return
        lock.truncate(0)
        lock.write(json.dumps({"job": job, "process": os.getpid()}))
        lock.flush()
        try:
            yield True
        finally:
            lock.truncate(0)  # or it would be read as the next one's, who has not written yet


def worker(folder: Path) -> dict[str, Any] | None:
    """Return the job and the process of who works on this device; None if nobody does.

    Who looks shares the lock with others who look, so that nobody takes them for work.
    """
    with (folder / LOCK).open("a+") as lock:
        if _locked(lock, fcntl.LOCK_SH):
            return None
        lock.seek(0)
        try:
            found: dict[str, Any] = json.loads(lock.read())
        except ValueError:  # it is just being written
            return {"job": "", "process": 0}
        return found


def follow(folder: Path, job: str, *, first: int) -> None:
    """Print the lines of a job as they come, until there are no more or nobody listens.

    Beside those of the job: ``alive``, ``busy`` where the device works on another job, ``dead``
    where nobody works on an unfinished one. Whoever listens holds the standard input open: its end
    comes through a link at once, and a broken output only with the next word.

    Args:
        folder: The agent's.
        job: Name of the job.
        first: Number of the first line to print.
    """
    said = private_stdout()
    place = folder / "jobs" / job
    started, spoke, begun = time.monotonic(), time.monotonic(), False
    reader = _Reader(place / EVENTS, first)
    while True:
        # Both before the lines are read, so that none is missed.
        ended, who = _ended(place / PROCESS), worker(folder)
        lines = reader.new()
        for line in lines:
            _say(said, line)
        if any(line["kind"] in LAST for line in lines):
            return
        now = time.monotonic()
        begun = begun or (who is not None and who["job"] == job)
        if who is not None and who["job"] not in ("", job):
            _say(said, {"kind": "busy", **who})
            return
        if who is None and (begun or ended or now - started > START_S):
            _say(said, {"kind": "dead", "why": _last_words(place / LOG), "full": _full(folder)})
            return
        if lines or now - spoke > ALIVE_S:
            spoke = now
            _say(said, {"kind": "alive"})
        if _nobody_listens(POLL_S):
            return


def stop(folder: Path, job: str) -> None:
    """End the work on a job, if there is any.

    Args:
        folder: The agent's.
        job: Name of the job.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        who = worker(folder)
        if who is None or who["job"] != job:
            return
        with suppress(ProcessLookupError):
            os.kill(who["process"], number)
        until = time.monotonic() + END_S
        while worker(folder) == who and time.monotonic() < until:
            time.sleep(POLL_S)


class _Reader:
    """Reads what is new in a file that grows by lines."""

    def __init__(self, path: Path, first: int) -> None:
        self._path, self._first, self._offset = path, first, 0

    def new(self) -> list[Line]:
        """Return the lines that were finished since the last time."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [line for line in whole_lines(whole) if line["n"] >= self._first]


def _nobody_listens(wait_s: float) -> bool:
    """Wait for a while; return at once, and true, when the input has ended."""
    return bool(select.select([sys.stdin], [], [], wait_s)[0]) and not os.read(0, 1)


def _ended(mark: Path) -> bool:
    """Return whether the process that was started for a job is known to be no more."""
    try:
        process = int(mark.read_text())
    except (OSError, ValueError):  # it is just being started
        return False
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"  # it has ended, and nobody has asked how


def _locked(lock: IO[str], kind: int) -> bool:
    """Try to hold a lock, alone or with others; return whether that went."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _say(said: IO[str], line: Line) -> None:
    said.write(json.dumps(line) + "\n")


def _full(folder: Path) -> bool:
    """Return whether no page of a file fits on the disk any more."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < LEAST_BYTES


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "no word why")
