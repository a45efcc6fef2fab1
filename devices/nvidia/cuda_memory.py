"""Memory, streams, events and graphs of one NVIDIA GPU: a seam with two bindings behind it.

``cuda-python`` comes as a wheel and is taken where it is installed; ``pycuda`` is built against the
CUDA toolkit of the machine, which is what some Jetsons have. Both say what is wrong in the words of
`SITUATIONS`, so a failure reads the same through either.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, TypeAlias, cast

from numpy.typing import NDArray

from devices.errors import DeviceUnavailable, LatkitError, OutOfMemory, UnsupportedGraph

Address: TypeAlias = int
"""Of the GPU's memory."""

Stream: TypeAlias = Any
Event: TypeAlias = Any
LaunchGraph: TypeAlias = Any
"""Whatever a binding has for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """What the driver says of a GPU.

    Attributes:
        name: Of the product.
        compute_capability: Such as ``"8.9"``.
        l2_bytes: Size of its level-2 cache.
        bus_id: Where it is plugged in, by which NVML knows it.
        cuda: The newest CUDA that the driver knows, such as ``"13.0"``.
    """

    name: str
    compute_capability: str
    l2_bytes: int
    bus_id: str
    cuda: str


class Cuda(Protocol):
    """One GPU, ready to be used. Sizes are bytes; every failure is a `LatkitError` of one line."""

    def facts(self) -> GpuFacts:
        """Return what the driver says of it."""
        ...

    def allocate(self, size: int) -> Address:
        """Return new memory.

        Raises:
            OutOfMemory: There is not enough.
        """
        ...

    def free(self, address: Address) -> None:
        """Give memory back."""
        ...

    def upload(self, array: NDArray[Any], address: Address) -> None:
        """Copy a contiguous array to the GPU; return when it is there."""
        ...

    def download(self, address: Address, array: NDArray[Any]) -> None:
        """Copy from the GPU into a contiguous array; return when it is there."""
        ...

    def overwrite(self, address: Address, size: int, stream: Stream) -> None:
        """Write zeros when the stream comes to it."""
        ...

    def new_stream(self) -> Stream:
        """Return a stream that waits for no other."""
        ...

    def close_stream(self, stream: Stream) -> None:
        """Give a stream back."""
        ...

    def handle(self, stream: Stream) -> int:
        """Return the number by which other libraries know a stream."""
        ...

    def wait(self, stream: Stream) -> None:
        """Return when a stream has done all its work."""
        ...

    def new_event(self) -> Event:
        """Return a mark that takes the time."""
        ...

    def close_event(self, event: Event) -> None:
        """Give an event back."""
        ...

    def record(self, event: Event, stream: Stream) -> None:
        """Take the time when a stream comes to here."""
        ...

    def elapsed_s(self, start: Event, end: Event) -> float:
        """Wait for the later of two events; return the seconds between them, by the GPU's clock."""
        ...

    def capture(self, stream: Stream, work: Callable[[], None]) -> LaunchGraph:
        """Return what ``work`` gives to a stream, to be launched whole; nothing is run yet."""
        ...

    def launch(self, graph: LaunchGraph, stream: Stream) -> None:
        """Run what was captured."""
        ...

    def close_graph(self, graph: LaunchGraph) -> None:
        """Give a graph back."""
        ...


BINDINGS = {
    "cuda.bindings": "devices.nvidia.cuda_python:CudaPython",
    "pycuda": "devices.nvidia.cuda_pycuda:PyCuda",
}
"""Package to our use of it, the one to prefer first. Text, so that nothing is imported."""


def cuda_for(index: int) -> Cuda:
    """Return a GPU of this machine, through whichever binding is installed.

    Args:
        index: As CUDA counts them, from 0.

    Raises:
        DeviceUnavailable: No binding is installed, or the GPU or its driver is not usable.
    """
    for package, place in BINDINGS.items():
        if _is_installed(package):
            module, _, cls = place.partition(":")
            return cast(Callable[[int], Cuda], getattr(import_module(module), cls))(index)
    raise DeviceUnavailable(
        "timing on a GPU needs cuda-python, which is not installed: pip install 'latkit[cuda]'"
    )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of what is before the dot
        return False


SITUATIONS = {
    "cudaErrorMemoryAllocation": "its memory is full: stop other programs (nvidia-smi), or take a "
    "smaller batch",
    "cudaErrorInitializationError": "the driver does not start: reboot, or reinstall it",
    "cudaErrorInsufficientDriver": "its driver is too old: update it (nvidia-smi says which it is)",
    "cudaErrorDevicesUnavailable": "another program holds it alone: stop that one (nvidia-smi), or "
    "allow several (nvidia-smi -c DEFAULT)",
    "cudaErrorNoDevice": "there is no NVIDIA GPU, or it is hidden: see nvidia-smi and "
    "CUDA_VISIBLE_DEVICES",
    "cudaErrorInvalidDevice": "there is no GPU of that number: see nvidia-smi",
    "cudaErrorDeviceNotLicensed": "its virtual GPU has no licence",
    "cudaErrorECCUncorrectable": "its memory failed (an ECC error): reset it, nvidia-smi -r",
    "cudaErrorInvalidPtx": "its driver cannot compile the kernels: update it",
    "cudaErrorUnsupportedPtxVersion": "its driver is too old for the kernels: update it",
    "cudaErrorJitCompilerNotFound": "its driver has no compiler for kernels: reinstall it",
    "cudaErrorNoKernelImageForDevice": "the engine has no kernels for this compute capability: "
    "build it for this GPU",
    "cudaErrorIllegalAddress": "a kernel read memory that is not its own; the process has to end",
    "cudaErrorLaunchOutOfResources": "a kernel needs more registers or threads than it has",
    "cudaErrorLaunchTimeout": "a kernel ran longer than the desktop allows: use a GPU without a "
    "display",
    "cudaErrorLaunchFailure": "a kernel failed; the process has to end",
    "cudaErrorSystemNotReady": "it is not ready: start the NVIDIA services (fabric manager)",
    "cudaErrorSystemDriverMismatch": "driver and its libraries differ in version: reboot",
    "cudaErrorCompatNotSupportedOnDevice": "the driver is too old for the installed CUDA, and this "
    "GPU cannot use a compatibility package: update the driver",
    "cudaErrorStreamCaptureUnsupported": "the engine cannot be captured as a CUDA graph: set "
    "cuda_graph: false in a device file",
    "cudaErrorStreamCaptureInvalidated": "the engine cannot be captured as a CUDA graph: set "
    "cuda_graph: false in a device file",
}
"""What a user can do about what CUDA calls an error, by its name in the runtime library."""

REFUSALS = {
    "cudaErrorNoKernelImageForDevice",
    "cudaErrorLaunchOutOfResources",
    "cudaErrorStreamCaptureUnsupported",
    "cudaErrorStreamCaptureInvalidated",
}
"""Errors that are a graph's, and leave the GPU as it is."""


def cuda_error(name: str, *, doing: str, index: int, text: str = "") -> LatkitError:
    """Return what to raise for an error of CUDA.

    Args:
        name: As in the runtime library: ``"cudaErrorNoDevice"``.
        doing: What was tried: ``"allocate 64 bytes"``.
        index: Of the GPU.
        text: CUDA's own explanation, for errors that are not in `SITUATIONS`.
    """
    why = SITUATIONS.get(name, text or "the driver says no more")
    message = f"GPU {index}: cannot {doing}: {why} ({name})"
    if name == "cudaErrorMemoryAllocation":
        return OutOfMemory(message)
    return UnsupportedGraph(message) if name in REFUSALS else DeviceUnavailable(message)
