"""An engine that is loaded on a GPU: run it, and time it by the GPU's own clock.

What is timed stays on the GPU: inputs are resident, batches do not overlap, and the time is taken
by events around runs that are queued one behind the other on one stream. Whether an inference is
launched whole, as a CUDA graph, or kernel by kernel is the device's, and the same for everything
that it times: a difference of unlike timings means nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from devices.backend import Tensors
from devices.errors import UnsupportedGraph
from devices.graph import Graph, Shape
from devices.graphs.inputs import example_inputs
from devices.nvidia.cuda_memory import Address, Cuda, Event, LaunchGraph, Stream

EVICTING = 2
"""Bytes that are overwritten to empty a cache, for one byte of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTensor:
    """An input or an output of an engine.

    Attributes:
        name: In the graph.
        shape: Every size of it.
        dtype: NumPy name of its type.
        is_input: Whether it is fed.
    """

    name: str
    shape: Shape
    dtype: str
    is_input: bool

    @property
    def size_bytes(self) -> int:
        """Bytes of its numbers."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


class Engine(Protocol):
    """An engine that is loaded, whose kernels can be queued."""

    def tensors(self) -> Sequence[EngineTensor]:
        """Return its inputs and outputs; a size that depends on the data is negative."""
        ...

    def place(self, name: str, address: Address) -> None:
        """Say where an input or an output lies."""
        ...

    def enqueue(self, stream: int) -> None:
        """Queue one run on a stream, given by its handle; return before it is done.

        Raises:
            UnsupportedGraph: The runtime cannot run it.
        """
        ...


@dataclass(slots=True, kw_only=True)
class CudaSession:
    """A loaded engine with its memory.

    Attributes:
        cuda: The GPU.
        engine: What runs.
        places: Every input and output with its address.
        stream: Where it runs.
        events: Two, around what is timed.
        graph: A run of the engine, to be launched whole; None to launch it kernel by kernel.
        evicting: Memory and its size that is overwritten before each run that is timed; None to
            leave the caches alone.
        now: Seconds by the CPU's clock.
        queued_s: What the CPU has spent on queueing runs that were timed.
        ran_s: What the GPU took for them.
    """

    cuda: Cuda
    engine: Engine
    places: Mapping[EngineTensor, Address]
    stream: Stream
    events: tuple[Event, Event]
    graph: LaunchGraph | None = None
    evicting: tuple[Address, int] | None = None
    now: Callable[[], float] = perf_counter
    queued_s: float = 0.0
    ran_s: float = 0.0

    @property
    def queue_share(self) -> float | None:
        """Seconds of the CPU for one of the GPU, over all runs that were timed; None of none.

        Samples hold fewer kernels than fit into a queue, so a GPU that is behind holds up nobody.
        """
        return self.queued_s / self.ran_s if self.ran_s > 0.0 else None

    def run(self, inputs: Tensors) -> Tensors:
        """Return the outputs for ``inputs``, which stay resident for what is timed next."""
        outputs: dict[str, NDArray[Any]] = {}
        for tensor, address in self.places.items():
            if tensor.is_input:
                self.cuda.upload(_fitting(inputs[tensor.name], tensor), address)
        self._launch()
        self.cuda.wait(self.stream)
        for tensor, address in self.places.items():
            if not tensor.is_input:
                outputs[tensor.name] = np.empty(tensor.shape, tensor.dtype)
                self.cuda.download(address, outputs[tensor.name])
        return outputs

    def time(self, repeats: int) -> float:
        """Run ``repeats`` times; return the seconds between two events around them."""
        if self.evicting is not None:
            return sum(self._once_cold(*self.evicting) for _ in range(repeats))
        start, end = self.events
        began_s = self.now()
        self.cuda.record(start, self.stream)
        for _ in range(repeats):
            self._launch()
        self.cuda.record(end, self.stream)
        self.queued_s += self.now() - began_s
        elapsed_s = self.cuda.elapsed_s(start, end)
        self.ran_s += elapsed_s
        return elapsed_s

    def time_each(self, runs: int) -> tuple[float, ...]:
        """Run one at a time; return the seconds of each."""
        return tuple(self.time(1) for _ in range(runs))

    def _once_cold(self, address: Address, size: int) -> float:
        """Return the seconds of one run right after the cache was overwritten.

        While it is, the run is queued already, so the GPU does not wait for the CPU in between.
        """
        start, end = self.events
        self.cuda.overwrite(address, size, self.stream)
        self.cuda.record(start, self.stream)
        self._launch()
        self.cuda.record(end, self.stream)
        return self.cuda.elapsed_s(start, end)

    def _launch(self) -> None:
        if self.graph is None:
            self.engine.enqueue(self.cuda.handle(self.stream))
        else:
            self.cuda.launch(self.graph, self.stream)


@contextmanager
def cuda_session(
    cuda: Cuda,
    engine: Engine,
    graph: Graph,
    *,
    whole: bool,
    cold_l2: bool,
    now: Callable[[], float] = perf_counter,
) -> Iterator[CudaSession]:
    """Give an engine memory, example inputs and a stream, until the context ends.

    Args:
        cuda: The GPU.
        engine: Loaded on it.
        graph: What it was built from.
        whole: Whether a run is launched as a CUDA graph.
        cold_l2: Whether the level-2 cache is overwritten before every run that is timed.
        now: Seconds by the CPU's clock.

    Raises:
        OutOfMemory: The GPU has too little left.
        UnsupportedGraph: The engine cannot be run, or not as a CUDA graph.
    """
    with ExitStack() as stack:
        stream = cuda.new_stream()
        stack.callback(cuda.close_stream, stream)
        events = cuda.new_event(), cuda.new_event()
        for event in events:
            stack.callback(cuda.close_event, event)
        session = CudaSession(
            cuda=cuda,
            engine=engine,
            places=_placed(cuda, engine, stack),
            stream=stream,
            events=events,
            now=now,
        )
        session.run(example_inputs(graph))  # the first run may load kernels, which no graph holds
        if whole:
            session.graph = cuda.capture(stream, lambda: engine.enqueue(cuda.handle(stream)))
            stack.callback(cuda.close_graph, session.graph)
        if cold_l2:
            size = EVICTING * cuda.facts().l2_bytes
            session.evicting = _allocated(cuda, size, stack), size
        yield session


def _placed(cuda: Cuda, engine: Engine, stack: ExitStack) -> dict[EngineTensor, Address]:
    """Return memory for every input and output, and tell the engine."""
    places = {}
    for tensor in engine.tensors():
        if min(tensor.shape, default=0) < 0:
            raise UnsupportedGraph(f"the size of output {tensor.name!r} depends on the data")
        places[tensor] = _allocated(cuda, tensor.size_bytes, stack)
        engine.place(tensor.name, places[tensor])
    return places


def _allocated(cuda: Cuda, size: int, stack: ExitStack) -> Address:
    address = cuda.allocate(size)
    stack.callback(cuda.free, address)
    return address


def _fitting(array: NDArray[Any], tensor: EngineTensor) -> NDArray[Any]:
    """Return an input as the engine reads it.

    Raises:
        UnsupportedGraph: It has another shape.
    """
    if array.shape != tensor.shape:
        raise UnsupportedGraph(
            f"input {tensor.name!r} of the engine is {tensor.shape}, not {array.shape}"
        )
    return np.ascontiguousarray(array, dtype=tensor.dtype).reshape(tensor.shape)
