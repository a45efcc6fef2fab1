"""A device made of arithmetic: every claim about noise is tested on it, without hardware.

A graph costs the sum of its nodes, by their multiply-accumulates and bytes, plus a layout
conversion where it begins and ends, so that isolated operators are as misleading here as they are
on a real runtime. Time is simulated too: nothing waits, and the clock advances by what was run.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import prod

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.reference import ReferenceEvaluator

from devices.backend import Session, Tensors
from devices.errors import UnsupportedGraph
from devices.graph import Graph, Shape
from devices.host import LoadReading
from devices.spec import DeviceSpec, Simulation

FREE = {"Identity", "Relu", "Clip", "HardSwish", "HardSigmoid", "Flatten", "Constant", "Reshape"}
"""Nodes that a runtime fuses into their neighbour or that compute nothing."""


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

    def spend(self, latency_s: float) -> float:
        """Run for a nominal time; return what it took, with all that disturbs it."""
        s = self.simulation
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
    """

    host: SimulatedHost
    latency_s: float
    model: onnx.ModelProto

    def run(self, inputs: Tensors) -> Tensors:
        """Compute the outputs in plain numpy; slow, and right."""
        names = [output.name for output in self.model.graph.output]
        return dict(zip(names, ReferenceEvaluator(self.model).run(None, dict(inputs)), strict=True))

    def time(self, repeats: int) -> float:
        """Let simulated time pass; return how much it was."""
        return sum(self.host.spend(self.latency_s) for _ in range(repeats))


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
    def open(self, graph: Graph) -> Iterator[Session]:
        """Price the graph."""
        digest = hashlib.sha256(graph.onnx).digest()
        if digest[0] < 256 * self._simulation.fault_share:
            raise UnsupportedGraph("the simulated device refuses this graph, as it was told to")
        model = _with_shapes(graph)
        latency_s = _latency_s(model, self._simulation) * self._factor / self._threads
        yield SimulatedSession(self.host, latency_s, model)


def _with_shapes(graph: Graph) -> onnx.ModelProto:
    """Read a graph and infer all its shapes.

    Raises:
        UnsupportedGraph: It is no ONNX, or has a node that ONNX does not define.
    """
    try:
        model = onnx.load_from_string(graph.onnx)
        strange = [n.op_type for n in model.graph.node if not onnx.defs.has(n.op_type, n.domain)]
        if strange or not model.graph.node:
            what = f"ONNX defines no {', '.join(strange)}" if strange else "it has no nodes"
            raise UnsupportedGraph(f"the simulated device refuses the graph: {what}")
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)
    except (DecodeError, onnx.shape_inference.InferenceError) as error:
        why = " ".join(str(error).split())[:300]
        raise UnsupportedGraph(f"the simulated device refuses the graph: {why}") from error


def _latency_s(model: onnx.ModelProto, simulation: Simulation) -> float:
    """Return the seconds of one undisturbed run."""
    graph = model.graph
    shapes = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    } | {weight.name: tuple(weight.dims) for weight in graph.initializer}
    ends = sum(prod(shapes[end.name]) for end in (*graph.input, *graph.output))
    nodes = sum(_node_s(node, shapes, simulation) for node in graph.node)
    return nodes + 4 * ends / simulation.bytes_per_s


def _node_s(node: onnx.NodeProto, shapes: Mapping[str, Shape], simulation: Simulation) -> float:
    if node.op_type in FREE:
        return 0.0
    size = prod(shapes[node.output[0]])
    if node.op_type == "Conv":
        _, per_group, *kernel = shapes[node.input[1]]
        depthwise = per_group == 1
        rate = simulation.depthwise_macs_per_s if depthwise else simulation.dense_macs_per_s
        return simulation.node_s + size * per_group * prod(kernel) / rate
    if node.op_type == "Gemm":
        return simulation.node_s + prod(shapes[node.input[1]]) / simulation.dense_macs_per_s
    read = sum(prod(shapes[name]) for name in node.input if name)
    return simulation.node_s + 4 * (size + read) / simulation.bytes_per_s
