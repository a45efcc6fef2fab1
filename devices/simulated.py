"""A device made of arithmetic: every claim about noise is tested on it, without hardware.

A graph costs the sum of its nodes, by their multiply-accumulates and bytes, plus a layout
conversion where it begins and ends, so that isolated operators are as misleading here as they are
on a real runtime. Time is simulated too: nothing waits, and the clock advances by what was run.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from math import prod
from statistics import median

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from devices.backend import Session, Tensors
from devices.errors import UnsupportedGraph
from devices.graph import Graph, Shape
from devices.graphs.tensor_shapes import tensor_shapes, with_shapes
from devices.host import LoadReading
from devices.kernels import Kernel, Trace
from devices.spec import DeviceSpec, Simulation

FREE = {"Identity", "Relu", "Clip", "HardSwish", "HardSigmoid", "Flatten", "Constant", "Reshape"}
"""Nodes that a runtime fuses into their neighbour or that compute nothing."""

QUANTIZING = {"QuantizeLinear", "DequantizeLinear"}
"""Nodes around one that is computed in 8-bit integers; it takes them up."""

INT8_SPEEDUP = 2.0
"""Multiply-accumulates of 8-bit integers in the time of one of floats."""


@dataclass(slots=True)
class SimulatedHost:
    """The clock of a simulated device, and what else happens on it.

    Attributes:
        simulation: The arithmetic.
        rng: Source of the noise.
        now_s: Seconds since the device was made.
        hot_s: Busy seconds since it last had a rest.
        own_s: Busy seconds in all.
    """

    simulation: Simulation
    rng: np.random.Generator
    now_s: float = 0.0
    hot_s: float = 0.0
    own_s: float = 0.0
    _other_s: float = field(default=0.0, init=False)

    def clock(self) -> float:
        """Return the simulated time."""
        return self.now_s

    def rest(self, seconds: float) -> None:
        """Let simulated time pass; the device cools as fast as it heats."""
        self.now_s += seconds
        self.hot_s = max(0.0, self.hot_s - seconds)

    def load(self) -> LoadReading:
        """Return the counters, other work included."""
        return LoadReading(
            at_s=self.now_s,
            busy_s=self.own_s + self._other_s,
            own_s=self.own_s,
            waited_s=0.0,
            stolen_s=0.0,
            cpus=1,
        )

    def preflight(self) -> tuple[str, ...]:
        """Return what is switched on that speaks against measuring."""
        doubts = []
        if self.simulation.load_period_s:
            doubts.append(f"other work runs {self.simulation.load_share:.0%} of the time")
        if self.simulation.throttle_after_s:
            doubts.append(f"throttles after {self.simulation.throttle_after_s:g} busy seconds")
        return tuple(doubts)

    def spend(self, latency_s: float, *, threads: int = 1) -> float:
        """Run for a nominal time; return what it took, with all that disturbs it."""
        s = self.simulation
        if (
            s.shared_period_s
            and self.now_s % s.shared_period_s < s.shared_share * s.shared_period_s
        ):
            latency_s *= threads
        took_s = latency_s * max(0.1, 1.0 + s.noise * float(self.rng.standard_normal()))
        took_s *= 1.0 + s.drift_per_s * self.now_s
        if s.throttle_after_s and self.hot_s > s.throttle_after_s:
            took_s *= s.throttle_factor
        if s.load_period_s and self.now_s % s.load_period_s < s.load_share * s.load_period_s:
            took_s *= s.load_factor
            self._other_s += took_s * (1 - 1 / s.load_factor)
            self.own_s -= took_s * (1 - 1 / s.load_factor)
        self.now_s += took_s
        self.hot_s += took_s
        self.own_s += took_s
        return took_s


@dataclass(slots=True)
class SimulatedSession:
    """A graph with a price.

    Attributes:
        host: Where its time passes.
        latency_s: Seconds of one undisturbed run.
        model: What it computes.
        threads: That it is spread over.
    """

    host: SimulatedHost
    latency_s: float
    model: onnx.ModelProto
    threads: int = 1

    def run(self, inputs: Tensors) -> Tensors:
        """Compute the outputs in plain numpy; slow, and right."""
        names = [output.name for output in self.model.graph.output]
        model = self.model
        if any(node.op_type in QUANTIZING for node in model.graph.node):
            model = onnx.version_converter.convert_version(model, 19)  # its first to evaluate those
        return dict(zip(names, ReferenceEvaluator(model).run(None, dict(inputs)), strict=True))

    def time(self, repeats: int) -> float:
        """Let simulated time pass; return how much it was."""
        runs = (self.host.spend(self.latency_s, threads=self.threads) for _ in range(repeats))
        return sum(runs)

    def time_each(self, runs: int) -> tuple[float, ...]:
        """Let the time of one run after the other pass; return how much each was."""
        return tuple(self.time(1) for _ in range(runs))


class Simulated:
    """A backend whose clock is computed.

    Args:
        device: Its ``simulation`` holds the arithmetic.
        replicate: Which process this is: each has its own noise, and is a little faster or slower.
    """

    def __init__(self, device: DeviceSpec, *, replicate: int = 0) -> None:
        self._simulation = device.simulation or Simulation()
        self._threads = device.threads
        rng = np.random.default_rng((self._simulation.seed, replicate))
        self._factor = 1.0 + self._simulation.process_noise * float(rng.standard_normal())
        self.host = SimulatedHost(self._simulation, rng)

    def environment(self) -> Mapping[str, str]:
        """Return the arithmetic: simulated time depends on nothing else."""
        return {name: str(value) for name, value in asdict(self._simulation).items()}

    @contextmanager
    def open(self, graph: Graph, *, threads: int | None = None) -> Iterator[Session]:
        """Price the graph."""
        model, kernels = self._priced(graph, threads=threads)
        latency_s = sum(kernel.latency_s for kernel in kernels)
        s = self._simulation
        if s.misplaced_share and self.host.rng.random() < s.misplaced_share:
            latency_s *= s.misplaced_factor
        yield SimulatedSession(self.host, latency_s, model, threads or self._threads)

    def trace(self, graph: Graph, *, runs: int) -> Trace:
        """Let every kernel take its time; there is no profiler that would slow them down."""
        model, kernels = self._priced(graph)
        took = [[self.host.spend(kernel.latency_s) for kernel in kernels] for _ in range(runs)]
        middle = [median(seconds) for seconds in zip(*took, strict=True)]
        ran = [replace(kernel, latency_s=s) for kernel, s in zip(kernels, middle, strict=True)]
        return Trace(kernels=tuple(ran), optimized=model.SerializeToString())

    def _priced(
        self, graph: Graph, *, threads: int | None = None
    ) -> tuple[onnx.ModelProto, list[Kernel]]:
        """Return the graph with its shapes, and what each part of it costs undisturbed."""
        digest = hashlib.sha256(graph.onnx).digest()
        if digest[0] < 256 * self._simulation.fault_share:
            raise UnsupportedGraph("the simulated device refuses this graph, as it was told to")
        model = with_shapes(graph, reader="the simulated device")
        kernels = _kernels(model, graph, self._simulation)
        factor = self._factor / (threads or self._threads)
        return model, [replace(kernel, latency_s=kernel.latency_s * factor) for kernel in kernels]


def _kernels(model: onnx.ModelProto, graph: Graph, simulation: Simulation) -> list[Kernel]:
    """Return what an undisturbed run spends on each node and on conversions at the ends."""
    shapes = tensor_shapes(model.graph)
    outputs = (end.name for end in model.graph.output)
    ends = sum(prod(shapes[name]) for name in (*dict(graph.inputs), *outputs))
    reorder_s = 4 * ends / simulation.bytes_per_s
    return [
        *_node_kernels(model.graph, _padded(shapes, simulation.channel_step), simulation),
        Kernel(name="ends", op="Reorder", latency_s=reorder_s),
    ]


def _node_kernels(
    graph: onnx.GraphProto, shapes: Mapping[str, Shape], simulation: Simulation
) -> Iterator[Kernel]:
    """Yield the nodes that cost something, those of all branches and loop bodies once."""
    integers = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.op_type not in FREE | QUANTIZING:
            name = node.name or node.output[0]
            int8 = not integers.isdisjoint(node.input)
            latency_s = _node_s(node, shapes, simulation, int8=int8)
            yield Kernel(name=name, op=node.op_type, latency_s=latency_s)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                inner = {**shapes, **_padded(tensor_shapes(attribute.g), simulation.channel_step)}
                yield from _node_kernels(attribute.g, inner, simulation)


def _padded(shapes: Mapping[str, Shape], step: int) -> dict[str, Shape]:
    """Return shapes as they lie in memory between the ends: channels fill whole steps.

    That holds for images and for the input channels of weights; a single channel, which a
    depthwise weight has, stays one.
    """
    return {
        name: (shape[0], -(-shape[1] // step) * step, *shape[2:])
        if len(shape) > 2 and shape[1] > 1
        else shape
        for name, shape in shapes.items()
    }


def _node_s(
    node: onnx.NodeProto, shapes: Mapping[str, Shape], simulation: Simulation, *, int8: bool
) -> float:
    """Return the seconds of a node that is computed in 8-bit integers or in floats."""
    size = _size(shapes, node.output[:1])
    speedup, number_bytes = (INT8_SPEEDUP, 1) if int8 else (1.0, 4)
    weight = shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
    if node.op_type == "Conv" and len(weight) > 2:
        _, per_group, *kernel = weight
        depthwise = per_group == 1
        rate = simulation.depthwise_macs_per_s if depthwise else simulation.dense_macs_per_s
        return simulation.node_s + size * per_group * prod(kernel) / (rate * speedup)
    if node.op_type == "Gemm":
        return simulation.node_s + prod(weight) / (simulation.dense_macs_per_s * speedup)
    moved = number_bytes * (size + _size(shapes, node.input))
    return simulation.node_s + moved / simulation.bytes_per_s


def _size(shapes: Mapping[str, Shape], names: Iterable[str]) -> int:
    """Count the numbers in tensors; what nobody knows the shape of counts as one."""
    return sum(prod(shapes.get(name, ())) for name in names if name)
