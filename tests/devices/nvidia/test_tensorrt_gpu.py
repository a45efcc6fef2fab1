"""TensorRT on a GPU: what can be checked without one, and the tests that need one.

Tests with the marker ``gpu`` run on the device that LATKIT_GPU names: ``LATKIT_GPU=rtx-4090 make
gpu``.
"""

import inspect
import os
from dataclasses import replace

import numpy as np
import onnx
import pytest

from devices import DeviceSpec, DeviceUnavailable, Gpu, InvalidFile, backend_for, device_named
from devices.nvidia.cuda_memory import GpuFacts
from devices.nvidia.tensorrt_build import build_engine, tensorrt_module
from devices.nvidia.tensorrt_engine import LayerTimes, layer_profiler
from devices.nvidia.tensorrt_gpu import TensorRTGpu, check_gpu
from devices.nvidia.tensorrt_inspector import layers_of, onnx_of
from profiler import Chain, Conv, Head, MBConv, Pace, Task, run_campaign, take_samples
from profiler.operators.builders import INPUT, OUTPUT, chain_graph, graph_for
from profiler.operators.probes import in_context
from tests.rtx_engines import check_engine

TRT = tensorrt_module("tensorrt_rtx")
FACTS = GpuFacts(
    name="NVIDIA GeForce RTX 4090",
    compute_capability="8.9",
    l2_bytes=72 << 20,
    bus_id="0000:01:00.0",
    cuda="13.0",
)
SHAPE = (1, 3, 32, 32)
NETWORK: Chain = (
    Conv(input_shape=SHAPE, channels=16, kernel=3, stride=2, activation="relu6"),
    MBConv(input_shape=(1, 16, 16, 16), channels=16, expand=3, squeeze=4),
    Head(input_shape=(1, 16, 16, 16), channels=32, classes=10),
)


def test_a_gpu_that_is_the_devices_own_is_taken() -> None:
    check_gpu(FACTS, Gpu(product="RTX 4090", compute_capability="8.9"), name="rtx-4090")
    check_gpu(FACTS, Gpu(), name="any")


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        (
            Gpu(product="A100"),
            "is a NVIDIA GeForce RTX 4090 .* 8.9; device 'mine' is a A100: write",
        ),
        (Gpu(compute_capability="8.6"), "device 'mine' is a GPU of 8.6: write a device file"),
    ],
)
def test_another_gpu_than_the_devices_is_refused(gpu: Gpu, said: str) -> None:
    with pytest.raises(DeviceUnavailable, match=said):
        check_gpu(FACTS, gpu, name="mine")


def test_a_gpu_that_the_runtime_does_not_serve_names_the_runtime_that_does() -> None:
    h100 = GpuFacts(name="H100", compute_capability="9.0", l2_bytes=1, bus_id="", cuda="13.0")
    with pytest.raises(DeviceUnavailable, match=r"RTX serves 7\.5, .*12\.1: use module: tensorrt"):
        check_gpu(h100, Gpu(module="tensorrt_rtx"), name="mine")
    check_gpu(h100, Gpu(module="tensorrt"), name="mine")


def test_junk_is_told_from_an_engine_without_a_gpu() -> None:
    engine = build_engine(chain_graph(NETWORK), compute_capabilities=("8.6",)).engine
    check_engine(TRT, engine)
    with pytest.raises(InvalidFile, match="this is no engine of TensorRT for RTX"):
        check_engine(TRT, b"junk" * 100)


INSPECTED = """
{"Layers": [
  {"Name": "0.conv_myl0_1", "LayerType": "correlation",
   "Inputs": [{"Name": "images", "Dimensions": [1, 3, 8, 8], "Datatype": "Half"}],
   "Outputs": [{"Name": "a"}],
   "Metadata": "[ONNX Layer: 0.conv][ONNX Layer: 0.conv.act]"},
  {"Name": "old", "LayerType": "Convolution",
   "Inputs": [{"Name": "a", "Format/Datatype": "Channel major Int8 format"}],
   "Outputs": [{"Name": "logits"}]},
  "named only"],
 "Bindings": ["images", "logits"]}
"""


