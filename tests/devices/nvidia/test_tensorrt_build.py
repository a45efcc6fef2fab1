"""Real engines of TensorRT for RTX, built for GPUs that are not here."""

import re
import sys
from dataclasses import asdict

import pytest

from devices import DeviceSpec, DeviceUnavailable, Graph, Precision, UnsupportedGraph
from devices.nvidia.engine_layers import ONNX_LAYER
from devices.nvidia.tensorrt_build import Built, build_engine, known_capabilities
from profiler import Chain, Conv, Head, MBConv, OpSpec, in_context
from profiler.operators.builders import chain_graph, graph_for
from search import SearchSpace
from search.spaces import SPACES, space_named

TWO = ("7.5", "12.0")
"""The oldest and nearly the newest that TensorRT for RTX builds for."""

SHAPE = (1, 16, 14, 14)
BLOCK: Chain = in_context(MBConv(input_shape=SHAPE, channels=16, expand=3))
WITH_GATE: Chain = in_context(
    MBConv(input_shape=SHAPE, channels=16, expand=3, squeeze=4, activation="hswish")
)
SIZES = {"input_shape", "channels"}
COMPUTED = re.compile(r"\d+\.(Conv|Gemm)")


def device(precision: Precision) -> DeviceSpec:
    return DeviceSpec(name="gpu", backend="tensorrt", precision=precision)


def plan(built: Built) -> list[tuple[list[str], str]]:
    """Return for each kernel the ONNX nodes in it, and the first type that it reads."""
    (text,) = (each for each in built.said("verbose") if each.startswith("Layers:"))
    kernels = [line for line in text.splitlines() if line.startswith("Name: ")]
    return [
        (ONNX_LAYER.findall(kernel), (re.findall(r"Datatype: (\w+)", kernel) or [""])[0])
        for kernel in kernels
    ]


def together(built: Built, *nodes: str) -> int:
    """Count the kernels that hold one of these nodes."""
    return sum(1 for held, _ in plan(built) if not set(nodes).isdisjoint(held))


def kind(op: OpSpec) -> tuple[object, ...]:
    """Return what an operator computes, whatever its size."""
    how = asdict(op)
    squeezed = bool(how.pop("squeeze", 0))
    return type(op), squeezed, str({k: v for k, v in how.items() if k not in SIZES})


