"""A GPU through ``cuda.bindings`` of cuda-python, its runtime library; only here is it imported."""

from collections.abc import Callable
from typing import Any

from cuda.bindings import runtime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from devices.errors import DeviceUnavailable
from devices.nvidia.cuda_memory import Address, Event, GpuFacts, LaunchGraph, Stream, cuda_error


class CudaPython:
    """One GPU, by its number.

    The first question is how many GPUs there are: it answers with an error code and raises
    nothing, where others would end the process if there is no driver.

    Args:
        index: As CUDA counts them, from 0.

    Raises:
        DeviceUnavailable: No driver, one that is too old, or no such GPU.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        check_driver(index)
        self._do(runtime.cudaSetDevice(index), "use it")

    def facts(self) -> GpuFacts:
        """Return what the driver says of it."""
        properties = self._do(runtime.cudaGetDeviceProperties(self._index), "ask what it is")
        bus_id = self._do(runtime.cudaDeviceGetPCIBusId(32, self._index), "ask where it is")
        return GpuFacts(
            name=_text(properties.name),
            compute_capability=f"{properties.major}.{properties.minor}",
            l2_bytes=int(properties.l2CacheSize),
            bus_id=_text(bus_id),
            cuda=_version(self._do(runtime.cudaDriverGetVersion(), "ask for its driver")),
        )

    def allocate(self, size: int) -> Address:
        """Return new memory."""
        return int(self._do(runtime.cudaMalloc(max(1, size)), f"allocate {size:,} bytes"))

    def free(self, address: Address) -> None:
        """Give memory back."""
        self._do(runtime.cudaFree(address), "free memory")

    def upload(self, array: NDArray[Any], address: Address) -> None:
        """Copy a contiguous array to the GPU."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        done = runtime.cudaMemcpy(address, array.ctypes.data, array.nbytes, kind)
        self._do(done, "copy to it")
        self._do(runtime.cudaStreamSynchronize(0), "copy to it")  # small ones return before that

    def download(self, address: Address, array: NDArray[Any]) -> None:
        """Copy from the GPU into a contiguous array."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        done = runtime.cudaMemcpy(array.ctypes.data, address, array.nbytes, kind)
        self._do(done, "copy from it")

    def overwrite(self, address: Address, size: int, stream: Stream) -> None:
        """Write zeros when the stream comes to it."""
        self._do(runtime.cudaMemsetAsync(address, 0, size, stream), "overwrite memory")

    def new_stream(self) -> Stream:
        """Return a stream that waits for no other, not even for the default one."""
        flags = runtime.cudaStreamNonBlocking
        return self._do(runtime.cudaStreamCreateWithFlags(flags), "open a stream")

    def close_stream(self, stream: Stream) -> None:
        """Give a stream back."""
        self._do(runtime.cudaStreamDestroy(stream), "close a stream")

    def handle(self, stream: Stream) -> int:
        """Return the number by which TensorRT knows a stream."""
        return int(stream)

    def wait(self, stream: Stream) -> None:
        """Return when a stream has done all its work."""
        self._do(runtime.cudaStreamSynchronize(stream), "finish its work")

    def new_event(self) -> Event:
        """Return a mark that takes the time."""
        return self._do(runtime.cudaEventCreate(), "make an event")

    def close_event(self, event: Event) -> None:
        """Give an event back."""
        self._do(runtime.cudaEventDestroy(event), "close an event")

    def record(self, event: Event, stream: Stream) -> None:
        """Take the time when a stream comes to here."""
        self._do(runtime.cudaEventRecord(event, stream), "record an event")

    def elapsed_s(self, start: Event, end: Event) -> float:
        """Wait for the later event; return the seconds between both."""
        self._do(runtime.cudaEventSynchronize(end), "finish its work")
        return float(self._do(runtime.cudaEventElapsedTime(start, end), "read its clock")) * 1e-3

    def capture(self, stream: Stream, work: Callable[[], None]) -> LaunchGraph:
        """Return what ``work`` gives to a stream, to be launched whole."""
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._do(runtime.cudaStreamBeginCapture(stream, mode), "begin a CUDA graph")
        try:
            work()
        finally:
            ended = runtime.cudaStreamEndCapture(stream)  # or the stream could not be used again
        graph = self._do(ended, "end a CUDA graph")
        try:
            return self._do(runtime.cudaGraphInstantiate(graph, 0), "load a CUDA graph")
        finally:
            self._do(runtime.cudaGraphDestroy(graph), "close a CUDA graph")

    def launch(self, graph: LaunchGraph, stream: Stream) -> None:
        """Run what was captured."""
        self._do(runtime.cudaGraphLaunch(graph, stream), "launch a CUDA graph")

    def close_graph(self, graph: LaunchGraph) -> None:
        """Give a graph back."""
        self._do(runtime.cudaGraphExecDestroy(graph), "close a CUDA graph")

    def _do(self, answer: tuple[Any, ...], doing: str) -> Any:
        """Return what CUDA answers beside its error code, or raise the error."""
        return _checked(answer, doing, self._index)


def check_driver(index: int) -> None:
    """Check that there is a driver that is new enough, and a GPU of that number.

    Has to come before anything else of CUDA or TensorRT.

    Raises:
        DeviceUnavailable: What is missing, in one line.
    """
    code, count = runtime.cudaGetDeviceCount()
    if code == runtime.cudaError_t.cudaErrorInsufficientDriver:
        _, driver = runtime.cudaDriverGetVersion()
        _, needed = runtime.cudaRuntimeGetVersion()
        if not driver:
            raise DeviceUnavailable(
                "there is no NVIDIA driver on this machine: install it where the GPU is"
            )
        raise DeviceUnavailable(
            f"the NVIDIA driver knows CUDA {_version(driver)}, and {_version(needed)} is "
            f"installed: update the driver, or pip install 'cuda-bindings=={driver // 1000}.*'"
        )
    _checked((code, count), "count the GPUs", index)
    if index >= count:
        raise DeviceUnavailable(
            f"GPU {index} was asked for, and here are {count}, counted from 0: see nvidia-smi"
        )


def _checked(answer: tuple[Any, ...], doing: str, index: int) -> Any:
    code, *values = answer
    if code == runtime.cudaError_t.cudaSuccess:
        return values[0] if values else None
    _, text = runtime.cudaGetErrorString(code)
    raise cuda_error(code.name, doing=doing, index=index, text=_text(text))


def _version(number: int) -> str:
    """Return ``13.0`` for 13000."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _text(value: bytes | str) -> str:
    """Return the text in a buffer of C."""
    text = value.decode() if isinstance(value, bytes) else value
    return text.partition("\0")[0]
