"""From an ONNX graph to a TensorRT engine: parse, type strongly, configure, build.

The only file that imports ``tensorrt`` and ``tensorrt_rtx``; whoever else needs one is handed the
module. Their builders have one interface, so one path serves TensorRT 10 and 11 and TensorRT for
RTX. Always strongly typed: the number formats are those of the graph, and what the file says is
what the engine runs.

TensorRT for RTX builds for the compute capabilities that it is told, on a machine with no GPU and
no driver. TensorRT times kernels while it builds, so it needs the GPU that it builds for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import Any, Literal, TypeAlias

from devices.errors import DeviceUnavailable, UnsupportedGraph
from devices.graph import Graph
from devices.spec import TensorRTModule

Severity = Literal["internal", "error", "warning", "info", "verbose"]

SEVERITIES: tuple[Severity, ...] = ("internal", "error", "warning", "info", "verbose")
"""As TensorRT numbers them, from 0."""

TITLES: dict[TensorRTModule, str] = {
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT for RTX",
}
"""What NVIDIA calls them."""

EXTRAS: dict[TensorRTModule, str] = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
"""The extra of latkit that installs each."""

TensorRT: TypeAlias = Any
"""One of the two modules."""

SOURCE_NOTES = re.compile(r"\bIn \S+ at \S+:\d+|Assertion failed: .*?(?<!:): (?=[A-Z])")
"""Where in their own source they gave up: not what a user can act on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One line or more that the builder said.

    Attributes:
        severity: How bad.
        text: What.
    """

    severity: Severity
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An engine, and what was said while it was built.

    Attributes:
        engine: Serialised.
        messages: All of them, in order. With TensorRT for RTX a verbose one that begins with
            ``Layers:`` lists the kernels, and informative ones give the memory in bytes.
        elapsed_s: Seconds that building took, without parsing.
        timing_cache: What TensorRT learned of kernels, to build the same again; empty where the
            runtime keeps none.
    """

    engine: bytes
    messages: tuple[Message, ...]
    elapsed_s: float
    timing_cache: bytes = b""

    def said(self, severity: Severity) -> tuple[str, ...]:
        """Return the texts of one severity, in order."""
        return tuple(each.text for each in self.messages if each.severity == severity)


