from collections.abc import Iterator
from dataclasses import replace
from itertools import chain as chain_of
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from devices import IR_VERSION, OPSET, DeviceSpec, Graph, backend_for
from devices.graphs.lowering import lower
from profiler import Chain, Conv, Head, MBConv, OpSpec, Pool, Skip, Unified
from profiler.operators.builders import INPUT, OUTPUT, chain_graph
from profiler.operators.modules import build, deployed
from profiler.operators.primitives import ConvNorm, Linear, MixedDepthwise, Primitive, SqueezeExcite

CPU = DeviceSpec(name="cpu", backend="onnxruntime")
Weights = dict[str, NDArray[np.float32]]

OPERATORS: list[OpSpec] = [
    Conv(input_shape=(1, 3, 15, 9), channels=6, kernel=3, stride=2, activation="relu"),
    Conv(input_shape=(1, 4, 7, 7), channels=6, stride=2),
    Conv(input_shape=(2, 4, 5, 5), channels=5, kernel=5, activation="hswish"),
    MBConv(input_shape=(1, 4, 7, 7), channels=4, kernel=5, expand=3),
    MBConv(input_shape=(1, 4, 7, 11), channels=6, kernel=7, stride=2, expand=6),
    MBConv(input_shape=(3, 4, 8, 8), channels=6, kernel=3, stride=2, expand=1),
    MBConv(input_shape=(1, 4, 7, 7), channels=4, squeeze=2, activation="hswish"),
    MBConv(input_shape=(1, 4, 6, 6), channels=8, stride=2, squeeze=3, activation="relu6"),
    Unified(input_shape=(1, 4, 7, 11), channels=6, kernels=(3, 3, 5, 7), stride=2),
    Unified(
        input_shape=(1, 4, 7, 11), channels=6, kernels=(3, 3, 5, 7), stride=2, lowering="split"
    ),
    Unified(input_shape=(2, 4, 6, 6), channels=4, kernels=(3, 7), squeeze=3, activation="hswish"),
    Unified(
        input_shape=(1, 4, 6, 6), channels=4, kernels=(5, 7), activation="relu6", lowering="split"
    ),
    Unified(input_shape=(1, 4, 7, 7), channels=4, kernels=(5,)),
    Skip(input_shape=(2, 4, 7, 5)),
    Pool(input_shape=(2, 4, 7, 5)),
    Head(input_shape=(2, 4, 3, 5), channels=8, classes=10, activation="relu6"),
]
NETWORK: Chain = (
    Conv(input_shape=(1, 3, 16, 16), channels=8, kernel=3, stride=2, activation="relu"),
    MBConv(input_shape=(1, 8, 8, 8), channels=8, expand=3),
    Skip(input_shape=(1, 8, 8, 8)),
    MBConv(input_shape=(1, 8, 8, 8), channels=12, stride=2, squeeze=4, activation="hswish"),
    Head(input_shape=(1, 12, 4, 4), channels=16, classes=5),
)
UNIFIED: Chain = (
    Conv(input_shape=(1, 3, 16, 16), channels=8, kernel=3, stride=2, activation="relu6"),
    Unified(input_shape=(1, 8, 8, 8), channels=8, kernels=(3, 5), activation="relu6"),
    Unified(input_shape=(1, 8, 8, 8), channels=12, kernels=(3, 3, 7), stride=2, squeeze=6),
    Unified(input_shape=(1, 12, 4, 4), channels=12, kernels=(5, 7), lowering="split"),
    Unified(input_shape=(1, 12, 4, 4), channels=12, kernels=(3, 3)),
    Head(input_shape=(1, 12, 4, 4), channels=16, classes=5),
)
CHAINS: list[Chain] = [*((op,) for op in OPERATORS), NETWORK, UNIFIED]
every_chain = pytest.mark.parametrize(
    "chain", CHAINS, ids=lambda chain: " | ".join(map(str, chain))
)


def trained(chain: Chain) -> nn.Sequential:
    """Return modules whose batch norms have statistics and weights unlike the fresh ones."""
    torch.manual_seed(0)
    network = nn.Sequential(*(build(op) for op in chain)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_var, module.weight):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
            for values in (module.running_mean, module.bias):
                assert values is not None
                nn.init.uniform_(values, -0.5, 0.5)
    return network


def as_arrays(weight: torch.Tensor, bias: torch.Tensor, name: str) -> Weights:
    return {f"{name}.weight": weight.detach().numpy(), f"{name}.bias": bias.detach().numpy()}


def folded(conv: nn.Module, norm: nn.Module, name: str) -> Weights:
    """Return the convolution that does what a convolution and its batch norm do."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = norm.bias - norm.running_mean * scale
    return as_arrays(conv.weight * scale[:, None, None, None], bias, name)


def weights_of(chain: Chain, network: nn.Sequential) -> Weights:
    """Return a network's weights under the names that a built graph gives them."""
    weights: Weights = {}
    blocks: list[Any] = list(network)  # torch types every attribute of a module as a tensor
    for index, (op, block) in enumerate(zip(chain, blocks, strict=True)):
        for primitive, layer in zip(op.primitives, block.body, strict=True):
            weights |= weights_of_one(primitive, layer, f"{index}.{primitive.name}")
    return weights


