"""NVIDIA GPUs of this machine, through TensorRT 10 and 11 or TensorRT for RTX."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from statistics import median

from devices.backend import Session
from devices.errors import DeviceUnavailable
from devices.graph import Graph
from devices.kernels import WARM_RUNS, Kernel, Trace
from devices.nvidia.cuda_memory import GpuFacts, cuda_for
from devices.nvidia.cuda_session import CudaSession, cuda_session
from devices.nvidia.engine_facts import EngineFacts
from devices.nvidia.engine_layers import EngineLayer
from devices.nvidia.engine_plan import UnreadablePlan, layers_of_plan
from devices.nvidia.engine_precision import strays_of
from devices.nvidia.nvml_host import nvml_host
from devices.nvidia.tensorrt_build import (
    TITLES,
    Built,
    build_engine,
    known_capabilities,
    tensorrt_module,
)
from devices.nvidia.tensorrt_engine import LayerTimes, LoadedEngine, layer_profiler, load_engine
from devices.nvidia.tensorrt_inspector import layers_of, onnx_of
from devices.spec import DeviceSpec, Gpu


class TensorRTGpu:
    """One GPU.

    A graph is built once in each process: builds of TensorRT differ, and fresh processes show by
    how much. To load an engine again and again, as campaigns do, costs no build.

    Args:
        device: What to run as.
        replicate: Unused: real processes differ by themselves.

    Raises:
        DeviceUnavailable: TensorRT, the driver or the GPU is missing, or is not the device's.
    """

    def __init__(self, device: DeviceSpec, *, replicate: int = 0) -> None:
        assert device.gpu is not None  # every device of this backend has one
        self._gpu = device.gpu
        self._trt = tensorrt_module(self._gpu.module)
        self._cuda = cuda_for(self._gpu.index)  # asks for the driver, which has to come first
        self._facts = self._cuda.facts()
        check_gpu(self._facts, self._gpu, name=device.name)
        self.host = nvml_host(self._facts.bus_id)
        self._locked = bool(self._gpu.clock_mhz) and self.host.lock_clock(self._gpu.clock_mhz)
        self._built: dict[Graph, Built] = {}
        self._compiled: dict[Graph, bytes] = {}
        self._facts_of: dict[Graph, EngineFacts] = {}
        self._timing_cache = b""

    def environment(self) -> Mapping[str, str]:
        """Return versions, the GPU and the settings in force."""
        return {
            "runtime": f"{self._gpu.module} {self._trt.__version__}",
            "gpu": self._facts.name,
            "compute capability": self._facts.compute_capability,
            "cuda of the driver": self._facts.cuda,
            "clock": f"locked at {self._gpu.clock_mhz} MHz" if self._locked else "free",
            **self.host.environment(),
        }

    @contextmanager
    def open(self, graph: Graph, *, threads: int | None = None) -> Iterator[Session]:
        """Load an engine of ``graph``, and give it memory and example inputs."""
        with self._session(self._loaded(graph), graph, whole=self._gpu.cuda_graph) as session:
            yield session
            facts = self._facts_of[graph]
            self._facts_of[graph] = replace(facts, queue_share=session.queue_share)

    def trace(self, graph: Graph, *, runs: int) -> Trace:
        """Run ``graph`` kernel by kernel with TensorRT's profiler, which waits for each."""
        engine, times = self._loaded(graph), LayerTimes()
        with self._session(engine, graph, whole=False) as session:
            session.time(WARM_RUNS)
            engine.context.profiler = layer_profiler(self._trt, times)
            for _ in range(runs):
                session.time(1)
        layers = layers_of(engine.inspected())
        kinds = {layer.name: layer.kind for layer in layers}
        kernels = tuple(
            Kernel(name=name, op=kinds.get(name, "unknown"), latency_s=median(taken_s))
            for name, taken_s in times.taken_s.items()
        )
        return Trace(kernels=kernels, optimized=onnx_of(layers))

    def layers(self, graph: Graph) -> tuple[EngineLayer, ...]:
        """Return the layers of the engine of ``graph``, with the number formats they compute in.

        Raises:
            UnsupportedGraph: TensorRT refuses the graph.
        """
        return layers_of(self._loaded(graph).inspected())

    def build(self, graph: Graph) -> Built:
        """Build ``graph`` for this GPU, or return what was built of it before, here or elsewhere.

        Raises:
            UnsupportedGraph: TensorRT refuses the graph.
        """
        if graph.engine is not None:
            return Built(engine=graph.engine, messages=(), elapsed_s=0.0)
        if graph not in self._built:
            built = build_engine(
                graph,
                module=self._gpu.module,
                compute_capabilities=(
                    (self._facts.compute_capability,) if self._gpu.module == "tensorrt_rtx" else ()
                ),
                tf32=self._gpu.tf32,
                timing_cache=self._timing_cache,
            )
            self._timing_cache = built.timing_cache
            self._built[graph] = built
        return self._built[graph]

    def use_timing_cache(self, content: bytes) -> None:
        """Build with what an earlier process learned of kernels."""
        self._timing_cache = content

    def timing_cache(self) -> bytes:
        """Return what TensorRT knows of kernels by now; TensorRT for RTX keeps nothing."""
        return self._timing_cache

    def engine_facts(self, graph: Graph) -> EngineFacts:
        """Return how long ``graph`` took to build and to load, and what it computes in."""
        if graph not in self._facts_of:
            self._loaded(graph)
        return self._facts_of[graph]

    def _loaded(self, graph: Graph) -> LoadedEngine:
        compiled, built = self._compiled.get(graph, b""), self.build(graph)
        engine = load_engine(self._trt, built.engine, compiled=compiled)
        self._compiled[graph] = engine.compiled
        if graph not in self._facts_of:
            layers = built_layers(built) or layers_of(engine.inspected())
            nodes, strays = strays_of(graph, layers)
            self._facts_of[graph] = EngineFacts(
                build_s=built.elapsed_s, load_s=engine.load_s, nodes=nodes, strays=strays
            )
            if graph in self._built:
                self._built[graph] = replace(built, messages=())  # long, and read now
        return engine

    @contextmanager
    def _session(self, engine: LoadedEngine, graph: Graph, *, whole: bool) -> Iterator[CudaSession]:
        cold_l2 = self._gpu.cold_l2
        with cuda_session(self._cuda, engine, graph, whole=whole, cold_l2=cold_l2) as session:
            yield session


