"""An engine of TensorRT on the GPU: loaded, looked at, run. The module is handed in.

Nothing here may be called before the driver was found: TensorRT's runtime ends the process without.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from devices.errors import InvalidFile, OutOfMemory, UnsupportedGraph
from devices.nvidia.cuda_memory import Address
from devices.nvidia.cuda_session import EngineTensor
from devices.nvidia.tensorrt_build import Message, TensorRT, message_log, said_in_error

NUMPY_NAMES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
"""TensorRT's name of a type to NumPy's."""


@dataclass(slots=True, kw_only=True)
class LoadedEngine:
    """An engine on the GPU, see `devices.nvidia.cuda_session.Engine`.

    Attributes:
        trt: The module.
        runtime: What loaded it, which has to outlive it.
        engine: TensorRT's ``ICudaEngine``.
        context: TensorRT's ``IExecutionContext``: it holds the memory between kernels.
        messages: What was said since it was loaded.
        compiled: Kernels that TensorRT for RTX compiled while it loaded, to load them sooner again.
        load_s: Seconds that loading took, kernels compiled.
    """

    trt: TensorRT
    runtime: Any
    engine: Any
    context: Any
    messages: list[Message]
    compiled: bytes
    load_s: float

    def tensors(self) -> Sequence[EngineTensor]:
        """Return its inputs and outputs."""
        names = map(self.engine.get_tensor_name, range(self.engine.num_io_tensors))
        return [self._tensor(name) for name in names]

    def _tensor(self, name: str) -> EngineTensor:
        shape = tuple(self.context.get_tensor_shape(name))
        kind = self.engine.get_tensor_dtype(name).name
        if kind not in NUMPY_NAMES:
            raise UnsupportedGraph(f"{name!r} holds {kind}, which NumPy has no type for")
        is_input = self.engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT
        return EngineTensor(name=name, shape=shape, dtype=NUMPY_NAMES[kind], is_input=is_input)

    def place(self, name: str, address: Address) -> None:
        """Say where an input or an output lies."""
        self.context.set_tensor_address(name, address)

    def enqueue(self, stream: int) -> None:
        """Queue one run on a stream."""
        if not self.context.execute_async_v3(stream):
            raise UnsupportedGraph(f"TensorRT cannot run it: {said_in_error(self.messages)}")

    def inspected(self) -> str:
        """Return what TensorRT says of its layers, as JSON."""
        inspector = self.engine.create_engine_inspector()
        text: str = inspector.get_engine_information(self.trt.LayerInformationFormat.JSON)
        return text


def load_engine(trt: TensorRT, content: bytes, *, compiled: bytes = b"") -> LoadedEngine:
    """Load an engine on the GPU that is in use.

    Args:
        trt: The module that built it.
        content: The engine.
        compiled: Kernels of an earlier load, see `LoadedEngine.compiled`.

    Raises:
        InvalidFile: It is no engine, or one of another version or another GPU.
        OutOfMemory: The GPU has too little left.
    """
    messages: list[Message] = []
    start = perf_counter()
    runtime = trt.Runtime(message_log(trt, messages))
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        raise InvalidFile(f"TensorRT does not load the engine: {said_in_error(messages)}")
    context, cache = _context(trt, engine, compiled)
    if context is None:
        raise OutOfMemory(
            f"TensorRT cannot make room to run: {said_in_error(messages)}; stop other "
            "programs (nvidia-smi), or take a smaller batch"
        )
    return LoadedEngine(
        trt=trt,
        runtime=runtime,
        engine=engine,
        context=context,
        messages=messages,
        compiled=b"" if cache is None else bytes(cache.serialize()),
        load_s=perf_counter() - start,
    )


def _context(trt: TensorRT, engine: Any, compiled: bytes) -> tuple[Any, Any]:
    """Return what an engine runs in, and the kernels that were compiled for it, if any were.

    TensorRT 10 and 11 compile kernels when they build, TensorRT for RTX when it loads.
    """
    if trt.__name__ != "tensorrt_rtx":
        return engine.create_execution_context(), None
    config = engine.create_runtime_config()
    cache = config.create_runtime_cache()
    if compiled:
        cache.deserialize(compiled)  # where it does not fit, kernels are compiled again
    config.set_runtime_cache(cache)
    return engine.create_execution_context(config), cache


@dataclass(slots=True)
class LayerTimes:
    """Seconds that each layer took, by its name, one for every run that was looked at."""

    taken_s: dict[str, list[float]] = field(default_factory=dict)

    def report(self, name: str, milliseconds: float) -> None:
        """Take in what TensorRT reports of a layer after a run."""
        self.taken_s.setdefault(name, []).append(milliseconds * 1e-3)


def layer_profiler(trt: TensorRT, times: LayerTimes) -> Any:
    """Return a profiler for TensorRT that reports to ``times``."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]  # a class of a module chosen at run time
        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.report(layer_name, ms)

    return Profiler()
