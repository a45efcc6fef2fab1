"""A device that is not this machine: any backend, run by an agent over there.

The agent and the graphs are files whose names hold their sha256, so nothing is sent twice, and what
is of another version is sent anew. The agent is also sent anew where it was altered over there; a
graph counts as there by its name, since a file arrives whole or not at all, and its outside weights
by a mark that is sent after the last of them.
"""

import base64
import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from devices.backend import Session, Tensors
from devices.errors import DeviceUnavailable, LatkitError
from devices.files import sha256_of
from devices.graph import Graph
from devices.host import LoadReading
from devices.kernels import Kernel, Trace
from devices.remote.agent_file import agent_bytes, agent_name
from devices.remote.plain import array_from_plain, array_to_plain, device_to_plain
from devices.remote.serve import ERRORS
from devices.spec import DeviceSpec
from devices.transport import Connection, Running, connect
from devices.transport.link import last_line

ANSWER_S = 120.0
"""Seconds that an answer may take; a long timing takes longer, and says how long it may."""

WHOLE = ".whole"
"""Ends the name of a mark beside a folder of outside weights: all of them are there."""

PROBE = "import numpy, onnxruntime; print('usable')"
"""What an agent needs; ``ImportError`` says what is not there or of another architecture."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the agent works on a device: its file, graphs and jobs.

    Attributes:
        connection: The way there.
        device: Its ``transport`` says where.
    """

    connection: Connection
    device: DeviceSpec
    _sent: set[str] = field(default_factory=set, init=False)

    @property
    def folder(self) -> str:
        """The folder on the device."""
        assert self.device.transport is not None  # else there is no site
        return self.device.transport.folder

    def command(self, *words: str) -> list[str]:
        """Return the command that runs the agent."""
        assert self.device.transport is not None  # else there is no site
        return [self.device.transport.python, f"{self.folder}/{agent_name()}", *words]

    def install(self) -> None:
        """Send the agent unless it is there, whole and of this version.

        Raises:
            DeviceUnavailable: The device does not answer, or has no Python that can run it.
            DeviceFull: It has no room.
        """
        path = f"{self.folder}/{agent_name()}"
        here = hashlib.sha256(agent_bytes()).hexdigest()
        there = self.connection.run(
            ["sh", "-c", 'sha256sum < "$1" 2>/dev/null || true', "sh", path], repeatable=True
        )
        if there.stdout.decode(errors="replace").split()[:1] == [here]:
            return
        self._require_python()
        with TemporaryDirectory(prefix="latkit-") as folder:
            file = Path(folder) / agent_name()
            file.write_bytes(agent_bytes())
            self.connection.push(file, path)

    def _require_python(self) -> None:
        """Check once, before anything is sent, that the agent can run there."""
        assert self.device.transport is not None  # else there is no site
        python, name = self.device.transport.python, self.connection.name
        words = [python, "-c", PROBE]
        done = self.connection.run(words, timeout_s=ANSWER_S, repeatable=True)
        if done.stdout.strip() == b"usable":
            return
        machine = self.connection.machine(python=python)
        if not machine.python:
            raise DeviceUnavailable(
                f"{name} ({machine.arch}) has no Python that runs as {python!r}: "
                f"{' '.join(done.stderr.split()) or 'no word why'}. Install one there, or name "
                "another in the device file: transport: {python: ...}"
            )
        why = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.exit_code}"]
        raise DeviceUnavailable(
            f"Python {machine.python} on {name} ({machine.arch}) cannot run the agent: {why[0]}. "
            f"Install what it needs there: {shlex.quote(python)} -m pip install numpy onnxruntime"
        )

    def send(self, graph: Graph) -> dict[str, Any]:
        """Send a graph unless it is there; return it as the agent finds it.

        See `devices.remote.serve`.

        Raises:
            DeviceUnavailable: The device does not answer.
            DeviceFull: It has no room.
        """
        file = hashlib.sha256(graph.onnx).hexdigest() + ".onnx"
        outside = "" if graph.folder is None else self._send_weights(graph)
        if file not in self._there():
            with TemporaryDirectory(prefix="latkit-") as folder:
                path = Path(folder) / file
                path.write_bytes(graph.onnx)
                self.connection.push(path, f"{self.folder}/graphs/{file}")
            self._sent.add(file)
        return {
            "file": file,
            "inputs": [[name, list(shape)] for name, shape in graph.inputs],
            "dtypes": list(graph.dtypes),
            "outside": outside,
        }

    def _there(self) -> set[str]:
        """Return the names of graphs that are there; the device is asked once."""
        if not self._sent:
            done = self.connection.run(
                ["sh", "-c", 'ls "$1" 2>/dev/null || true', "sh", f"{self.folder}/graphs"],
                repeatable=True,
            )
            self._sent.update(done.stdout.decode(errors="replace").split())
        return self._sent

    def _send_weights(self, graph: Graph) -> str:
        """Send the files that a graph refers to, under their names; return their folder."""
        from devices.graphs.model_file import (
            weight_files,
        )  # which needs onnx, as whoever has such a file has

        assert graph.folder is not None  # else there is nothing to send
        names, digest = weight_files(graph), hashlib.sha256()
        for name in names:
            digest.update(f"{name}\0{sha256_of(graph.folder / name)}\0".encode())
        outside = digest.hexdigest()
        mark = f"{outside}{WHOLE}"
        if mark not in self._there():
            for name in names:
                self.connection.push(graph.folder / name, f"{self.folder}/graphs/{outside}/{name}")
            self.connection.push(Path(os.devnull), f"{self.folder}/graphs/{mark}")
            self._sent.add(mark)
        return outside


