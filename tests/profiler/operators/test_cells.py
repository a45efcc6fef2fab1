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
    Cell,
    Chain,
    Conv,
    EqualCells,
    NormHead,
    OpSpec,
    ResidualBlock,
    chain_from_key,
    chain_to_key,
    macs,
    parameters,
)
from profiler.operators.builders import INPUT, OUTPUT, chain_graph
from profiler.operators.cells import (
    CONV1,
    CONV3,
    NONE,
    POOL,
    SKIP,
    choices_from_code,
    code_from_choices,
)
from profiler.operators.cells import pruned as prune
from profiler.operators.modules import build

SHAPE = (2, 8, 6, 6)
CPU = DeviceSpec(name="cpu", backend="onnxruntime")

cells = st.tuples(*[st.integers(0, 4)] * 6)


def cell(*choices: int) -> Cell:
    return Cell(input_shape=SHAPE, code=code_from_choices(choices))


OPERATORS: list[OpSpec] = [
    cell(CONV3, CONV1, SKIP, POOL, CONV1, CONV3),
    cell(CONV3, NONE, CONV1, SKIP, NONE, POOL),
    cell(NONE, NONE, NONE, SKIP, NONE, NONE),
    cell(SKIP, POOL, POOL, POOL, CONV1, SKIP),  # the input is pooled once
    cell(SKIP, NONE, NONE, SKIP, SKIP, NONE),
    cell(POOL, CONV3, NONE, NONE, NONE, NONE),  # no path
    EqualCells(input_shape=SHAPE, code=code_from_choices((CONV3, NONE, POOL, 1, 2, 0)), count=3),
    ResidualBlock(input_shape=SHAPE, channels=12),
    ResidualBlock(input_shape=(1, 4, 7, 5), channels=8),
    NormHead(input_shape=SHAPE, classes=5),
]
NETWORK: Chain = (
    Conv(input_shape=(1, 3, 8, 8), channels=4, kernel=3),
    *[Cell(input_shape=(1, 4, 8, 8), code=code_from_choices((3, 4, 1, 1, 2, 3)))] * 2,
    ResidualBlock(input_shape=(1, 4, 8, 8), channels=8),
    *[Cell(input_shape=(1, 8, 4, 4), code=code_from_choices((3, 4, 1, 1, 2, 3)))] * 2,
    NormHead(input_shape=(1, 8, 4, 4), classes=5),
)
every_chain = pytest.mark.parametrize(
    "chain", [*((op,) for op in OPERATORS), NETWORK], ids=lambda chain: " | ".join(map(str, chain))
)


