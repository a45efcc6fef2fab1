"""Runtimes that are no ONNX Runtime, in a Python of their own: sessions as those of a backend."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from devices import Graph

WORKER = Path(__file__).with_name("peer_worker.py")

MODULES = {"MNN": ("mnn", "MNN"), "ncnn": ("ncnn", "ncnn")}
"""Name of a peer, what the worker calls it, and the module that it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignPeer:
    """A runtime that somebody installed.

    Attributes:
        kind: What the worker calls it.
        python: Where it is installed, with its converter.
        threads: Of each run.
    """

    kind: str
    python: Path
    threads: int

    @contextmanager
    def open(self, graph: Graph) -> Iterator["ForeignSession"]:
        """Convert a graph and load it, in a fresh process."""
        ((_, shape),) = graph.inputs
        with TemporaryDirectory(prefix="latkit-") as name:
            folder = Path(name)
            (folder / "model.onnx").write_bytes(graph.onnx)
            words: list[str | Path] = [
                self.python,
                WORKER,
                self.kind,
                folder / "model.onnx",
                folder,
            ]
            words += [str(self.threads), ",".join(map(str, shape))]
            log = folder / "log"
            with (
                log.open("w") as errors,
                subprocess.Popen(
                    words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    bufsize=1,
                ) as process,
            ):
                assert process.stdin is not None  # both are pipes
                assert process.stdout is not None
                if process.stdout.readline() != "ready\n":
                    raise RuntimeError(f"{self.kind} cannot run this network: {log.read_text()}")
                yield ForeignSession(process.stdin, process.stdout, folder)
                process.stdin.close()


class ForeignSession:
    """A network that another process has loaded.

    Args:
        asks: Its input.
        answers: Its output.
        folder: Where images and outputs lie.
    """

    def __init__(self, asks: IO[str], answers: IO[str], folder: Path) -> None:
        self._asks, self._answers, self._folder = asks, answers, folder

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the output for one batch of images."""
        (images,) = inputs.values()
        np.save(self._folder / "input.npy", images)
        self._ask("run")
        return {"logits": np.load(self._folder / "output.npy")}

    def time(self, runs: int) -> float:
        """Return the seconds of so many runs."""
        return sum(self.time_each(runs))

    def time_each(self, runs: int) -> tuple[float, ...]:
        """Return the seconds of each of so many runs."""
        return tuple(self._ask([runs]))

    def _ask(self, what: Any) -> Any:
        print(json.dumps(what), file=self._asks)
        return json.loads(self._answers.readline())


def foreign_peers(python: Path, *, threads: int) -> dict[str, ForeignPeer]:
    """Return the runtimes that a Python has, by name."""
    return {
        name: ForeignPeer(kind=kind, python=python, threads=threads)
        for name, (kind, module) in MODULES.items()
        if subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0
    }
