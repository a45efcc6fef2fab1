"""A GPU through pycuda, for machines that have no wheel of cuda-python; only this file imports it.

Uses the context that the runtime library shares (the primary one), since TensorRT does, too.
"""

from collections.abc import Callable
from typing import Any

import pycuda.driver as driver  # type: ignore[import-not-found]
from numpy.typing import NDArray

from devices.errors import DeviceUnavailable
from devices.nvidia.cuda_memory import Address, Event, GpuFacts, LaunchGraph, Stream, cuda_error

NAMES = {
    "out of memory": "cudaErrorMemoryAllocation",
    "no CUDA-capable device": "cudaErrorNoDevice",
    "invalid device ordinal": "cudaErrorInvalidDevice",
    "driver version is insufficient": "cudaErrorInsufficientDriver",
}
"""What the driver library says to what the runtime library would call it."""


class PyCuda:
    """One GPU, by its number.

    Args:
        index: As CUDA counts them, from 0.

    Raises:
        DeviceUnavailable: No driver, or no such GPU.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        self._memory: dict[Address, Any] = {}  # freed when pycuda's object is forgotten
        self._do("start the driver", driver.init)
        self._device = self._do("find it", lambda: driver.Device(index))
        self._context = self._do("use it", self._device.retain_primary_context)
        self._context.push()

    def facts(self) -> GpuFacts:
        """Return what the driver says of it."""
        major, minor = self._device.compute_capability()
        version = driver.get_driver_version()
        return GpuFacts(
            name=self._device.name(),
            compute_capability=f"{major}.{minor}",
            l2_bytes=self._device.get_attribute(driver.device_attribute.L2_CACHE_SIZE),
            bus_id=self._device.pci_bus_id(),
            cuda=f"{version // 1000}.{version % 1000 // 10}",
        )

    def allocate(self, size: int) -> Address:
        """Return new memory."""
        memory = self._do(f"allocate {size:,} bytes", lambda: driver.mem_alloc(max(1, size)))
        self._memory[int(memory)] = memory
        return int(memory)

    def free(self, address: Address) -> None:
        """Give memory back."""
        self._memory.pop(address).free()

    def upload(self, array: NDArray[Any], address: Address) -> None:
        """Copy a contiguous array to the GPU."""
        self._do("copy to it", lambda: driver.memcpy_htod(address, array))

    def download(self, address: Address, array: NDArray[Any]) -> None:
        """Copy from the GPU into a contiguous array."""
        self._do("copy from it", lambda: driver.memcpy_dtoh(array, address))

    def overwrite(self, address: Address, size: int, stream: Stream) -> None:
        """Write zeros when the stream comes to it."""
        self._do("overwrite memory", lambda: driver.memset_d8_async(address, 0, size, stream))

    def new_stream(self) -> Stream:
        """Return a stream."""
        return self._do("open a stream", driver.Stream)

    def close_stream(self, stream: Stream) -> None:
        """Let pycuda close it, which it does when the stream is forgotten."""

    def handle(self, stream: Stream) -> int:
        """Return the number by which TensorRT knows a stream."""
        return int(stream.handle)

    def wait(self, stream: Stream) -> None:
        """Return when a stream has done all its work."""
        self._do("finish its work", stream.synchronize)

    def new_event(self) -> Event:
        """Return a mark that takes the time."""
        return self._do("make an event", driver.Event)

    def close_event(self, event: Event) -> None:
        """Let pycuda close it, which it does when the event is forgotten."""

    def record(self, event: Event, stream: Stream) -> None:
        """Take the time when a stream comes to here."""
        self._do("record an event", lambda: event.record(stream))

    def elapsed_s(self, start: Event, end: Event) -> float:
        """Wait for the later event; return the seconds between both."""
        self._do("finish its work", end.synchronize)
        return float(start.time_till(end)) * 1e-3

    def capture(self, stream: Stream, work: Callable[[], None]) -> LaunchGraph:
        """Refuse: pycuda has no graphs.

        Raises:
            DeviceUnavailable: Always.
        """
        raise DeviceUnavailable(
            "pycuda cannot capture a CUDA graph: pip install 'latkit[cuda]', or set cuda_graph: "
            "false in a device file"
        )

    def launch(self, graph: LaunchGraph, stream: Stream) -> None:
        """Do nothing: there are no graphs."""

    def close_graph(self, graph: LaunchGraph) -> None:
        """Do nothing: there are no graphs."""

    def _do(self, doing: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except driver.Error as error:
            said = str(error)
            name = next((name for text, name in NAMES.items() if text in said), "a CUDA error")
            raise cuda_error(name, doing=doing, index=self._index, text=said) from error