def trained(chain: Chain) -> nn.Sequential:
    """Return modules whose batch norms have statistics and weights unlike the fresh ones."""
    torch.manual_seed(0)
    network = nn.Sequential(*map(build, chain)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low in ((module.running_var, 0.5), (module.weight, 0.5)):
                assert values is not None
                nn.init.uniform_(values, low, 1.5)
            for values in (module.running_mean, module.bias):
                assert values is not None
                nn.init.uniform_(values, -0.5, 0.5)
    return network


def with_weights_of(graph: Graph, chain: Chain, network: nn.Sequential) -> Graph:
    """Put torch's weights into a built graph; batch norm is folded by hand."""
    model = onnx.load_from_string(graph.onnx)
    blocks: list[Any] = list(network)
    for tensor in model.graph.initializer:
        values = weight_named(tensor.name, blocks)
        assert values.shape == tuple(tensor.dims), tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return Graph(onnx=model.SerializeToString(), inputs=graph.inputs)


def weight_named(name: str, blocks: list[Any]) -> np.ndarray:
    index, *path, kind = name.split(".")
    if kind == "zero":
        return np.array(0, np.float32)
    layer = blocks[int(index)].body.get_submodule(path[0])
    if len(path) == 3:
        layer = layer.lines[path[1]].get_submodule(path[2])
    if isinstance(layer, nn.BatchNorm2d):
        found = getattr(layer, kind)
    elif isinstance(layer[0], nn.Flatten):
        found = getattr(layer[1], kind)
    else:
        found = folded(layer[0], layer[1])[kind]
    return np.asarray(found.detach().numpy(), np.float32)


def folded(conv: nn.Conv2d, norm: nn.Module) -> dict[str, torch.Tensor]:
    if not isinstance(norm, nn.BatchNorm2d):
        return {"weight": conv.weight, "bias": torch.zeros(conv.out_channels)}
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = conv.weight * scale[:, None, None, None]
    return {"weight": weight, "bias": norm.bias - norm.running_mean * scale}


@every_chain
def test_a_built_graph_computes_what_the_torch_modules_compute(chain: Chain) -> None:
    network = trained(chain)
    x = torch.randn(chain[0].input_shape, generator=torch.Generator().manual_seed(1)) * 3
    graph = with_weights_of(chain_graph(chain), chain, network)
    with backend_for(CPU).open(graph) as session:
        built = session.run({INPUT: x.numpy()})[OUTPUT]
    with torch.no_grad():
        np.testing.assert_allclose(built, network(x).numpy(), rtol=1e-4, atol=1e-4)


@every_chain
def test_a_built_graph_is_valid_and_has_the_shape_that_is_said(chain: Chain) -> None:
    model = onnx.load_from_string(chain_graph(chain).onnx)
    onnx.checker.check_model(model, full_check=True)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    sizes = inferred.graph.output[0].type.tensor_type.shape.dim
    assert tuple(size.dim_value for size in sizes) == chain[-1].output_shape


def kinds(model: onnx.ModelProto) -> list[str]:
    nodes = (node.op_type for node in model.graph.node)
    return sorted(kind for kind in nodes if kind not in ("Identity", "Flatten", "Reshape"))


def test_a_built_graph_has_the_nodes_of_an_exported_network() -> None:
    exported = onnx.load_from_string(lower(trained(NETWORK), NETWORK[0].input_shape).onnx)
    assert kinds(onnx.load_from_string(chain_graph(NETWORK).onnx)) == kinds(exported)


@pytest.mark.parametrize("op", OPERATORS, ids=str)
def test_torch_has_as_many_parameters_as_are_counted(op: OpSpec) -> None:
    assert sum(weight.numel() for weight in build(op).parameters()) == parameters(op)


def test_the_operations_of_a_cell_are_those_of_its_live_convolutions() -> None:
    # Two 3x3 and one 1x1 of 8 channels on 6x6 pixels, for 2 images; a dead 1x1 does not count.
    one = 8 * 8 * 36 * 2
    assert macs(cell(CONV3, NONE, CONV1, CONV3, NONE, SKIP)) == (9 + 9 + 1) * one
    assert macs(cell(CONV3, NONE, NONE, CONV3, NONE, CONV1)) == 9 * one
    assert parameters(cell(CONV3, NONE, NONE, CONV3, NONE, CONV1)) == 9 * 64 + 16


def test_the_operations_of_a_block_between_stages_are_those_counted_by_hand() -> None:
    block = ResidualBlock(input_shape=(1, 16, 32, 32), channels=32)
    assert macs(block) == (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32) * 16 * 16
    assert parameters(block) == 9 * 16 * 32 + 9 * 32 * 32 + 16 * 32 + 4 * 32


@given(choices=cells)
def test_a_cell_reads_back_from_its_text_and_from_its_key(choices: tuple[int, ...]) -> None:
    code = code_from_choices(choices)
    assert choices_from_code(code) == choices
    chain = (Cell(input_shape=SHAPE, code=code),)
    assert chain_from_key(chain_to_key(chain)) == chain


@given(choices=cells)
def test_a_cell_computes_what_it_computes_without_its_dead_edges(
    choices: tuple[int, ...],
) -> None:
    assert cell(*choices).primitives == cell(*prune(choices)).primitives
    assert prune(prune(choices)) == prune(choices)


def test_dead_edges_are_those_that_the_input_or_the_output_never_meets() -> None:
    # Node 1 has no input; node 2 has one, and nothing takes it up.
    assert prune((NONE, CONV1, CONV3, SKIP, POOL, NONE)) == (NONE, NONE, NONE, SKIP, NONE, NONE)
    assert not any(prune((CONV3, CONV3, CONV3, NONE, NONE, NONE)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "|none~0|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_5x5~2|",
        "|none~0|+|none~1|none~0|+|none~0|none~1|none~2|",
        "none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|none~1|none~0|+|none~1|none~2|",
    ],
)
def test_a_text_that_is_no_cell_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidFile, match="is no cell of NAS-Bench-201") as caught:
        choices_from_code(text)
    assert "\n" not in str(caught.value)
