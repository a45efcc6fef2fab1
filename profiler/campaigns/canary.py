"""How a canary is kept beside what is timed.

The canary is a fixed graph: when it slows down, the device does. It stays loaded, with one thread,
and is timed between the samples: two sessions with threads of their own would spin on each other's
CPUs. Whether the threads of a device have a core each, a second graph tells; it runs on all of
them, before and after a slice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from devices import Backend, Graph
from profiler.campaigns.measure import Pace, Reference, Samples, take_cold_samples, take_samples

READINGS = 4
"""Samples behind one answer to whether threads have a core each."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A canary that is loaded and ready.

    Attributes:
        backend: The device.
        reference: Times it.
        pace: Time for each slice.
    """

    backend: Backend
    reference: Reference
    pace: Pace

    def seconds(self) -> float:
        """Return seconds per run of the canary alone, timed for as long as a slice takes."""
        host = self.backend.host
        canaries_s: list[float] = []
        start = host.clock()
        while not canaries_s or host.clock() - start < self.pace.slice_s:
            canaries_s.append(self.reference.time())
        return median(canaries_s)

    def slice(self, graph: Graph, *, cold: bool = False) -> Samples:
        """Load a graph and take a slice of it, the canary between the samples.

        Args:
            graph: What to time.
            cold: Whether each run shall find its weights displaced.

        Raises:
            UnsupportedGraph: The device cannot run it.
            Unmeasurable: It computes nothing.
        """
        with self.backend.open(graph) as session:
            if cold:
                return take_cold_samples(session, self.reference)
            return take_samples(session, self.pace, self.reference)


@contextmanager
def loaded_canary(backend: Backend, graph: Graph, pace: Pace) -> Iterator[Canary]:
    """Load the canary anew: where its memory lies must not decide a whole process.

    Args:
        backend: The device.
        graph: What the canary is.
        pace: Time for each slice.
    """
    with backend.open(graph, threads=1) as session:
        yield Canary(backend, Reference(session, pace), pace)


def seconds_on(backend: Backend, graph: Graph, pace: Pace, *, threads: int | None = None) -> float:
    """Return seconds per run of a graph by itself.

    Args:
        backend: The device.
        graph: What to time.
        pace: Time for each sample.
        threads: That it is spread over; None for all of the device.
    """
    with backend.open(graph, threads=threads) as session:
        reference = Reference(session, pace)
        return median(reference.time() for _ in range(READINGS))
