"""CPUs, through ONNX Runtime; only this file and the quantiser's import it."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from devices.backend import EMULATED, Session, Tensors
from devices.cores import battery_percent, clusters, governors
from devices.errors import DeviceUnavailable, OutOfMemory, UnsupportedGraph
from devices.graph import Graph
from devices.graphs.inputs import INPUT_TYPES, example_inputs
from devices.host import LocalHost, allowed_cpus, computes_half, emulated, processor_name
from devices.kernels import WARM_RUNS, Trace
from devices.onnx_runtime.runtime_trace import kernels_of
from devices.placement import chosen_cpus
from devices.spec import DeviceSpec, Optimization

PROVIDER, XNNPACK = "CPUExecutionProvider", "XnnpackExecutionProvider"

LEVELS: dict[Optimization, str] = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT",
    "all": "ORT_ENABLE_ALL",
}
"""By name: releases before 1.22 have no ``layout``."""

REFUSALS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,
    MemoryError,
)
"""What the runtime raises for a graph that it cannot compile or cannot run."""

FULL = re.compile(r"[Ff]ailed to allocate memory|bad_alloc|bad allocation")
"""Where it lacks memory the runtime raises what it raises for everything else."""

NOISE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |/onnxruntime_src/\S+ .*?\) ")
"""Where in its own source the runtime gave up: not what a user can act on."""

SPELLINGS = {"float32": "float", "float64": "double"}
OUTPUT_TYPES = {f"tensor({SPELLINGS.get(name, name)})": np.dtype(name) for name in INPUT_TYPES}
"""The runtime's name of a type to NumPy's."""


@dataclass(slots=True)
class OnnxRuntimeSession:
    """An ``InferenceSession`` with inputs and outputs bound once, on the device's CPUs.

    Attributes:
        session: The compiled graph.
        binding: Resident inputs and outputs that every timed run uses.
        resident: Their values. The binding knows only where they lie: without these references it
            would write to memory that has gone to somebody else.
    """

    session: ort.InferenceSession
    binding: ort.IOBinding
    resident: tuple[ort.OrtValue, ...]

    def run(self, inputs: Tensors) -> Tensors:
        """Return the outputs for ``inputs``."""
        names = [output.name for output in self.session.get_outputs()]
        with _refusing("cannot run the graph"):
            return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))

    def time(self, repeats: int) -> float:
        """Run ``repeats`` times; return the elapsed seconds by ``perf_counter``."""
        run, binding = self.session.run_with_iobinding, self.binding
        with _refusing("cannot run the graph"):
            start = perf_counter()
            for _ in range(repeats):
                run(binding)
            return perf_counter() - start

    def time_each(self, runs: int) -> tuple[float, ...]:
        """Run one at a time; return the seconds of each."""
        return tuple(self.time(1) for _ in range(runs))


class OnnxRuntimeCpu:
    """ONNX Runtime on CPUs, pinned to those of the device while a session is open.

    Args:
        device: What to run as.
        replicate: Unused: real processes differ by themselves.

    Raises:
        DeviceUnavailable: The device wants more CPUs, others, or another precision than there is,
            or a provider that this build of the runtime lacks.
    """

    def __init__(self, device: DeviceSpec, *, replicate: int = 0) -> None:
        if device.precision == "fp16" and not computes_half():
            raise DeviceUnavailable(
                f"device {device.name!r} asks for fp16, which ONNX Runtime computes as fp32 on "
                "this CPU, with conversions before and after: its latency would mean nothing. "
                "Use a device with precision: fp32 or int8"
            )
        if device.provider is not None and XNNPACK not in ort.get_available_providers():
            raise DeviceUnavailable(
                f"device {device.name!r} asks for XNNPACK, which onnxruntime {ort.__version__} was "
                f"built without on this {os.uname().machine} (it has "
                f"{', '.join(ort.get_available_providers())}). Leave out provider in a device file "
                "of your own, or use a build with it: Debian's python3-onnxruntime, your own"
            )
        self._device = device
        self._cpus = chosen_cpus(device, clusters(allowed_cpus()))
        self._emulated = device.emulated or emulated()
        self.host = LocalHost(self._cpus, real=not self._emulated)

    def environment(self) -> Mapping[str, str]:
        """Return the runtime's version, the processor and the settings in force."""
        return {
            "runtime": f"onnxruntime {ort.__version__}",
            "provider": PROVIDER if self._device.provider is None else XNNPACK,
            "processor": processor_name(),
            "system": f"{os.uname().sysname} {os.uname().machine}",
            "cpus": ",".join(map(str, self._cpus)),
            **self._arm_conditions(),
        }

    def _arm_conditions(self) -> dict[str, str]:
        """Return what is to be said where CPUs differ, scale their clock, or are no real ones."""
        kinds, scaling = clusters(allowed_cpus()), governors(self._cpus)
        said = {"governor": "/".join(scaling)} if scaling else {}
        if len(kinds) > 1:
            said["clusters"] = ", ".join(map(str, kinds))
        if battery_percent() is not None:  # which slows phones down; on mains nothing is said
            said["power"] = "battery"
        if self._emulated:
            said["origin"] = EMULATED
        return said

    @contextmanager
    def open(self, graph: Graph, *, threads: int | None = None) -> Iterator[Session]:
        """Compile ``graph``, bind example inputs, and hold the calling thread on its CPU."""
        threads = threads or self._device.threads
        with self._pinned(threads):
            yield _bound(self._compile(graph, self._options(threads), threads), graph)

    def trace(self, graph: Graph, *, runs: int) -> Trace:
        """Run ``graph`` with ONNX Runtime's profiler, which counts whole microseconds.

        The optimised graph of the levels ``layout`` and ``all`` suits this processor only.
        """
        threads = self._device.threads
        options = self._options(threads)
        options.enable_profiling = True
        with TemporaryDirectory(prefix="latkit-") as folder, self._pinned(threads):
            options.profile_file_prefix = str(Path(folder) / "trace")
            options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
            session = _bound(self._compile(graph, options, threads), graph)
            session.time(WARM_RUNS + runs)
            events = json.loads(Path(session.session.end_profiling()).read_text())
            optimized = Path(options.optimized_model_filepath).read_bytes()
        return Trace(kernels=kernels_of(events, skip=WARM_RUNS), optimized=optimized)

    def _pinned(self, threads: int) -> AbstractContextManager[None]:
        """Hold the calling thread on its CPU; XNNPACK's other threads are left on what it has."""
        return _pinned(self._cpus[: 1 if self._device.provider is None else threads])

    def _providers(self, threads: int) -> list[str | tuple[str, dict[str, str]]]:
        """Return whose kernels are taken, the first that has one: XNNPACK's have own threads."""
        if self._device.provider is None:
            return [PROVIDER]
        return [(XNNPACK, {"intra_op_num_threads": str(threads)}), PROVIDER]

    def _compile(
        self, graph: Graph, options: ort.SessionOptions, threads: int
    ) -> ort.InferenceSession:
        if graph.folder is not None:
            key = "session.model_external_initializers_file_folder_path"
            options.add_session_config_entry(key, str(graph.folder))
        with _refusing("refuses the graph"):
            providers = self._providers(threads)
            session = ort.InferenceSession(graph.onnx, options, providers=providers)
        in_force = session.get_providers()
        asked = [XNNPACK, PROVIDER] if self._device.provider else [PROVIDER]
        if in_force != asked:  # the runtime replaces a provider silently
            raise DeviceUnavailable(f"asked ONNX Runtime for {', '.join(asked)}, got {in_force}")
        return session

    def _options(self, threads: int) -> ort.SessionOptions:
        if self._device.provider is not None:
            threads = 1  # what is left to the runtime's own kernels must not spin beside XNNPACK's
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = _level(self._device.optimization)
        options.log_severity_level = 4  # errors reach the user as exceptions, once
        spinning = "1" if self._device.spinning else "0"
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        if threads > 1 and hasattr(os, "sched_setaffinity"):
            # One entry for every thread but the first, which is ours; CPUs count from 1 there.
            others = ";".join(str(cpu + 1) for cpu in self._cpus[1:threads])
            options.add_session_config_entry("session.intra_op_thread_affinities", others)
        return options


