"""What a device can do: compile a graph, run it, time it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, Literal, Protocol, cast

from numpy.typing import NDArray

from devices.errors import DeviceUnavailable, UnknownName
from devices.graph import Graph
from devices.host import Host
from devices.kernels import Trace
from devices.spec import DeviceSpec

EMULATED: Literal["emulated"] = "emulated"
"""The ``origin`` in an environment where software pretends to be the hardware. All but the seconds
is real: what runs, on which kernels, whether the numbers are right."""

Tensors = Mapping[str, NDArray[Any]]
"""Arrays by the name of the graph's input or output."""


class Session(Protocol):
    """A graph compiled for a device and loaded on it."""

    def run(self, inputs: Tensors) -> Tensors:
        """Return the outputs for ``inputs``; used to check numbers, never to time."""
        ...

    def time(self, repeats: int) -> float:
        """Run ``repeats`` times back to back on resident inputs.

        Returns:
            Elapsed seconds by the device's own clock, after it has finished all the work.
            Host-device copies are outside the interval.

        Raises:
            UnsupportedGraph: The runtime compiled the graph and cannot run it.
        """
        ...

    def time_each(self, runs: int) -> tuple[float, ...]:
        """Run ``runs`` times, one after the other; return the seconds of each by itself.

        Raises:
            UnsupportedGraph: The runtime compiled the graph and cannot run it.
        """
        ...


class Backend(Protocol):
    """One runtime, ready to load graphs for one device."""

    @property
    def host(self) -> Host:
        """The machine that the device is in: its clock, its load, what is wrong with it."""
        ...

    def open(self, graph: Graph, *, threads: int | None = None) -> AbstractContextManager[Session]:
        """Compile ``graph`` and hold its memory until the context ends.

        Args:
            graph: What to run.
            threads: CPU threads; None for as many as the device has. Of two sessions that run in
                turns one must do with the calling thread alone, or the idle workers of each would
                spin on the CPUs of the other.

        Raises:
            UnsupportedGraph: The runtime refuses the graph.
        """
        ...

    def trace(self, graph: Graph, *, runs: int) -> Trace:
        """Run ``graph`` warm with the runtime's profiler on: slower, so to explain, not to time.

        Args:
            graph: What to run.
            runs: How many runs to look at, 1 or more.

        Raises:
            UnsupportedGraph: The runtime refuses the graph, or cannot run it.
        """
        ...

    def environment(self) -> Mapping[str, str]:
        """Return what a timing depends on here: versions, processor, settings in force.

        Timings whose environments differ anywhere do not mix.
        """
        ...


BACKENDS = {
    "onnxruntime": "devices.onnx_runtime.cpu:OnnxRuntimeCpu",
    "simulated": "devices.simulated:Simulated",
    "tensorrt": "devices.nvidia.tensorrt_gpu:TensorRTGpu",
}
"""Backend name to ``module:class``. Text, so that naming a backend imports nothing."""

REMOTE, PERF_TEST = "devices.remote.agent_site:Remote", "devices.remote.perf_test:PerfTest"
"""What stands for them where the device is not this machine: an agent, or ONNX Runtime's own
program where there is no Python."""

ON_PAPER = {
    "roofline": "is a spec sheet: it estimates tables (latkit profile) and runs nothing",
    "rtx-aot": "builds engines for other machines: it plans memory (latkit profile), runs nothing",
}
"""Backends without a runtime, and what such a device is. No latency is measured on them."""


def is_emulated(environment: Mapping[str, str]) -> bool:
    """Return whether what is measured in an environment is no real device's latency."""
    return environment.get("origin") == EMULATED


def backend_for(device: DeviceSpec, *, replicate: int = 0) -> Backend:
    """Import and create the backend that ``device`` names.

    Args:
        device: What to run on.
        replicate: Which of several processes this is; seeds what a simulated device draws.

    Raises:
        UnknownName: No backend is called that.
        DeviceUnavailable: Its runtime is not installed, or the device is not here.
    """
    if device.backend in ON_PAPER:
        raise DeviceUnavailable(f"device {device.name!r} {ON_PAPER[device.backend]}")
    if device.backend not in BACKENDS:
        raise UnknownName("backend", device.backend, BACKENDS, cure=f"See device {device.name!r}.")
    here = BACKENDS[device.backend] if device.transport is None else PERF_TEST
    where = REMOTE if device.has_agent else here
    module, _, cls = where.partition(":")
    try:
        create = cast(Callable[..., Backend], getattr(import_module(module), cls))
    except ImportError as error:
        raise DeviceUnavailable(
            f"device {device.name!r} needs {error.name!r}, which is not installed; "
            "install it with: pip install latkit"
        ) from error
    return create(device, replicate=replicate)