def built_layers(built: Built) -> tuple[EngineLayer, ...]:
    """Return the layers that a builder listed, with their types; none where it lists nothing known.

    TensorRT for RTX does; of TensorRT's engines the inspector tells, on the GPU.
    """
    try:
        return layers_of_plan(built)
    except UnreadablePlan:
        return ()


def check_gpu(facts: GpuFacts, gpu: Gpu, *, name: str) -> None:
    """Check that a GPU is the one that a device means, and that its runtime serves it.

    Args:
        facts: What the driver says of the GPU.
        gpu: What the device asks for.
        name: Of the device.

    Raises:
        DeviceUnavailable: It is another one, or too old or too new for the runtime.
    """
    here = f"GPU {gpu.index} is a {facts.name} of compute capability {facts.compute_capability}"
    wanted = gpu.compute_capability
    if gpu.product not in facts.name or wanted not in ("", facts.compute_capability):
        asked = " ".join(filter(None, (gpu.product or "GPU", wanted and f"of {wanted}")))
        raise DeviceUnavailable(
            f"{here}; device {name!r} is a {asked}: write a device file for this GPU, or name "
            "another by its index"
        )
    known = known_capabilities(gpu.module)
    if known and facts.compute_capability not in known:
        raise DeviceUnavailable(
            f"{here}; {TITLES[gpu.module]} serves {', '.join(known)}: use module: tensorrt"
        )