def _bound(session: ort.InferenceSession, graph: Graph) -> OnnxRuntimeSession:
    """Bind example inputs, and outputs wherever their sizes are known before a run."""
    binding, resident = session.io_binding(), []
    with _refusing("cannot take the inputs"):
        for name, value in example_inputs(graph).items():
            resident.append(ort.OrtValue.ortvalue_from_numpy(value))
            binding.bind_ortvalue_input(name, resident[-1])
        for output in session.get_outputs():
            # No sizes at all: either a scalar or of any rank, the runtime tells them not apart.
            known = output.shape and all(isinstance(size, int) for size in output.shape)
            if known and output.type in OUTPUT_TYPES:
                zeros = np.zeros(output.shape, OUTPUT_TYPES[output.type])
                resident.append(ort.OrtValue.ortvalue_from_numpy(zeros))
                binding.bind_ortvalue_output(output.name, resident[-1])
            else:  # the first run allocates it, the next ones find it there
                binding.bind_output(output.name, "cpu")
    return OnnxRuntimeSession(session, binding, tuple(resident))


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn what the runtime raises into one line that says why."""
    try:
        yield
    except REFUSALS as error:
        why = NOISE.sub("", " ".join(str(error).split()))[:500] or type(error).__name__
        if isinstance(error, MemoryError) or FULL.search(why):
            raise OutOfMemory(
                f"ONNX Runtime {what}: the device has too little memory free ({why}): stop other "
                "programs, or take a smaller batch or resolution"
            ) from error
        raise UnsupportedGraph(f"ONNX Runtime {what}: {why}") from error


def _level(optimization: Optimization) -> ort.GraphOptimizationLevel:
    try:
        return getattr(ort.GraphOptimizationLevel, LEVELS[optimization])
    except AttributeError as error:
        raise DeviceUnavailable(
            f"onnxruntime {ort.__version__} has no optimization: {optimization}. "
            "Take another one, or a newer release"
        ) from error


@contextmanager
def _pinned(cpus: tuple[int, ...]) -> Iterator[None]:
    """Hold the calling thread on ``cpus``, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
