"""Integers within an accuracy budget: which ranges, which layers, and what is said when none do."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from devices import IR_VERSION, OPSET, Graph, device_named
from export.precision.quantize import Quantized, Try, quantize
from search.images.data import Split
from search.images.decoding import ArrayImages

INT8 = device_named("cpu-int8")
LOUD, QUIET = 40.0, 0.05
SIDE = 4


def network(*, loud: float) -> Graph:
    """Return layers 0 to 3 of 1x1 convolutions that tell by their second channel what is red.

    Inside of layer 0 the first channel is as loud as said, and the second next to silent, so that
    the steps of 8 bits over both swallow it. The others pass both on.
    """
    eye = np.eye(2, dtype=np.float32)
    first = np.array([[loud, loud, loud], [QUIET, -QUIET, 0.0]], np.float32)
    second = np.array([[0.0, 1.0 / QUIET], [0.0, -1.0 / QUIET]], np.float32)
    weights = {"0.a": first, "0.b": second, "1.a": eye, "2.a": eye, "3.a": eye}
    nodes, last = [], "images"
    for name in weights:
        nodes.append(helper.make_node("Conv", [last, f"{name}.weight"], [name]))
        last = name
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "quiet",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, 2))],
        [
            numpy_helper.from_array(values[..., None, None], f"{name}.weight")
            for name, values in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return Graph(
        onnx=onnx.shape_inference.infer_shapes(model).SerializeToString(),
        inputs=(("images", (1, 3, SIDE, SIDE)),),
    )


def split(count: int = 200, *, seed: int = 0) -> Split:
    """Return noise: class 0 where there is more red than green."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, SIDE, SIDE, 3)).astype(np.uint8)
    red, green = (pixels[..., channel].sum(axis=(1, 2), dtype=np.int64) for channel in (0, 1))
    return Split(
        images=ArrayImages(pixels),
        rows=np.arange(count),
        labels=np.where(red > green, 0, 1),
        resolution=SIDE,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        flip=False,
    )


def calibration(count: int = 64) -> NDArray[np.float32]:
    images, _ = next(split(count, seed=1).batches(count))
    return images.contiguous().numpy()


def found(loud: float, **given: Any) -> Quantized:
    return quantize(
        network(loud=loud), INT8, calibration=calibration(), validation=split(), **given
    )


def test_a_network_that_stands_integers_keeps_all_of_its_layers_in_them() -> None:
    quantized = found(QUIET, max_drop_points=2.0)
    assert quantized.met
    assert quantized.shortfall() == ""
    assert quantized.chosen.floats == ()
    assert [each.rule for each in quantized.tried] == ["minmax", "percentile", "entropy", "mse"]
    assert quantized.chosen.held_out.accuracy_fp32 > 0.95
    drops = [each.held_out.drop_points for each in quantized.tried]
    assert quantized.chosen.held_out.drop_points == min(drops)


def test_a_layer_that_does_not_goes_back_to_floats_and_no_other() -> None:
    quantized = found(LOUD, max_drop_points=2.0)
    assert all(each.held_out.drop_points > 20.0 for each in quantized.tried[:4])
    assert quantized.chosen.floats == ("0",)
    assert quantized.met
    kinds = [node.op_type for node in onnx.load_from_string(quantized.graph.onnx).graph.node]
    assert kinds.count("Conv") == 5
    assert "QuantizeLinear" in kinds


def test_a_budget_that_cannot_be_met_is_said_with_the_best_that_was_found() -> None:
    tries: list[Try] = []
    quantized = found(LOUD, max_drop_points=0.0, rules=("minmax",), on_try=tries.append)
    assert quantized.tried == tuple(tries)
    assert [len(each.floats) for each in tries] == [0, 1, 2]  # half of four at most
    assert not quantized.met
    assert quantized.chosen == min(tries, key=lambda each: each.held_out.drop_points)
    said = quantized.shortfall()
    assert "on 200 validation images, more than --max-drop 0; the best of 3 tries" in said
    assert "ranges by minmax, layers in floats: 0. Allow more" in said
    assert "\n" not in said


def test_figures_say_what_was_tried_and_allowed() -> None:
    quantized = found(QUIET, max_drop_points=2.0)
    facts = quantized.as_json()
    assert facts["images"] == 200
    assert facts["max_drop_points"] == 2.0
    assert all(0.0 < abs(each["loss_rise"]) < 1.0 for each in facts["tried"])
    assert facts["met"] is True
    low, high = facts["interval_points"]
    assert low < facts["drop_points"] < high
    assert [each["kept_float"] for each in facts["tried"]] == [0, 0, 0, 0]


SHA256 = """
from hashlib import sha256
from tests.export.precision.test_quantize import found
print(sha256(found({loud}, max_drop_points=1.0).graph.onnx).hexdigest())
"""


@pytest.mark.parametrize("loud", [QUIET, LOUD], ids=["all in integers", "one layer in floats"])
def test_integers_are_the_same_byte_for_byte_in_every_process(loud: float) -> None:
    root = Path(__file__).parents[3]
    said = {
        subprocess.check_output(
            [sys.executable, "-c", SHA256.format(loud=loud)],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            text=True,
        )
        for seed in ("1", "2")  # what goes through a set comes in another order
    }
    assert len(said) == 1