def one_of_each(space: SearchSpace, *, most: int) -> list[OpSpec]:
    """Return operators of a space, one of each kind, at most so many, spread over all kinds."""
    found = list({kind(op): op for op in space.operators}.values())
    step = max(1, -(-len(found) // most))
    return found[::step]


@pytest.mark.parametrize("name", SPACES)
def test_operators_of_every_space_are_built_for_two_compute_capabilities(name: str) -> None:
    for op in one_of_each(space_named(name), most=8):
        built = build_engine(graph_for(in_context(op), device("fp16")), compute_capabilities=TWO)
        assert len(built.engine) > 10_000, op
        assert not built.said("error"), op


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("activation", ["relu", "relu6", "hswish"])
def test_a_convolution_and_its_activation_are_one_kernel(
    precision: Precision, activation: str
) -> None:
    conv = Conv(input_shape=SHAPE, channels=32, kernel=3, activation=activation)  # type: ignore[arg-type]
    chain: Chain = (conv, Head(input_shape=conv.output_shape, channels=32, classes=10))
    built = build_engine(graph_for(chain, device(precision)), compute_capabilities=("8.6",))
    assert together(built, "0.conv", "0.conv.act") == 1


def test_a_block_is_as_many_kernels_as_it_has_convolutions() -> None:
    built = build_engine(graph_for(BLOCK, device("fp16")), compute_capabilities=("8.6",))
    nodes = ("1.expand", "1.expand.act", "1.depthwise", "1.depthwise.act", "1.project", "1.add")
    assert together(built, *nodes) == 3


def test_what_the_file_says_is_what_the_engine_runs() -> None:
    for precision, type_ in (("fp32", "Float"), ("fp16", "Half")):
        built = build_engine(
            graph_for(BLOCK, device(precision)),  # type: ignore[arg-type]
            compute_capabilities=("8.6",),
        )
        nodes = {"0.conv", "1.expand", "1.depthwise", "1.project"}
        read = {node: type_ for held, type_ in plan(built) for node in nodes & set(held)}
        assert read == dict.fromkeys(nodes, type_)


def types_read(chain: Chain, *, capability: str) -> dict[str, set[str]]:
    """Return what the kernels of each convolution of an int8 graph read."""
    built = build_engine(graph_for(chain, device("int8")), compute_capabilities=(capability,))
    read: dict[str, set[str]] = {}
    for held, type_ in plan(built):
        for node in filter(COMPUTED.fullmatch, held):
            read.setdefault(node, set()).add(type_)
    return read


@pytest.mark.parametrize("capability", ["8.0", "12.0"])
def test_every_convolution_of_an_int8_block_reads_integers(capability: str) -> None:
    read = types_read(BLOCK, capability=capability)
    assert read.keys() == {"0.Conv", "1.Conv", "3.Conv", "5.Conv"}
    assert all("Int8" in types for types in read.values())


def test_a_gate_of_an_int8_block_is_accepted_and_leaves_its_trunk_in_integers() -> None:
    read = types_read(WITH_GATE, capability="8.6")
    trunk = {"0.Conv", "1.Conv", "3.Conv", "11.Conv"}
    assert trunk < read.keys()
    assert all("Int8" in read[node] for node in trunk)


def test_on_the_oldest_gpus_int8_is_computed_in_floats() -> None:
    assert set().union(*types_read(BLOCK, capability="7.5").values()) == {"Float"}


def test_an_engine_for_two_gpus_is_larger_than_one_for_one() -> None:
    graph = graph_for(BLOCK, device("fp16"))
    one = build_engine(graph, compute_capabilities=("8.6",))
    two = build_engine(graph, compute_capabilities=("8.6", "12.0"))
    assert len(two.engine) > len(one.engine)


def test_a_graph_gives_the_same_engine_twice() -> None:
    graph = graph_for(BLOCK, device("fp16"))
    first, again = (build_engine(graph, compute_capabilities=("8.6",)) for _ in range(2))
    assert first.engine == again.engine


def test_tf32_can_be_left_out() -> None:
    graph = graph_for(BLOCK, device("fp32"))
    with_tf32 = build_engine(graph, compute_capabilities=("8.6",))
    without = build_engine(graph, compute_capabilities=("8.6",), tf32=False)
    assert without.engine != with_tf32.engine


def test_a_batch_that_the_file_leaves_open_is_fixed_by_the_inputs() -> None:
    import onnx

    model = onnx.load_from_string(chain_graph(BLOCK).onnx)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    graph = Graph(onnx=model.SerializeToString(), inputs=(("images", (5, *SHAPE[1:])),))
    built = build_engine(graph, compute_capabilities=("8.6",))
    (text,) = (each for each in built.said("verbose") if each.startswith("Layers:"))
    assert "Dimensions: [5,16,14,14]" in text


def graph_of(kind: str) -> Graph:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 3)) for n in "xy")
    graph = helper.make_graph([helper.make_node(kind, ["x"], ["y"], name="n")], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return Graph(onnx=model.SerializeToString(), inputs=(("x", (1, 3)),))


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (Graph(onnx=b"not a graph", inputs=()), "Failed to parse the ONNX model"),
        (Graph(onnx=b"", inputs=()), "it has no nodes"),
        (graph_of("Convolve"), "Convolve n: .*Plugin not found"),
        (graph_of("NonZero"), "NonZero n: .*plugin creator"),
    ],
    ids=["broken", "empty", "unknown", "unsupported"],
)
def test_what_the_parser_refuses_is_said_in_its_own_words(graph: Graph, said: str) -> None:
    with pytest.raises(UnsupportedGraph, match=f"TensorRT for RTX refuses the graph: {said}") as r:
        build_engine(graph, compute_capabilities=("8.6",))
    assert "\n" not in str(r.value)


def test_a_gpu_that_it_does_not_serve_is_named_with_those_that_it_does() -> None:
    assert known_capabilities() == ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
    with pytest.raises(DeviceUnavailable, match=r"builds for 7\.5, .* not for .* 9\.0$"):
        build_engine(chain_graph(BLOCK), compute_capabilities=("9.0",))


def test_a_module_that_is_not_installed_names_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DeviceUnavailable, match=r"needs TensorRT, .*: pip install 'latkit\[tens"):
        build_engine(chain_graph(BLOCK), module="tensorrt")
    assert known_capabilities("tensorrt") == ()
