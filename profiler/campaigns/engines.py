"""What is noted of engines while a campaign goes on, and what is learned before it begins."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from devices import DeviceSpec, UnsupportedGraph, backend_for
from devices.errors import OutOfMemory
from devices.nvidia.engine_facts import BuildsEngines, EngineFacts
from profiler.operators.graphs import as_run_on
from profiler.operators.ops import Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What an engine turned out to be that a process timed for the first time.

    Attributes:
        number: Which graph.
        facts: How long it took to build and to load, what it computes in, what it waits for.
    """

    number: int
    facts: EngineFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A step of `learning_stream`.

    Attributes:
        done: Graphs that were built.
        timing_cache: What is known of kernels; empty but for the last step.
    """

    done: int
    timing_cache: bytes = b""


def learning_stream(device: DeviceSpec, chains: Sequence[Chain]) -> Iterator[Learned]:
    """Build every graph once; what is refused, or finds no memory, is left out.

    For `profiler.campaigns.process.in_fresh_process`.

    Args:
        device: Where; it builds engines.
        chains: What to build.
    """
    backend = backend_for(device)
    assert isinstance(backend, BuildsEngines)  # see `lut.timing_cache`
    for done, chain in enumerate(chains, start=1):
        with suppress(UnsupportedGraph, OutOfMemory):  # the campaign will say why
            backend.engine_facts(as_run_on(device, chain))
        yield Learned(done=done)
    yield Learned(done=len(chains), timing_cache=backend.timing_cache())
