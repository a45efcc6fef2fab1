"""The device's end of `devices.remote.agent_site`: answers questions about itself, one line each.

A question is a line of JSON, ``{"n": NUMBER, "do": NAME, ...}``; the answer is one of the same
number: ``{"n": NUMBER, "is": VALUE}`` or ``{"n": NUMBER, "error": KIND, "why": TEXT}``. Who gave a
question up can so tell its late answer from the next one's. Graphs come as files, see
`devices.remote.agent_site`.
"""

import base64
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from devices.backend import Backend, Session, backend_for
from devices.errors import (
    DeviceUnavailable,
    InvalidFile,
    LatkitError,
    OutOfMemory,
    UnsupportedGraph,
)
from devices.graph import Graph
from devices.remote.plain import array_from_plain, array_to_plain, device_from_plain

ERRORS: dict[str, type[LatkitError]] = {
    kind.__name__: kind for kind in (DeviceUnavailable, InvalidFile, OutOfMemory, UnsupportedGraph)
}
"""Errors that keep their kind on the way; any other becomes one that says no more than its text."""


def graph_at(folder: Path, plain: Mapping[str, Any]) -> Graph:
    """Read a graph that was sent as a file.

    Args:
        folder: Where graphs are.
        plain: Its ``file``, and ``inputs`` and ``dtypes`` as in `Graph`; ``outside`` if weights lie
            in files of its own.
    """
    return Graph(
        onnx=(folder / plain["file"]).read_bytes(),
        inputs=tuple((name, tuple(shape)) for name, shape in plain["inputs"]),
        dtypes=tuple(plain["dtypes"]),
        folder=folder / plain["outside"] if plain["outside"] else None,
    )


def private_stdout() -> IO[str]:
    """Return the output stream, and let what runtimes print go to the error stream."""
    ours = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return ours


def serve(folder: Path) -> None:
    """Answer until the questions end. The first one must be ``device``.

    Args:
        folder: Where graphs are.
    """
    answers = private_stdout()
    device: _Served | None = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if device is None:
                spec = device_from_plain(question["device"])
                device = _Served(folder, backend_for(spec, replicate=question["replicate"]))
                answer: Any = None
            else:
                answer = device.answer(question)
            said = {"is": answer}
        except LatkitError as error:
            said = {"error": type(error).__name__, "why": str(error)}
        answers.write(json.dumps({"n": question["n"], **said}) + "\n")
    if device is not None:
        device.close()


class _Served:
    """A backend and the sessions that are open on it."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        self._folder, self._backend = folder, backend
        self._open: dict[int, tuple[AbstractContextManager[Session], Session]] = {}
        self._opened = 0
        self._asked: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "environment": lambda _: dict(self._backend.environment()),
            "clock": lambda _: self._backend.host.clock(),
            "rest": lambda asked: self._backend.host.rest(asked["seconds"]),
            "load": self._load,
            "preflight": lambda _: list(self._backend.host.preflight()),
            "open": self._open_graph,
            "run": self._run,
            "time": lambda asked: self._open[asked["session"]][1].time(asked["repeats"]),
            "time each": lambda asked: self._open[asked["session"]][1].time_each(asked["runs"]),
            "close": self._close_graph,
            "trace": self._trace,
        }

    def answer(self, asked: Mapping[str, Any]) -> Any:
        """Return the answer to a question, as plain data."""
        return self._asked[asked["do"]](asked)

    def close(self) -> None:
        """Close what is open."""
        for context, _ in self._open.values():
            context.__exit__(None, None, None)

    def _load(self, _: Mapping[str, Any]) -> dict[str, float] | None:
        reading = self._backend.host.load()
        return None if reading is None else asdict(reading)

    def _open_graph(self, asked: Mapping[str, Any]) -> int:
        context = self._backend.open(
            graph_at(self._folder, asked["graph"]), threads=asked["threads"]
        )
        session = context.__enter__()
        self._opened += 1
        self._open[self._opened] = (context, session)
        return self._opened

    def _close_graph(self, asked: Mapping[str, Any]) -> None:
        context, _ = self._open.pop(asked["session"])
        context.__exit__(None, None, None)

    def _run(self, asked: Mapping[str, Any]) -> dict[str, str]:
        inputs = {name: array_from_plain(text) for name, text in asked["inputs"].items()}
        outputs = self._open[asked["session"]][1].run(inputs)
        return {name: array_to_plain(array) for name, array in outputs.items()}

    def _trace(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        trace = self._backend.trace(graph_at(self._folder, asked["graph"]), runs=asked["runs"])
        return {
            "kernels": [asdict(kernel) for kernel in trace.kernels],
            "optimized": base64.b64encode(trace.optimized).decode(),
        }
