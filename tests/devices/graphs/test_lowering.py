from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from devices import IR_VERSION, OPSET, Graph
from devices.graphs.lowering import lower
from profiler import Chain, Conv, Head, MBConv
from profiler.operators.modules import build

STEM = Conv(input_shape=(2, 3, 8, 8), channels=8, kernel=3, stride=2, activation="relu6")
BLOCK = MBConv(input_shape=(2, 8, 4, 4), channels=8, kernel=5, squeeze=4, activation="hswish")
HEAD = Head(input_shape=(2, 8, 4, 4), channels=16, classes=5)
OPS: Chain = (STEM, BLOCK, HEAD)
SHAPE = STEM.input_shape


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A network of every primitive, left in training mode with statistics of its own."""
    torch.manual_seed(0)
    module = nn.Sequential(*map(build, OPS))
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values in (part.weight, part.bias, part.running_mean, part.running_var):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
    return module.to(memory_format=torch.channels_last).train()


@pytest.fixture(scope="module")
def graph(network: nn.Module) -> Graph:
    return lower(network, SHAPE)


@pytest.fixture(scope="module")
def model(graph: Graph) -> onnx.ModelProto:
    return onnx.load_from_string(graph.onnx)


def test_the_graph_computes_what_the_module_computes(network: nn.Module, graph: Graph) -> None:
    images = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    network.eval()
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    network.train()
    session = onnxruntime.InferenceSession(graph.onnx, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(["logits"], {"images": images})
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_versions_and_names_are_ours_and_not_the_exporters(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == IR_VERSION
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
    assert [value.name for value in model.graph.input] == ["images"]
    assert [value.name for value in model.graph.output] == ["logits"]


def test_shapes_are_concrete(graph: Graph, model: onnx.ModelProto) -> None:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert tuple(dim.dim_value for dim in dims) == SHAPE
    assert graph.inputs == (("images", SHAPE),)


def test_batch_norm_is_folded_and_pooling_is_the_node_that_operators_are_timed_with(
    model: onnx.ModelProto,
) -> None:
    assert Counter(node.op_type for node in model.graph.node) == {
        "Conv": 7,  # stem 1, block 3 and 2 of squeeze-excite, head 1
        "Clip": 1,
        "HardSwish": 2,
        "GlobalAveragePool": 2,
        "Relu": 2,
        "HardSigmoid": 1,
        "Mul": 1,
        "Add": 1,
        "Reshape": 1,
        "Gemm": 1,
    }


def test_every_weight_in_the_file_is_used(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used


def test_a_mean_over_one_side_stays_a_mean() -> None:
    class RowMeans(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(dim=2, keepdim=True)

    model = onnx.load_from_string(lower(RowMeans(), (1, 3, 4, 5)).onnx)
    assert [node.op_type for node in model.graph.node] == ["ReduceMean"]


def test_equal_weights_give_equal_bytes_whatever_their_layout_in_memory(
    network: nn.Module, graph: Graph
) -> None:
    plain = nn.Sequential(*map(build, OPS))
    plain.load_state_dict(network.state_dict())
    assert lower(plain, SHAPE).onnx == graph.onnx


def test_no_path_of_this_machine_is_in_the_file(graph: Graph) -> None:
    here = Path(torch.__file__).parent
    assert str(here).encode() not in graph.onnx
    assert b"forward" not in graph.onnx  # the exporter's stack traces


def test_the_module_stays_as_it_was_and_nothing_is_printed(
    network: nn.Module, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    lower(network, SHAPE)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert capfd.readouterr() == ("", "")
