from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn

from devices import DeviceSpec, Graph, InvalidFile, backend_for
from devices.graphs.lowering import lower
from profiler import (
    CellStack,
    Chain,
    Conv,
    OpSpec,
    PoolHead,
    Preparation,
    chain_from_key,
    chain_to_key,
    macs,
    parameters,
)
from profiler.operators.builders import INPUT, OUTPUT, chain_graph
from profiler.operators.darts_code import code_from_edges, edges_from_code, loose_ends
from profiler.operators.darts_genotype import CELL_LAYERS, PAIRS, edges_of
from profiler.operators.modules import Wired, build

CPU = DeviceSpec(name="cpu", backend="onnxruntime")
MAX, AVG, SKIP, SEP3, SEP5, DIL3, DIL5 = range(7)

# 3 and 4 are loose, and 5
NORMAL = ((SEP3, 0), (DIL5, 1), (MAX, 0), (AVG, 2), (MAX, 0), (SKIP, 2), (SKIP, 1), (SEP5, 2))
# only 5 is loose; what halves the image: a separable, a dilated, both poolings and a skip
REDUCTION = ((SEP3, 0), (SKIP, 1), (DIL3, 0), (MAX, 2), (AVG, 1), (SKIP, 3), (DIL5, 0), (SEP5, 4))

SIZES = [len(pairs) for pairs in PAIRS]
cells = st.tuples(
    *(
        st.integers(0, count - 1)
        for pairs in SIZES
        for count in ((pairs,) if pairs > 1 else ()) + (7, 7)
    )
)