def test_layers_are_read_from_either_form_of_the_inspector() -> None:
    new, old, bare = layers_of(INSPECTED)
    assert (new.name, new.kind, new.types) == ("0.conv_myl0_1", "correlation", ("fp16",))
    assert new.nodes == ("0.conv", "0.conv.act")
    assert (old.types, old.inputs, old.outputs) == (("int8",), ("a",), ("logits",))
    assert (bare.name, bare.kind, bare.types) == ("named only", "unknown", ())
    assert layers_of("{}") == ()


def test_layers_are_shown_as_nodes_that_only_tensorrt_knows() -> None:
    nodes = onnx.load_from_string(onnx_of(layers_of(INSPECTED))).graph.node
    assert [node.op_type for node in nodes] == ["correlation", "Convolution", "unknown"]
    assert {node.domain for node in nodes} == {"com.nvidia.tensorrt"}


def test_the_profiler_keeps_the_seconds_of_every_run() -> None:
    times = LayerTimes()
    profiler = layer_profiler(TRT, times)
    profiler.report_layer_time("conv", 2.0)
    profiler.report_layer_time("conv", 3.0)
    assert times.taken_s == {"conv": [2e-3, 3e-3]}
    assert isinstance(profiler, TRT.IProfiler)


USED = {
    "Builder": "build_serialized_network create_builder_config create_network",
    "IBuilderConfig": "clear_flag create_timing_cache get_timing_cache num_compute_capabilities"
    " profiling_verbosity set_compute_capability set_timing_cache",
    "INetworkDefinition": "get_input num_inputs num_layers",
    "OnnxParser": "get_error num_errors parse",
    "ParserError": "desc node_name node_operator",
    "Runtime": "deserialize_cuda_engine get_engine_validity",
    "ICudaEngine": "create_engine_inspector create_execution_context create_runtime_config"
    " get_tensor_dtype get_tensor_mode get_tensor_name num_io_tensors",
    "IExecutionContext": "execute_async_v3 get_tensor_shape profiler set_tensor_address",
    "IRuntimeConfig": "create_runtime_cache set_runtime_cache",
    "IRuntimeCache": "deserialize serialize",
    "ITimingCache": "serialize",
    "EngineInspector": "get_engine_information",
    "LayerInformationFormat": "JSON",
    "TensorIOMode": "INPUT",
    "BuilderFlag": "TF32",
    "ProfilingVerbosity": "DETAILED",
    "NetworkDefinitionCreationFlag": "STRONGLY_TYPED",
    "EngineInvalidityDiagnostics": "MALFORMED_ENGINE",
}


@pytest.mark.parametrize("name", USED)
def test_the_real_bindings_have_what_is_used_of_them(name: str) -> None:
    assert all(hasattr(getattr(TRT, name), member) for member in USED[name].split())


def test_severities_are_numbered_as_they_are_read() -> None:
    numbered = {
        int(value): name.lower() for name, value in TRT.ILogger.Severity.__members__.items()
    }
    assert numbered == {0: "internal_error", 1: "error", 2: "warning", 3: "info", 4: "verbose"}


