import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from devices import OPSET, Quantization
from devices.onnx_runtime.quantization import quantized
from export.bundle.onnx_file import (
    OnnxFile,
    ParityFailed,
    network_graph,
    parity,
    reference_outputs,
    write_onnx,
)
from profiler import Conv, Head, MBConv, Skip
from profiler.operators.costs import total_parameters
from search.space import Architecture, SearchSpace
from search.supernets.evaluation import final_weights
from search.supernets.supernet import Supernet

SPACE = SearchSpace(
    name="tiny",
    before=(Conv(input_shape=(1, 3, 8, 8), channels=8, kernel=3, activation="relu"),),
    layers=(
        (Skip(input_shape=(1, 8, 8, 8)), MBConv(input_shape=(1, 8, 8, 8), channels=8, expand=3)),
        (Skip(input_shape=(1, 8, 8, 8)), MBConv(input_shape=(1, 8, 8, 8), channels=8, kernel=5)),
    ),
    after=(Head(input_shape=(1, 8, 8, 8), channels=16, classes=4),),
)
ARCH = Architecture((0, 1))
FOLDED_CHANNELS = 8 + 48 + 48 + 8 + 16  # stem, expand, depthwise, project, head: one bias each


@pytest.fixture(scope="module")
def network() -> nn.Module:
    supernet = Supernet(SPACE, seed=0)
    rng = np.random.default_rng(0)
    for parameter in supernet.parameters():  # as after training: nothing is exactly 0 or 1
        parameter.data += torch.from_numpy(rng.normal(0, 0.1, parameter.shape))
    images = torch.from_numpy(rng.normal(size=(32, 3, 8, 8)).astype(np.float32))
    return final_weights(supernet, ARCH, (images,))


@pytest.fixture(scope="module")
def exported(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> OnnxFile:
    path = tmp_path_factory.mktemp("deployment") / "model.onnx"
    return write_onnx(network_graph(network, (1, 3, 8, 8)), path)


def test_the_file_gives_the_logits_of_torch(network: nn.Module, exported: OnnxFile) -> None:
    images = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images})
    assert parity(logits, reference_outputs(network, images)) < 1e-5


def test_the_file_is_described_as_it_lies_on_the_disk(exported: OnnxFile) -> None:
    content = exported.path.read_bytes()
    assert exported.sha256 == sha256(content).hexdigest()
    assert exported.size_bytes == len(content)
    assert exported.opset == OPSET
    assert [path.name for path in exported.path.parent.iterdir()] == ["model.onnx"]


def test_only_the_weights_of_the_chosen_blocks_are_in_the_file(exported: OnnxFile) -> None:
    # batch norm's two numbers per channel have become one bias
    assert exported.weights == total_parameters(SPACE.chain(ARCH)) - FOLDED_CHANNELS
    nodes = onnx.load(exported.path).graph.node
    assert not [node for node in nodes if node.op_type == "BatchNormalization"]


def test_integers_are_the_same_weights_in_a_quarter_of_the_space(
    network: nn.Module, exported: OnnxFile, tmp_path: Path
) -> None:
    graph = quantized(network_graph(network, (1, 3, 8, 8)), Quantization(per_channel=False))
    file = write_onnx(graph, tmp_path / "model.onnx")
    assert file.weights == exported.weights


def test_a_batch_norm_that_has_no_convolution_stays_what_it_is() -> None:
    network = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)).eval()
    model = onnx.load_from_string(network_graph(network, (1, 3, 8, 8)).onnx)
    assert [node.op_type for node in model.graph.node] == ["Relu", "BatchNormalization"]


class TakenTwice(nn.Module):
    """A convolution whose output is needed both with its batch norm and without."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        y = self.conv(images)
        return self.norm(y) + y


def test_a_batch_norm_that_was_not_folded_is_refused() -> None:
    with pytest.raises(ValueError, match="was not folded into its convolution"):
        network_graph(TakenTwice().eval(), (1, 3, 8, 8))


def test_parity_is_the_largest_absolute_difference() -> None:
    logits = np.array([[1.0, -2.0], [0.5, 0.25]], np.float32)
    other = logits + np.array([[0.0, 2**-14], [-(2**-15), 0.0]], np.float32)
    assert parity(other, logits) == 2**-14


@pytest.mark.parametrize("wrong", [2e-4, float("nan"), float("inf")])
def test_other_logits_than_the_reference_are_refused(wrong: float) -> None:
    logits = np.zeros((1, 3), np.float32)
    with pytest.raises(ParityFailed, match=r"away from the reference, more than the 0\.0001"):
        parity(logits + np.array([0, wrong, 0], np.float32), logits)


def test_integers_may_round_a_few_steps_apart_and_no_more() -> None:
    logits = np.array([[2.0, 0.0]], np.float32)
    near, far = logits + np.float32(0.09), logits + np.float32(0.11)
    assert parity(near, logits, precision="int8") == pytest.approx(0.09, rel=1e-5)
    with pytest.raises(ParityFailed, match=r"the 0\.1 that rounding in int8 explains"):
        parity(far, logits, precision="int8")
    with pytest.raises(ParityFailed):
        parity(near, logits)


def test_the_tolerance_grows_with_the_largest_logit() -> None:
    logits = np.array([[100.0, 0.0]], np.float32)
    assert parity(logits + np.float32(0.005), logits) == pytest.approx(0.005, rel=0.01)
    with pytest.raises(ParityFailed):
        parity(logits + np.float32(0.02), logits)


def test_logits_of_other_shapes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="against"):
        parity(np.zeros((1, 3), np.float32), np.zeros((2, 3), np.float32))


def test_reference_outputs_of_a_network_in_training_mode_are_refused() -> None:
    with pytest.raises(ValueError, match="eval"):
        reference_outputs(nn.Flatten().train(), np.zeros((1, 3, 2, 2), np.float32))


def test_who_only_verifies_needs_no_torch() -> None:
    code = "import sys, export.bundle.onnx_file; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