def stack(*, side: int = 8, cells: int = 3, width: int = 4, **given: Any) -> CellStack:
    return CellStack(
        input_shape=(1, 6, side, side),
        channels=width,
        cells=cells,
        reductions=(cells // 3, 2 * cells // 3),
        normal=code_from_edges(NORMAL),
        reduction=code_from_edges(REDUCTION),
        **given,
    )


OPERATORS: list[OpSpec] = [
    Preparation(input_shape=(2, 6, 5, 5), channels=4),
    Preparation(input_shape=(2, 6, 6, 6), channels=5, stride=2),
    Preparation(input_shape=(1, 6, 7, 5), channels=4, stride=2),
    stack(),
    stack(side=7, ends="all"),
    stack(side=9, cells=4),
    PoolHead(input_shape=(2, 6, 3, 3), classes=5),
]
STEM = Conv(input_shape=(1, 3, 8, 8), channels=6, kernel=3)
NETWORK: Chain = (STEM, stack(), PoolHead(input_shape=stack().output_shape, classes=5))
every_chain = pytest.mark.parametrize(
    "chain", [*((op,) for op in OPERATORS), NETWORK], ids=lambda chain: " | ".join(map(str, chain))
)
every_operator = pytest.mark.parametrize("op", OPERATORS, ids=str)


def trained(chain: Chain) -> nn.Sequential:
    """Return modules whose batch norms have statistics and weights unlike the fresh ones."""
    torch.manual_seed(0)
    network = nn.Sequential(*map(build, chain)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for positive in (module.running_var, module.weight):
                assert positive is not None
                nn.init.uniform_(positive, 0.5, 1.5)
            for any_sign in (module.running_mean, module.bias):
                assert any_sign is not None
                nn.init.uniform_(any_sign, -0.5, 0.5)
    return network


def with_weights_of(graph: Graph, network: nn.Sequential) -> Graph:
    """Put torch's weights into a built graph; batch norm is folded by hand."""
    model = onnx.load_from_string(graph.onnx)
    for tensor in model.graph.initializer:
        *path, kind = tensor.name.split(".")
        if kind in ("weight", "bias"):
            values = weight_named(path, kind, network)
            assert values.shape == tuple(tensor.dims), tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return Graph(onnx=model.SerializeToString(), inputs=graph.inputs)


def weight_named(path: list[str], kind: str, network: nn.Sequential) -> np.ndarray:
    layer: Any = network[int(path[0])].get_submodule("body")
    for name in path[1:]:
        layer = layer.lines[name] if isinstance(layer, Wired) else layer.get_submodule(name)
    if isinstance(layer[0], nn.Flatten):
        return np.asarray(getattr(layer[1], kind).detach().numpy())
    conv, norm = layer[0], layer[1]
    if not isinstance(norm, nn.BatchNorm2d):
        bias = torch.zeros(conv.out_channels)
        return np.asarray((conv.weight if kind == "weight" else bias).detach().numpy())
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = conv.weight * scale[:, None, None, None]
    bias = norm.bias - norm.running_mean * scale
    return np.asarray((weight if kind == "weight" else bias).detach().numpy())


@every_chain
def test_a_built_graph_computes_what_the_torch_modules_compute(chain: Chain) -> None:
    network = trained(chain)
    x = torch.randn(chain[0].input_shape, generator=torch.Generator().manual_seed(1)) * 3
    with backend_for(CPU).open(with_weights_of(chain_graph(chain), network)) as session:
        built = session.run({INPUT: x.numpy()})[OUTPUT]
    with torch.no_grad():
        np.testing.assert_allclose(built, network(x).numpy(), rtol=1e-4, atol=1e-4)


@every_chain
def test_a_built_graph_is_valid_and_has_the_shape_that_is_said(chain: Chain) -> None:
    model = onnx.load_from_string(chain_graph(chain).onnx)
    onnx.checker.check_model(model, full_check=True)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    sizes = inferred.graph.output[0].type.tensor_type.shape.dim
    assert tuple(size.dim_value for size in sizes) == chain[-1].output_shape


@every_operator
def test_torch_has_as_many_parameters_as_are_counted(op: OpSpec) -> None:
    assert sum(weight.numel() for weight in build(op).parameters()) == parameters(op)


@every_operator
def test_torch_multiplies_as_often_as_is_counted(op: OpSpec) -> None:
    counted = 0

    def count(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal counted
        if isinstance(module, nn.Conv2d | nn.Linear):
            each = module.weight[0].numel()
            counted += each * output.numel()

    network = build(op).eval()
    for module in network.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.rand(op.input_shape))
    assert counted == macs(op)


def kinds(model: onnx.ModelProto) -> list[str]:
    nodes = (node.op_type for node in model.graph.node)
    return sorted(kind for kind in nodes if kind not in ("Identity", "Flatten", "Reshape"))


def test_a_built_graph_has_the_nodes_of_an_exported_network() -> None:
    exported = onnx.load_from_string(lower(trained(NETWORK), NETWORK[0].input_shape).onnx)
    assert kinds(onnx.load_from_string(chain_graph(NETWORK).onnx)) == kinds(exported)


def test_each_cell_reads_what_the_two_before_it_gave() -> None:
    # the loop of the published network, on the weights of the stack
    op = stack(cells=4)
    (block,) = trained((op,))
    lines: Any = block.get_submodule("body.cells.lines")
    x = torch.randn(op.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        older = newer = x
        for number, place in enumerate(op.places):
            edges = REDUCTION if place.reduction else NORMAL
            named = {name: line for name, line in lines.items() if f"cell{number}_" in name}
            nodes = [named[f"cell{number}_input0"](older), named[f"cell{number}_input1"](newer)]
            computed = [line for name, line in named.items() if "_node" in name]
            for i in range(0, 8, 2):
                (_, one), (_, other) = edges[i : i + 2]
                nodes.append(computed[i](nodes[one]) + computed[i + 1](nodes[other]))
            ends = loose_ends(edges)
            older, newer = newer, torch.cat([nodes[end] for end in ends], dim=1)
        assert torch.equal(block(x), newer)


def test_a_factorized_reduction_is_the_published_one() -> None:
    op = Preparation(input_shape=(1, 6, 8, 8), channels=4, stride=2)
    (block,) = trained((op,))
    x = torch.randn(op.input_shape)
    rectified = x.relu()
    with torch.no_grad():
        halves: Any = block.get_submodule("body.halves.lines")
        one = halves["half0"].get_submodule("conv")(rectified)
        other = halves["half1"].get_submodule("conv")(rectified[:, :, 1:, 1:])
        assert torch.equal(block(x), torch.cat([one, other], dim=1))


def test_loose_ends_are_the_nodes_that_no_other_reads() -> None:
    assert loose_ends(NORMAL) == (3, 4, 5)
    assert loose_ends(REDUCTION) == (5,)
    assert stack().places[0].ends == 3
    assert stack().output_shape == (1, 16, 2, 2)
    assert stack(ends="all").output_shape == (1, 4 * 16, 2, 2)


@given(choices=cells)
def test_a_cell_reads_back_from_its_text_and_from_its_key(choices: tuple[int, ...]) -> None:
    assert len(choices) == CELL_LAYERS
    edges = edges_of(choices)
    code = code_from_edges(edges)
    assert edges_from_code(code) == edges
    assert chain_from_key(chain_to_key((stack(),))) == (stack(),)


GOOD = code_from_edges(NORMAL)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no operation"),
        (GOOD.replace("sep_conv_3x3~0", "none~0"), "'none' computes nothing"),
        (GOOD.replace("sep_conv_3x3~0", "sep_conv_7x7~0"), "'sep_conv_7x7' is no operation"),
        (GOOD.replace("sep_conv_3x3~0", "sep_conv_3x3~1"), "node 2 reads 1 and 1"),
        (GOOD.replace("sep_conv_3x3~0", "sep_conv_3x3~2"), "node 2 reads 1 and 2"),
        (GOOD.replace("sep_conv_3x3~0", "sep_conv_3x3~"), "node 2 reads -1 and 1"),
        (GOOD.rpartition("+")[0], "it has 6 edges"),
        (
            GOOD.replace("|max_pool_3x3~0|skip_connect~2|", "|skip_connect~2|max_pool_3x3~0|"),
            "order",
        ),
    ],
)
def test_a_text_that_is_no_cell_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(InvalidFile, match=why) as caught:
        edges_from_code(text)
    assert "is no cell of DARTS" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stack_of_no_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="a cell or more"):
        stack(cells=0)
