"""CPUs, through ONNX Runtime: the only file that imports it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from devices.backend import Session, Tensors
from devices.errors import DeviceUnavailable, UnsupportedGraph
from devices.graph import Graph
from devices.host import LocalHost, allowed_cpus, processor_name
from devices.spec import DeviceSpec, Optimization

PROVIDER = "CPUExecutionProvider"

LEVELS: dict[Optimization, ort.GraphOptimizationLevel] = {
    "disable": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "layout": ort.GraphOptimizationLevel.ORT_ENABLE_LAYOUT,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}

REFUSALS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
"""What the runtime raises for a graph that it cannot run."""


@dataclass(slots=True)
class OnnxRuntimeSession:
    """An ``InferenceSession`` with inputs and outputs bound once, on the device's CPUs.

    Attributes:
        session: The compiled graph.
        binding: Resident inputs and outputs that every timed run uses.
    """

    session: ort.InferenceSession
    binding: ort.IOBinding

    def run(self, inputs: Tensors) -> Tensors:
        """Return the outputs for ``inputs``."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))

    def time(self, repeats: int) -> float:
        """Run ``repeats`` times; return the elapsed seconds by ``perf_counter``."""
        run, binding = self.session.run_with_iobinding, self.binding
        start = perf_counter()
        for _ in range(repeats):
            run(binding)
        return perf_counter() - start


class OnnxRuntimeCpu:
    """ONNX Runtime's CPU provider, pinned to the device's CPUs while a session is open.

    Args:
        device: What to run as.
        replicate: Unused: real processes differ by themselves.

    Raises:
        DeviceUnavailable: The device wants more CPUs, others, or another precision than there is.
    """

    def __init__(self, device: DeviceSpec, *, replicate: int = 0) -> None:
        if device.precision != "fp32":
            raise DeviceUnavailable(
                f"device {device.name!r} asks for {device.precision}; only fp32 networks are built "
                "for ONNX Runtime on CPUs so far (fp16 would be computed as fp32 on most of them). "
                "Use a device with precision: fp32"
            )
        self._device = device
        self._cpus = _chosen_cpus(device)
        self.host = LocalHost(self._cpus)

    def environment(self) -> Mapping[str, str]:
        """Return the runtime's version, the processor and the settings in force."""
        return {
            "runtime": f"onnxruntime {ort.__version__}",
            "provider": PROVIDER,
            "processor": processor_name(),
            "system": f"{os.uname().sysname} {os.uname().machine}",
            "cpus": ",".join(map(str, self._cpus)),
        }

    @contextmanager
    def open(self, graph: Graph) -> Iterator[Session]:
        """Compile ``graph``, bind random inputs, and hold the calling thread on its CPU."""
        with _pinned(self._cpus):
            session = self._compile(graph)
            binding = session.io_binding()
            rng = np.random.default_rng(0)
            for name, shape in graph.inputs:
                values = ort.OrtValue.ortvalue_from_numpy(rng.standard_normal(shape, np.float32))
                binding.bind_ortvalue_input(name, values)
            for output in session.get_outputs():
                if not all(isinstance(size, int) for size in output.shape):
                    raise UnsupportedGraph(
                        f"output {output.name!r} has no fixed shape, but {output.shape}: give "
                        "every input and output of the graph one shape"
                    )
                zeros = ort.OrtValue.ortvalue_from_numpy(np.zeros(output.shape, np.float32))
                binding.bind_ortvalue_output(output.name, zeros)
            yield OnnxRuntimeSession(session, binding)

    def _compile(self, graph: Graph) -> ort.InferenceSession:
        try:
            session = ort.InferenceSession(graph.onnx, self._options(), providers=[PROVIDER])
        except REFUSALS as error:
            why = " ".join(str(error).split())[:300]
            raise UnsupportedGraph(f"ONNX Runtime refuses the graph: {why}") from error
        in_force = session.get_providers()
        if in_force != [PROVIDER]:  # the runtime replaces a provider silently
            raise DeviceUnavailable(f"asked ONNX Runtime for {PROVIDER}, got {in_force}")
        return session

    def _options(self) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._device.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = LEVELS[self._device.optimization]
        options.log_severity_level = 4  # errors reach the user as exceptions, once
        spinning = "1" if self._device.spinning else "0"
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        if self._device.threads > 1 and hasattr(os, "sched_setaffinity"):
            # One entry for every thread but the first, which is ours; CPUs count from 1 there.
            others = ";".join(str(cpu + 1) for cpu in self._cpus[1:])
            options.add_session_config_entry("session.intra_op_thread_affinities", others)
        return options


def _chosen_cpus(device: DeviceSpec) -> tuple[int, ...]:
    """Return the CPUs of a device: those it names, else the last ones that are allowed."""
    allowed = allowed_cpus()
    missing = [cpu for cpu in device.affinity if cpu not in allowed]
    if missing or device.threads > len(allowed):
        raise DeviceUnavailable(
            f"device {device.name!r} wants {device.threads} threads on CPUs "
            f"{list(device.affinity) or 'of any number'}; allowed here are {list(allowed)}. "
            "Change threads or affinity in a device file of your own"
        )
    # Interrupts mostly go to the first CPU, so the last ones are the calmest.
    return device.affinity or allowed[-device.threads :]


@contextmanager
def _pinned(cpus: tuple[int, ...]) -> Iterator[None]:
    """Hold the calling thread on the first of ``cpus``, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus[:1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