def weights_of_one(primitive: Primitive, layer: Any, name: str) -> Weights:
    match primitive:
        case ConvNorm() | MixedDepthwise(parts=[_]):
            return folded(layer[0], layer[1], name)
        case MixedDepthwise(lowering="padded"):
            conv, norm, _ = layer.padded()
            return folded(conv, norm, name)
        case MixedDepthwise():
            parts = (folded(p[0], p[1], f"{name}.{key}") for key, p in layer.parts.items())
            return dict(chain_of(*(part.items() for part in parts)))
        case SqueezeExcite():
            reduce, expand = layer.gate[1], layer.gate[3]
            return as_arrays(reduce.weight, reduce.bias, f"{name}.reduce") | as_arrays(
                expand.weight, expand.bias, f"{name}.expand"
            )
        case Linear():
            return as_arrays(layer[1].weight, layer[1].bias, name)
        case _:
            return {}


def with_weights(graph: Graph, weights: Weights) -> Graph:
    """Return the graph with other weights; every one of them must have a place in it."""
    model = onnx.load_from_string(graph.onnx)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            values = weights.pop(tensor.name)
            assert values.shape == tuple(tensor.dims), tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        else:
            assert tensor.name.endswith((".min", ".max", ".sizes")), tensor.name
    assert not weights
    return replace(graph, onnx=model.SerializeToString())


@every_chain
def test_a_built_graph_computes_what_the_torch_modules_compute(chain: Chain) -> None:
    network = trained(chain)
    x = torch.randn(chain[0].input_shape, generator=torch.Generator().manual_seed(1)) * 3
    graph = with_weights(chain_graph(chain), weights_of(chain, network))
    with backend_for(CPU).open(graph) as session:
        built = session.run({INPUT: x.numpy()})[OUTPUT]
    with torch.no_grad():
        np.testing.assert_allclose(built, network(x).numpy(), rtol=1e-4, atol=1e-4)


def shape_of(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(size.dim_value for size in value.type.tensor_type.shape.dim)


@every_chain
def test_a_built_graph_is_valid_and_says_its_version(chain: Chain) -> None:
    graph = chain_graph(chain)
    model = onnx.load_from_string(graph.onnx)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
    assert model.ir_version == IR_VERSION
    assert graph.inputs == ((INPUT, chain[0].input_shape),)
    assert [(i.name, shape_of(i)) for i in model.graph.input] == [(INPUT, chain[0].input_shape)]
    assert [value.name for value in model.graph.output] == [OUTPUT]


@every_chain
def test_onnx_infers_the_output_shape_that_the_operator_says(chain: Chain) -> None:
    model = onnx.load_from_string(chain_graph(chain).onnx)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert shape_of(inferred.graph.output[0]) == chain[-1].output_shape


def fused(nodes: Iterator[onnx.NodeProto]) -> list[tuple[str, ...]]:
    """Return what a runtime has to compute: kinds of nodes, convolutions with their attributes."""
    kinds = []
    for node in nodes:
        attributes = {a.name: list(a.ints) or a.i for a in node.attribute}
        keys = ("kernel_shape", "strides", "pads", "group") if node.op_type == "Conv" else ()
        if node.op_type not in ("Identity", "Flatten", "Reshape", "Constant"):
            kinds.append((node.op_type, *(str(attributes.get(key)) for key in keys)))
    return sorted(kinds)


@pytest.mark.parametrize("chain", [NETWORK, UNIFIED], ids=["network", "unified"])
def test_a_built_graph_has_the_nodes_of_an_exported_network(chain: Chain) -> None:
    exported = onnx.load_from_string(lower(deployed(trained(chain)), chain[0].input_shape).onnx)
    built = onnx.load_from_string(chain_graph(chain).onnx)
    assert fused(iter(built.graph.node)) == fused(iter(exported.graph.node))


def test_kernels_of_several_sizes_are_one_convolution_of_the_largest_or_one_for_each() -> None:
    padded = Unified(input_shape=(1, 8, 7, 7), channels=8, kernels=(3, 3, 5))
    convs = [
        [node for node in fused(iter(onnx.load_from_string(chain_graph((op,)).onnx).graph.node))]
        for op in (padded, replace(padded, lowering="split"))
    ]
    sizes = [[kind[1] for kind in kinds if kind[0] == "Conv"] for kinds in convs]
    assert sizes == [["[1, 1]", "[1, 1]", "[5, 5]"], ["[1, 1]", "[1, 1]", "[3, 3]", "[5, 5]"]]


def test_a_seed_gives_the_same_bytes_again_and_another_one_others() -> None:
    assert chain_graph(NETWORK, seed=1) == chain_graph(NETWORK, seed=1)
    assert chain_graph(NETWORK, seed=1) != chain_graph(NETWORK, seed=2)


def test_operators_of_one_kind_do_not_share_their_weights() -> None:
    block = MBConv(input_shape=(1, 4, 7, 7), channels=4)
    model = onnx.load_from_string(chain_graph((block, block)).onnx)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    first, second = values["0.project.weight"], values["1.project.weight"]
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


def test_a_deep_network_gives_neither_infinities_nor_denormals() -> None:
    block = MBConv(input_shape=(1, 8, 8, 8), channels=8, kernel=5)
    narrower = MBConv(input_shape=(1, 8, 8, 8), channels=9)
    wider = MBConv(input_shape=(1, 9, 8, 8), channels=8)
    chain: Chain = (*(block,) * 12, *(narrower, wider) * 6)
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 8), np.float32)
    model = onnx.load_from_string(chain_graph(chain).onnx)
    (y,) = ReferenceEvaluator(model).run(None, {INPUT: x})
    assert np.isfinite(y).all()
    assert 1e-6 < float(np.abs(y).mean()) < 1e6


def test_operators_that_do_not_fit_are_no_graph() -> None:
    with pytest.raises(ValueError, match="takes another"):
        chain_graph((OPERATORS[0], OPERATORS[1]))


def test_nothing_is_no_graph() -> None:
    with pytest.raises(ValueError, match="a chain needs an operator"):
        chain_graph(())
