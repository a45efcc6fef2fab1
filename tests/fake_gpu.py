"""A GPU whose memory is a dictionary and whose clock is arithmetic: it fakes time, not TensorRT.

What is queued runs at once, and takes its time by two clocks, those of the CPU that queues and of
the GPU that computes. NVML's fake counts what the GPU did.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from devices import DeviceSpec, Graph, Session, Trace
from devices.graphs.inputs import example_inputs
from devices.nvidia.cuda_memory import GpuFacts, cuda_error
from devices.nvidia.cuda_session import EngineTensor, cuda_session
from devices.nvidia.engine_facts import EngineFacts
from devices.nvidia.nvml_host import NvmlHost
from devices.simulated import Simulated, SimulatedSession
from devices.spec import Simulation

PID = 4711

STRAYING_BATCH = 13
"""A fake GPU of this batch computes in another precision than it is asked for."""

FACTS = GpuFacts(
    name="NVIDIA Fake 1000",
    compute_capability="8.9",
    l2_bytes=1 << 20,
    bus_id="0000:01:00.0",
    cuda="13.0",
)


@dataclass(slots=True)
class FakeCuda:
    """Memory and time.

    Attributes:
        launch_s: What the CPU spends to queue a kernel, or a graph of any size.
        capacity: Bytes of memory.
        cpu_s: The CPU's clock.
        gpu_s: When the GPU will have done what is queued.
        busy_s: What it has worked in all.
        memory: Address to content.
        launches: How many were queued.
        open: Streams, events and graphs that were not closed yet.
        capturable: Whether engines can be captured.
    """

    launch_s: float = 1e-6
    capacity: int = 1 << 30
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    busy_s: float = 0.0
    memory: dict[int, bytearray] = field(default_factory=dict)
    launches: int = 0
    open: set[int] = field(default_factory=set)
    capturable: bool = True
    _marks: dict[int, float] = field(default_factory=dict)
    _graphs: dict[int, list[Callable[[], float]]] = field(default_factory=dict)
    _capturing: list[Callable[[], float]] | None = None
    _named: int = 0

    def facts(self) -> GpuFacts:
        return FACTS

    def allocate(self, size: int) -> int:
        if sum(map(len, self.memory.values())) + size > self.capacity:
            raise cuda_error("cudaErrorMemoryAllocation", doing=f"allocate {size}", index=0)
        address = self._name()
        self.memory[address] = bytearray(size)
        return address

    def free(self, address: int) -> None:
        del self.memory[address]

    def upload(self, array: NDArray[Any], address: int) -> None:
        self.wait(0)
        self.memory[address][:] = array.tobytes()

    def download(self, address: int, array: NDArray[Any]) -> None:
        self.wait(0)
        array[...] = np.frombuffer(bytes(self.memory[address]), array.dtype).reshape(array.shape)

    def overwrite(self, address: int, size: int, stream: Any) -> None:
        assert len(self.memory[address]) == size
        self.queue(lambda: 1e-6)

    def new_stream(self) -> int:
        return self._opened()

    def close_stream(self, stream: int) -> None:
        self.open.remove(stream)

    def handle(self, stream: int) -> int:
        return stream

    def wait(self, stream: int) -> None:
        self.cpu_s = max(self.cpu_s, self.gpu_s)

    def new_event(self) -> int:
        return self._opened()

    def close_event(self, event: int) -> None:
        self.open.remove(event)

    def record(self, event: int, stream: int) -> None:
        self._marks[event] = max(self.cpu_s, self.gpu_s)

    def elapsed_s(self, start: int, end: int) -> float:
        self.cpu_s = max(self.cpu_s, self._marks[end])
        return self._marks[end] - self._marks[start]

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        if not self.capturable:
            raise cuda_error("cudaErrorStreamCaptureUnsupported", doing="capture", index=0)
        self._capturing = []
        work()
        graph = self._opened()
        self._graphs[graph], self._capturing = self._capturing, None
        return graph

    def launch(self, graph: int, stream: int) -> None:
        kernels = self._graphs[graph]
        self._run(lambda: sum(kernel() for kernel in kernels))

    def close_graph(self, graph: int) -> None:
        self.open.remove(graph)

    def queue(self, kernel: Callable[[], float]) -> None:
        """Queue a kernel: it does its work and says how long that took."""
        if self._capturing is None:
            self._run(kernel)
        else:
            self._capturing.append(kernel)

    def sleep(self, seconds: float) -> None:
        self.cpu_s += seconds

    def _run(self, kernel: Callable[[], float]) -> None:
        self.launches += 1
        self.cpu_s += self.launch_s
        took_s = kernel()
        self.gpu_s = max(self.gpu_s, self.cpu_s) + took_s
        self.busy_s += took_s

    def _opened(self) -> int:
        self.open.add(name := self._name())
        return name

    def _name(self) -> int:
        self._named += 1
        return self._named


@dataclass(slots=True)
class FakeEngine:
    """A graph that the simulated device computes, in so many kernels."""

    cuda: FakeCuda
    session: SimulatedSession
    graph: Graph
    kernels: int = 4
    places: dict[str, int] = field(default_factory=dict)
    _held: dict[str, bytearray] = field(default_factory=dict)

    def tensors(self) -> Sequence[EngineTensor]:
        inputs = [
            EngineTensor(name=name, shape=shape, dtype=dtype, is_input=True)
            for name, shape, dtype in self.graph.typed_inputs
        ]
        open_ = {name for node in self.session.model.graph.node for name in _open(node)}
        outputs = [
            EngineTensor(
                name=name,
                shape=(-1,) if name in open_ else value.shape,
                dtype=value.dtype.name,
                is_input=False,
            )
            for name, value in self.session.run(example_inputs(self.graph)).items()
        ]
        return inputs + outputs

    def place(self, name: str, address: int) -> None:
        self.places[name] = address

    def enqueue(self, stream: int) -> None:
        for _ in range(self.kernels - 1):
            self.cuda.queue(lambda: self.session.latency_s / self.kernels)
        self.cuda.queue(self._last)

    def _last(self) -> float:
        memory = self.cuda.memory
        held = {name: memory[self.places[name]] for name, _, _ in self.graph.typed_inputs}
        if held != self._held:  # it is timed again and again with the same inputs
            self._held = {name: bytearray(content) for name, content in held.items()}
            inputs = {
                name: np.frombuffer(self._held[name], dtype).reshape(shape)
                for name, shape, dtype in self.graph.typed_inputs
            }
            for name, value in self.session.run(inputs).items():
                memory[self.places[name]][:] = np.ascontiguousarray(value).tobytes()
        return self.session.latency_s / self.kernels


def _open(node: NodeProto) -> Sequence[str]:
    """Return the results of a node whose size depends on what it reads."""
    return node.output if node.op_type == "NonZero" else ()


class NVMLError(Exception):
    """What NVML raises."""


class NVMLError_NotFound(NVMLError):  # noqa: N801 - as it is called there
    """That there is nothing to report yet."""


@dataclass(slots=True)
class FakeNvml:
    """What NVML says of a fake GPU.

    Attributes:
        cuda: The GPU.
        others: Number of a process to the share of the GPU that it has, in percent.
        held_s: How long a limit of power has held the clock down.
        reasons: Bits of why the clock is no higher.
        missing: Functions that this GPU has not.
        root: Whether clocks may be locked.
        locked: At what they are, in MHz.
        visible: Whether NVML lists this process.
    """

    cuda: FakeCuda
    others: dict[int, int] = field(default_factory=dict)
    held_s: float = 0.0
    reasons: int = 1
    missing: frozenset[str] = frozenset()
    root: bool = False
    locked: int | None = None
    visible: bool = True
    temperature: int = 50
    NVMLError: type[Exception] = NVMLError
    NVMLError_NotFound: type[Exception] = NVMLError_NotFound
    NVML_CLOCK_SM: int = 1
    NVML_TEMPERATURE_GPU: int = 0
    NVML_PERF_POLICY_POWER: int = 0
    NVML_PERF_POLICY_THERMAL: int = 1
    nvmlClocksEventReasonGpuIdle: int = 1  # noqa: N815
    nvmlClocksEventReasonSwPowerCap: int = 4  # noqa: N815
    nvmlClocksEventReasonAll: int = 511  # noqa: N815
    _busy_s: float = 0.0
    _at_s: float = 0.0

    def nvmlDeviceGetProcessUtilization(self, gpu: Any, since_us: int) -> list[Any]:  # noqa: N802
        self._check("ProcessUtilization")
        span_s = self.cuda.cpu_s - self._at_s
        if span_s <= 0.0:
            raise NVMLError_NotFound
        own = 100 * (self.cuda.busy_s - self._busy_s) / span_s
        self._busy_s, self._at_s = self.cuda.busy_s, self.cuda.cpu_s
        at_us = round(self.cuda.cpu_s * 1e6)
        shares = {PID: own, **self.others}
        return [
            SimpleNamespace(pid=pid, smUtil=share, timeStamp=at_us) for pid, share in shares.items()
        ]

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: Any) -> list[Any]:  # noqa: N802
        pids = [*([PID] if self.visible else []), *self.others]
        return [SimpleNamespace(pid=pid) for pid in pids]

    def nvmlDeviceGetViolationStatus(self, gpu: Any, policy: int) -> Any:  # noqa: N802
        self._check("ViolationStatus")
        held_s = self.held_s if policy == self.NVML_PERF_POLICY_POWER else 0.0
        return SimpleNamespace(violationTime=round(held_s * 1e9))

    def nvmlDeviceGetUtilizationRates(self, gpu: Any) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=sum(self.others.values()))

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: Any) -> int:  # noqa: N802
        return self.reasons

    def nvmlDeviceGetClockInfo(self, gpu: Any, kind: int) -> int:  # noqa: N802
        return self.locked or 1800

    def nvmlDeviceGetMaxClockInfo(self, gpu: Any, kind: int) -> int:  # noqa: N802
        return 2100

    def nvmlDeviceGetTemperature(self, gpu: Any, sensor: int) -> int:  # noqa: N802
        return self.temperature

    def nvmlDeviceGetPowerUsage(self, gpu: Any) -> int:  # noqa: N802
        return 150_000

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: Any) -> int:  # noqa: N802
        return 450_000

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: Any) -> int:  # noqa: N802
        self._check("TotalEnergyConsumption")
        return round(150_000 * self.cuda.busy_s)

    def nvmlDeviceSetGpuLockedClocks(self, gpu: Any, low: int, high: int) -> None:  # noqa: N802
        if not self.root:
            raise NVMLError
        self.locked = high

    def nvmlDeviceResetGpuLockedClocks(self, gpu: Any) -> None:  # noqa: N802
        self.locked = None

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.65"

    def _check(self, function: str) -> None:
        if function in self.missing:
            raise NVMLError


class FakeGpu:
    """A backend of the fakes: all of it is real but TensorRT, CUDA and NVML.

    Its arithmetic is a fast one, or that of the device's simulation. Without a timing cache builds
    differ by ``process_noise`` of that.
    """

    def __init__(self, device: DeviceSpec, *, replicate: int = 0) -> None:
        assert device.gpu is not None
        self._gpu = device.gpu
        self._spread = device.simulation.process_noise if device.simulation else 0.0
        self._luck = np.random.default_rng(replicate)
        self._factors: dict[Graph, float] = {}
        self.strays = device.batch == STRAYING_BATCH
        self._shares: dict[Graph, float | None] = {}
        self._timing_cache = b""
        self._learned = 0
        self.cuda = FakeCuda(launch_s=10e-6)
        self.nvml = FakeNvml(self.cuda)
        self.host = NvmlHost(self.nvml, None, self._now, self.cuda.sleep, PID)
        fast = Simulation(
            dense_macs_per_s=4e12, depthwise_macs_per_s=1e12, bytes_per_s=1e13, node_s=1e-8
        )
        quiet = replace(device.simulation or fast, noise=0.0, process_noise=0.0)
        self._simulated = Simulated(DeviceSpec(name="s", backend="simulated", simulation=quiet))

    def environment(self) -> Mapping[str, str]:
        return {"gpu": FACTS.name, **self.host.environment()}

    @contextmanager
    def open(self, graph: Graph, *, threads: int | None = None) -> Iterator[Session]:
        whole, cold_l2 = self._gpu.cuda_graph, self._gpu.cold_l2
        with self._simulated.open(graph) as session:
            assert isinstance(session, SimulatedSession)
            session.latency_s *= self._build(graph)
            engine = FakeEngine(self.cuda, session, graph)
            with cuda_session(
                self.cuda, engine, graph, whole=whole, cold_l2=cold_l2, now=self._now
            ) as timed:
                yield timed
                self._shares[graph] = timed.queue_share

    def _build(self, graph: Graph) -> float:
        """Return how much slower this build is: without a timing cache that is luck."""
        if graph not in self._factors:
            luck = 0.0 if self._timing_cache else self._spread * self._luck.standard_normal()
            self._factors[graph] = float(np.exp(luck))
            self._learned += 1
        return self._factors[graph]

    def use_timing_cache(self, content: bytes) -> None:
        self._timing_cache = content

    def timing_cache(self) -> bytes:
        return self._timing_cache or b"%d kernels" % self._learned

    def engine_facts(self, graph: Graph) -> EngineFacts:
        self._build(graph)
        strays = ("0.conv reads fp32, not fp16",) if self.strays else ()
        return EngineFacts(
            build_s=1.0, load_s=0.5, nodes=1, strays=strays, queue_share=self._shares.get(graph)
        )

    def trace(self, graph: Graph, *, runs: int) -> Trace:
        return self._simulated.trace(graph, runs=runs)

    def _now(self) -> float:
        return self.cuda.cpu_s
