"""What became of a graph that was built: by real builds of TensorRT for RTX, without a GPU."""

import pytest

from devices import DeviceSpec, Gpu, Graph, Precision
from devices.nvidia.engine_facts import BuildsEngines, EngineFacts, engine_facts_from_json
from devices.nvidia.engine_layers import EngineLayer, format_named
from devices.nvidia.engine_plan import layers_of_plan
from devices.nvidia.engine_precision import strays_of, wanted_formats
from devices.nvidia.tensorrt_build import Built, build_engine
from devices.nvidia.tensorrt_gpu import TensorRTGpu, built_layers
from devices.onnx_runtime.cpu import OnnxRuntimeCpu
from profiler import Chain, MBConv, in_context
from profiler.operators.builders import graph_for
from tests.fake_gpu import FakeGpu

BLOCK: Chain = in_context(MBConv(input_shape=(1, 16, 14, 14), channels=16, expand=3))
CONVOLUTIONS = 4  # the neighbour's, and three of the block


def graph(precision: Precision) -> Graph:
    return graph_for(BLOCK, DeviceSpec(name="gpu", backend="tensorrt", precision=precision))


def strays(precision: Precision, capability: str) -> tuple[int, tuple[str, ...]]:
    asked = graph(precision)
    return strays_of(asked, layers_of_plan(build_engine(asked, compute_capabilities=[capability])))


@pytest.mark.parametrize(
    ("precision", "capability"),
    [("fp32", "8.6"), ("fp16", "7.5"), ("fp16", "12.0"), ("int8", "8.6"), ("int8", "12.0")],
)
def test_engines_compute_in_the_precision_of_the_graph(
    precision: Precision, capability: str
) -> None:
    assert strays(precision, capability) == (CONVOLUTIONS, ())


def test_integers_that_are_computed_in_floats_are_found_out() -> None:
    found, names = strays("int8", "7.5")  # which has no kernels for them
    assert found == len(names) == CONVOLUTIONS
    assert names[0] == "0.Conv reads fp32, not int8"
    assert EngineFacts(build_s=1.0, load_s=1.0, nodes=found, strays=names).other_precision


def layer(*nodes: str, types: tuple[str, ...]) -> EngineLayer:
    return EngineLayer(name="k", kind="k", nodes=nodes, inputs=(), outputs=(), types=types)


def test_an_operator_strays_only_where_none_of_its_layers_reads_its_format() -> None:
    (first, *_) = wanted_formats_of("fp16")
    asked = graph("fp16")
    rescaled = [layer(first, types=("fp16",)), layer(first, types=("fp32",))]
    assert strays_of(asked, rescaled) == (1, ())
    assert strays_of(asked, rescaled[1:]) == (1, (f"{first} reads fp32, not fp16",))
    assert strays_of(asked, [layer(first, types=()), layer("else", types=("fp32",))]) == (0, ())


def wanted_formats_of(precision: Precision) -> dict[str, Precision]:
    import onnx

    return dict(wanted_formats(onnx.load_from_string(graph(precision).onnx)))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_convolution_of_a_graph_asks_for_its_precision(precision: Precision) -> None:
    found = wanted_formats_of(precision)
    assert len(found) == CONVOLUTIONS
    assert set(found.values()) == {precision}


def test_most_of_a_graph_has_to_stray_before_it_is_of_another_precision() -> None:
    half = EngineFacts(build_s=1.0, load_s=1.0, nodes=4, strays=("a", "b"))
    assert not half.other_precision
    assert not EngineFacts(build_s=1.0, load_s=1.0).other_precision


@pytest.mark.parametrize(("share", "bound"), [(None, False), (0.1, False), (0.8, True)])
def test_a_gpu_that_waits_for_the_cpu_is_launch_bound(share: float | None, bound: bool) -> None:
    facts = EngineFacts(build_s=1.0, load_s=1.0, queue_share=share)
    assert facts.launch_bound is bound
    assert engine_facts_from_json(facts.as_json()) == facts


@pytest.mark.parametrize(
    ("said", "name"),
    [("Half", "fp16"), ("Channel major Int8 format", "int8"), ("Row major", ""), ("FP32", "fp32")],
)
def test_formats_are_known_by_all_their_names(said: str, name: str) -> None:
    assert format_named(said) == name


def test_what_a_builder_does_not_list_is_asked_of_the_inspector() -> None:
    assert built_layers(Built(engine=b"", messages=(), elapsed_s=0.0)) == ()


def test_backends_that_build_are_known_by_what_they_answer() -> None:
    gpu = FakeGpu(DeviceSpec(name="gpu", backend="fake", gpu=Gpu()))
    assert isinstance(gpu, BuildsEngines)
    assert issubclass(TensorRTGpu, BuildsEngines)
    assert not issubclass(OnnxRuntimeCpu, BuildsEngines)