def gpu_device() -> DeviceSpec:
    """Return the device that LATKIT_GPU names, or skip with the reason why there is none."""
    device = device_named(os.environ.get("LATKIT_GPU", "rtx-4090"))
    try:
        backend_for(device)
    except DeviceUnavailable as error:
        pytest.skip(f"{device.name}: {error}")
    return device


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_gpu_computes_what_a_cpu_computes(precision: str) -> None:
    base = gpu_device().name
    device = device_named(f"{base}-{precision}")
    graph = graph_for(NETWORK, device)
    x = {INPUT: np.random.default_rng(0).standard_normal(SHAPE, np.float32)}
    outputs = []
    for each in (device_named("cpu"), device):
        with backend_for(each).open(graph) as session:
            outputs.append(session.run(x)[OUTPUT])
    expected, found = outputs
    tolerance = {"fp32": 2e-3, "fp16": 2e-2, "int8": 5e-2}[precision]  # fp32: in TF32
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.gpu
def test_a_larger_network_takes_a_gpu_longer() -> None:
    backend, device = backend_for(gpu_device()), gpu_device()
    seconds = []
    for channels in (64, 512):
        conv = Conv(input_shape=(1, channels, 56, 56), channels=channels, kernel=3)
        with backend.open(graph_for((conv, conv), device)) as session:
            taken = take_samples(session, Pace())
            seconds.append(min(taken.samples_s))
    assert seconds[1] > 2 * seconds[0] > 0.0


@pytest.mark.gpu
def test_a_gpu_takes_the_time_of_every_layer() -> None:
    device = gpu_device()
    trace = backend_for(device).trace(graph_for(NETWORK, device), runs=3)
    assert trace.kernels
    assert trace.sum_s > 0.0
    assert onnx.load_from_string(trace.optimized).graph.node


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_inspector_says_that_a_gpu_runs_the_precision_of_the_file(precision: str) -> None:
    device = device_named(f"{gpu_device().name}-{precision}")
    backend = backend_for(device)
    assert isinstance(backend, TensorRTGpu)
    layers = backend.layers(graph_for(NETWORK, device))
    assert precision in {type_ for layer in layers for type_ in layer.types}


@pytest.mark.gpu
def test_a_gpu_says_what_became_of_an_engine() -> None:
    device = gpu_device()
    backend, graph = backend_for(device), graph_for(NETWORK, device)
    assert isinstance(backend, TensorRTGpu)
    with backend.open(graph) as session:
        session.time(100)
    facts = backend.engine_facts(graph)
    assert facts.build_s > 0.0
    assert facts.load_s > 0.0
    assert (facts.nodes > 0, facts.strays) == (True, ())
    assert facts.queue_share is not None
    assert device.gpu is not None
    assert bool(backend.timing_cache()) == (device.gpu.module == "tensorrt")


@pytest.mark.gpu
def test_a_campaign_on_a_gpu_ends_with_every_slice_judged() -> None:
    device = gpu_device()
    chains = [
        in_context(MBConv(input_shape=(1, 16, 28, 28), channels=16, expand=e)) for e in (3, 6)
    ]
    tasks = [Task(number=number, process=0, round=0) for number in (0, 1)]
    events = list(
        run_campaign(
            backend_for(device),
            [graph_for(chain, device) for chain in chains],
            tasks,
            Pace(),
            build=lambda chain: graph_for(chain, device),
            cold=False,
        )
    )
    kinds = [type(event).__name__ for event in events]
    assert kinds.count("Taken") >= 2
    assert kinds[-1] == "Judged"


@pytest.mark.gpu
def test_a_junk_engine_is_refused_by_a_gpu() -> None:
    device = gpu_device()
    graph = replace(graph_for(NETWORK, device), engine=b"junk" * 100)
    with (
        pytest.raises(InvalidFile, match="does not load the engine"),
        backend_for(device).open(graph),
    ):
        pass


@pytest.mark.gpu
def test_the_tensorrt_of_a_gpu_has_what_is_used_of_it() -> None:
    device = gpu_device()
    assert device.gpu is not None
    if device.gpu.module == "tensorrt_rtx":
        pytest.skip("the other tests look at TensorRT for RTX")
    trt = tensorrt_module("tensorrt")
    alone = {"IRuntimeConfig", "IRuntimeCache", "EngineInvalidityDiagnostics"}
    for name in USED.keys() - alone:
        members = set(USED[name].split())
        members -= {"num_compute_capabilities", "set_compute_capability", "get_engine_validity"}
        members -= {"create_runtime_config"}
        assert all(hasattr(getattr(trt, name), member) for member in members), name
    assert inspect.isclass(trt.IProfiler)