class _Agent:
    """An agent that answers questions, from the first one to the last reference to it."""

    def __init__(self, site: Site, replicate: int) -> None:
        self._site, self._replicate = site, replicate
        self._running: Running | None = None
        self._asked = 0

    def __del__(self) -> None:
        if self._running is not None:
            self._running.close()

    def ask(self, question: Mapping[str, Any], *, timeout_s: float = ANSWER_S) -> Any:
        """Return the answer to a question.

        Raises:
            LatkitError: Whatever the device said.
            LinkCut: It said nothing in time, or no more.
        """
        if self._running is None:
            self._running = self._started()
        return self._answer(self._running, question, timeout_s)

    def _started(self) -> Running:
        """Return an agent that has taken the device; one that refuses it is ended."""
        self._site.install()
        running = self._site.connection.start(self._site.command("serve", self._site.folder))
        device = device_to_plain(self._site.device)
        try:
            self._answer(running, {"device": device, "replicate": self._replicate}, ANSWER_S)
        except BaseException:
            running.close()
            raise
        return running

    def _answer(self, running: Running, question: Mapping[str, Any], timeout_s: float) -> Any:
        """Ask; wait for the answer of this number: earlier ones come late, after a time-out."""
        self._asked += 1
        running.send(json.dumps({"n": self._asked, **question}))
        while (line := running.line(timeout_s=timeout_s)) is not None:
            said = json.loads(line)
            if said["n"] != self._asked:
                continue
            if "error" in said:
                raise ERRORS.get(said["error"], LatkitError)(said["why"])
            return said["is"]
        raise _died(running)


def _died(running: Running) -> DeviceUnavailable:
    code, said = running.result
    return DeviceUnavailable(f"the agent ended with status {code}: {last_line(said)}")


@dataclass(frozen=True, slots=True)
class RemoteHost:
    """The machine that the device is in, as its agent sees it."""

    _agent: _Agent

    def clock(self) -> float:
        """Return the seconds of its clock, which never goes back."""
        return float(self._agent.ask({"do": "clock"}))

    def rest(self, seconds: float) -> None:
        """Leave it alone for a while."""
        self._agent.ask({"do": "rest", "seconds": seconds}, timeout_s=ANSWER_S + seconds)

    def load(self) -> LoadReading | None:
        """Return the counters of its load; None where it has none."""
        said = self._agent.ask({"do": "load"})
        return None if said is None else LoadReading(**said)

    def preflight(self) -> tuple[str, ...]:
        """Return what speaks against measuring there now."""
        return tuple(self._agent.ask({"do": "preflight"}))


@dataclass(frozen=True, slots=True)
class RemoteSession:
    """A graph that is open on the device."""

    _agent: _Agent
    _number: int

    def run(self, inputs: Tensors) -> Tensors:
        """Return the outputs for ``inputs``, which travel there and back."""
        plain = {name: array_to_plain(array) for name, array in inputs.items()}
        said = self._agent.ask({"do": "run", "session": self._number, "inputs": plain})
        return {name: array_from_plain(text) for name, text in said.items()}

    def time(self, repeats: int) -> float:
        """Run ``repeats`` times over there; return the seconds by its own clock."""
        asked = {"do": "time", "session": self._number, "repeats": repeats}
        return float(self._agent.ask(asked, timeout_s=10 * ANSWER_S))

    def time_each(self, runs: int) -> tuple[float, ...]:
        """Run one at a time over there: a question for each would leave the device idle between."""
        asked = {"do": "time each", "session": self._number, "runs": runs}
        return tuple(self._agent.ask(asked, timeout_s=10 * ANSWER_S))


class Remote:
    """The backend of a device at the other end of a transport.

    Args:
        device: Its ``transport`` says where it is; the rest is what its agent runs as.
        replicate: Which of several processes this is.

    Every call raises DeviceUnavailable where the device does not answer or cannot run the agent;
    before the first one nothing is asked of it.
    """

    def __init__(self, device: DeviceSpec, *, replicate: int = 0) -> None:
        assert device.transport is not None  # else it is no remote one
        self._site = Site(connect(device.transport), device)
        self._agent = _Agent(self._site, replicate)
        self.host = RemoteHost(self._agent)

    def environment(self) -> Mapping[str, str]:
        """Return what a timing depends on over there."""
        said: dict[str, str] = self._agent.ask({"do": "environment"})
        return said

    @contextmanager
    def open(self, graph: Graph, *, threads: int | None = None) -> Iterator[Session]:
        """Send ``graph`` unless it is there, and hold it open."""
        plain = self._site.send(graph)
        number = self._agent.ask({"do": "open", "graph": plain, "threads": threads})
        try:
            yield RemoteSession(self._agent, number)
        finally:
            self._agent.ask({"do": "close", "session": number})

    def trace(self, graph: Graph, *, runs: int) -> Trace:
        """Run ``graph`` with the runtime's profiler on, over there."""
        plain = self._site.send(graph)
        asked = {"do": "trace", "graph": plain, "runs": runs}
        said = self._agent.ask(asked, timeout_s=10 * ANSWER_S)
        return Trace(
            kernels=tuple(Kernel(**kernel) for kernel in said["kernels"]),
            optimized=base64.b64decode(said["optimized"]),
        )