def tensorrt_module(name: TensorRTModule) -> TensorRT:
    """Import TensorRT or TensorRT for RTX.

    Raises:
        DeviceUnavailable: It is not installed, or its libraries do not load.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise DeviceUnavailable(
            f"this needs {TITLES[name]}, which is not installed: pip install "
            f"'latkit[{EXTRAS[name]}]'"
        ) from error
    except OSError as error:  # of its libraries
        raise DeviceUnavailable(
            f"{TITLES[name]} does not load: {_one_line([str(error)])}"
        ) from error


def build_engine(
    graph: Graph,
    *,
    module: TensorRTModule = "tensorrt_rtx",
    compute_capabilities: Sequence[str] = (),
    tf32: bool = True,
    timing_cache: bytes = b"",
) -> Built:
    """Build an engine whose number formats are those of the graph.

    Args:
        graph: What to build; sizes that the file leaves open are fixed to its inputs.
        module: Which TensorRT.
        compute_capabilities: What the engine shall run on, such as ``("8.6", "12.0")``; only
            TensorRT for RTX builds for others than the GPU that is here, which is what none means.
        tf32: Whether products of fp32 may round their factors to 10 bits, as TensorRT does unless
            it is told not to.
        timing_cache: Of an earlier build, so that TensorRT picks the same kernels.

    Raises:
        DeviceUnavailable: The module is not installed, builds for no such compute capability, or
            needs a GPU that is not here.
        UnsupportedGraph: Parser or builder refuse the graph; in their own words.
    """
    trt = tensorrt_module(module)
    messages: list[Message] = []
    log = message_log(trt, messages)
    builder = _builder(trt, log, module, messages)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(trt, network, graph, log=log, title=TITLES[module])
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    _ask_for(trt, config, compute_capabilities, module=module)
    cache = None if module == "tensorrt_rtx" else config.create_timing_cache(timing_cache)
    if cache is not None:
        config.set_timing_cache(cache, False)
    start = perf_counter()
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise UnsupportedGraph(f"{TITLES[module]} builds no engine: {said_in_error(messages)}")
    return Built(
        engine=bytes(engine),
        messages=tuple(messages),
        elapsed_s=perf_counter() - start,
        timing_cache=b"" if cache is None else bytes(config.get_timing_cache().serialize()),
    )


def known_capabilities(module: TensorRTModule = "tensorrt_rtx") -> tuple[str, ...]:
    """Return the compute capabilities that an engine can be built for anywhere.

    Raises:
        DeviceUnavailable: The module is not installed.
    """
    if module == "tensorrt":
        return ()
    names = tensorrt_module(module).ComputeCapability.__members__
    return tuple(f"{name[2:-1]}.{name[-1]}" for name in names if name[:2] == "SM")


def _builder(trt: TensorRT, log: Any, module: TensorRTModule, messages: list[Message]) -> Any:
    try:
        return trt.Builder(log)
    except (TypeError, RuntimeError) as error:  # a null pointer: no driver, or none that fits
        raise DeviceUnavailable(
            f"{TITLES[module]} cannot build here: {said_in_error(messages) or error}"
        ) from error


def _parse(trt: TensorRT, network: Any, graph: Graph, *, log: Any, title: str) -> None:
    """Fill a network from ONNX, and fix the sizes of its inputs."""
    parser = trt.OnnxParser(network, log)
    # The name matters only as the place that outside weights lie beside.
    path = None if graph.folder is None else str(graph.folder / "model.onnx")
    if not parser.parse(graph.onnx, path):
        said = [_complaint(parser.get_error(i)) for i in range(parser.num_errors)]
        raise UnsupportedGraph(f"{title} refuses the graph: {_one_line(said)}")
    if not network.num_layers:
        raise UnsupportedGraph(f"{title} refuses the graph: it has no nodes")
    shapes = dict(graph.inputs)
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        if tensor.name in shapes and tuple(tensor.shape) != shapes[tensor.name]:
            tensor.shape = shapes[tensor.name]


def _complaint(error: Any) -> str:
    """Return what a parser says of one node, with the node."""
    where = " ".join(filter(None, (error.node_operator(), error.node_name())))
    return f"{where}: {error.desc()}" if where else str(error.desc())


def _ask_for(
    trt: TensorRT, config: Any, capabilities: Sequence[str], *, module: TensorRTModule
) -> None:
    """Tell the builder what the engine shall run on."""
    if not capabilities:
        return
    known = known_capabilities(module)
    strange = [each for each in capabilities if each not in known]
    if strange:
        where = f"for {', '.join(known)}" if known else "only for the GPU that is here"
        raise DeviceUnavailable(
            f"{TITLES[module]} {trt.__version__} builds {where}, not for compute capability "
            f"{', '.join(strange)}"
        )
    config.num_compute_capabilities = len(capabilities)
    for number, each in enumerate(capabilities):
        sm = trt.ComputeCapability.__members__[f"SM{each.replace('.', '')}"]
        config.set_compute_capability(sm, number)


def message_log(trt: TensorRT, messages: list[Message]) -> Any:
    """Return a logger for TensorRT that adds what it is told to ``messages``."""

    class Log(trt.ILogger):  # type: ignore[misc]  # a class of a module that is chosen at run time
        def log(self, severity: Any, text: str) -> None:
            messages.append(Message(severity=SEVERITIES[int(severity)], text=text))

    return Log()


def said_in_error(messages: Sequence[Message]) -> str:
    """Return the errors among messages in one line, without the places in TensorRT's source."""
    return _one_line([each.text for each in messages if each.severity in ("internal", "error")])


def _one_line(said: Sequence[str]) -> str:
    texts = (" ".join(SOURCE_NOTES.sub("", each).split()) for each in said)
    return "; ".join(dict.fromkeys(filter(None, texts)))[:500]
