"""Integers: the same ones everywhere, near the floats, and nothing left behind."""

import logging
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from devices import IR_VERSION, OPSET, Graph, Quantization, UnsupportedGraph, device_named
from devices.onnx_runtime.cpu import OnnxRuntimeCpu
from devices.onnx_runtime.quantization import (
    float_operators,
    layers_of,
    observe,
    quantized,
)
from devices.onnx_runtime.quantization_ranges import RULES, RangeRule
from devices.spec import Integers, Optimization
from profiler import Chain, Conv, Head, MBConv, OpSpec, Pool, Skip, in_context
from profiler.operators.builders import INPUT, OUTPUT, chain_graph, graph_for
from profiler.operators.probes import carrier

CPU, INT8 = device_named("cpu"), device_named("cpu-int8")
USUAL = Quantization()
SHAPE = (1, 8, 8, 8)
PLAIN = MBConv(input_shape=SHAPE, channels=12, stride=2, expand=6)
RESIDUAL = MBConv(input_shape=SHAPE, channels=8, kernel=5, expand=3, activation="relu6")
ATTENTIVE = MBConv(input_shape=SHAPE, channels=12, squeeze=2, activation="hswish")
OPERATORS: list[OpSpec] = [PLAIN, RESIDUAL, ATTENTIVE, Conv(input_shape=SHAPE, channels=12)]
every_operator = pytest.mark.parametrize("op", OPERATORS, ids=str)


def network(*ops: OpSpec, batch: int = 1, side: int = 16) -> Chain:
    """Return a stem, operators and a head; the operators take what the one before gives."""
    shape = (batch, 3, side, side)
    chain: list[OpSpec] = [
        Conv(input_shape=shape, channels=8, kernel=3, stride=2, activation="relu")
    ]
    for op in ops:
        chain.append(replace(op, input_shape=chain[-1].output_shape))
    return (*chain, Head(input_shape=chain[-1].output_shape, channels=16, classes=5))


NETWORK = network(RESIDUAL, ATTENTIVE)


def images(shape: tuple[int, ...], count: int = 32) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((count * shape[0], *shape[1:]), np.float32)


def outputs(graph: Graph, optimization: Optimization = "all") -> NDArray[np.float32]:
    ((name, shape),) = graph.inputs
    device = replace(INT8, optimization=optimization)
    with OnnxRuntimeCpu(device).open(graph) as session:
        return session.run({name: images(shape, 1)})[OUTPUT]


def calibrated(graph: Graph, scheme: Quantization, seen: NDArray[np.float32]) -> Graph:
    return quantized(graph, scheme, observed=observe(graph, seen))


def kinds(graph: Graph) -> Counter[tuple[str, bool, bool]]:
    """Count nodes by kind, whether they read integers, and whether they give some."""
    nodes = onnx.load_from_string(graph.onnx).graph.node
    given = {y for node in nodes if node.op_type == "DequantizeLinear" for y in node.output}
    taken = {x for node in nodes if node.op_type == "QuantizeLinear" for x in node.input}
    return Counter(
        (node.op_type, not given.isdisjoint(node.input), not taken.isdisjoint(node.output))
        for node in nodes
    )


def kernels(graph: Graph) -> Counter[str]:
    """Count what ONNX Runtime makes of a graph."""
    optimized = onnx.load_from_string(OnnxRuntimeCpu(INT8).trace(graph, runs=1).optimized)
    return Counter(node.op_type for node in optimized.graph.node)


@every_operator
def test_an_operator_is_quantised_in_its_context_as_in_a_network(op: OpSpec) -> None:
    context = kinds(graph_for(in_context(op), INT8))
    context.subtract(kinds(graph_for(carrier(op.input_shape, 1), INT8)))
    whole = kinds(graph_for(network(RESIDUAL, op), INT8))
    whole.subtract(kinds(graph_for(network(RESIDUAL), INT8)))
    assert +context == +whole
    assert sum(count for (kind, *_), count in context.items() if kind == "Conv") >= 1


def test_an_export_is_quantised_as_the_operators_are() -> None:
    exported = calibrated(chain_graph(NETWORK), USUAL, images((1, 3, 16, 16)))
    assert kinds(exported) == kinds(graph_for(NETWORK, INT8))


def test_whatever_computes_reads_integers() -> None:
    computing = {"Conv", "Gemm", "Add", "Mul", "GlobalAveragePool"}
    counts = kinds(graph_for(NETWORK, INT8))
    assert {kind for kind, *_ in counts} >= computing
    assert all(reads for kind, reads, _ in counts if kind in computing)


def test_a_classifier_gives_floats() -> None:
    counts = kinds(graph_for(NETWORK, INT8))
    assert counts["Gemm", True, False] == 1
    assert counts["Gemm", True, True] == 0


@pytest.mark.parametrize(
    ("chain", "convolutions", "additions"),
    [(in_context(RESIDUAL), 1 + 3, 1), (network(RESIDUAL, PLAIN), 1 + 3 + 3 + 1, 1)],
)
def test_a_block_runs_in_integer_kernels_and_no_others(
    chain: Chain, convolutions: int, additions: int
) -> None:
    found = kernels(graph_for(chain, INT8))
    assert found["QLinearConv"] == convolutions
    assert found["QLinearAdd"] == additions
    assert found["QLinearGlobalAveragePool"] == 1
    assert not found.keys() & {"Conv", "FusedConv", "Gemm", "Add", "GlobalAveragePool"}
    assert found["QuantizeLinear"] == 1  # the images


CHAINS: list[Chain] = [
    NETWORK,
    network(PLAIN, RESIDUAL, batch=3),
    network(RESIDUAL, side=23),
    network(ATTENTIVE, PLAIN, side=32),
    network(MBConv(input_shape=SHAPE, channels=1, squeeze=1, expand=1)),
    in_context(PLAIN),
    (Pool(input_shape=(2, 4, 7, 5)),),
]
every_chain = pytest.mark.parametrize("chain", CHAINS, ids=lambda c: " | ".join(map(str, c)))


@every_chain
def test_integers_stay_within_a_twentieth_of_the_floats(chain: Chain) -> None:
    floats = chain_graph(chain)
    expected = outputs(floats)
    calibration = images(chain[0].input_shape)
    for scheme in (USUAL, Quantization(activations="int8"), Quantization(per_channel=False)):
        found = outputs(calibrated(floats, scheme, calibration))
        assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()
        assert not np.array_equal(found, expected)


@every_chain
def test_fused_kernels_compute_what_the_nodes_say(chain: Chain) -> None:
    graph = calibrated(chain_graph(chain), USUAL, images(chain[0].input_shape))
    expected = outputs(graph, "disable")
    assert np.abs(outputs(graph) - expected).max() <= 0.02 * np.abs(expected).max()


@every_chain
def test_a_quantised_graph_is_valid_and_takes_the_same_input(chain: Chain) -> None:
    floats = chain_graph(chain)
    graph = quantized(floats, USUAL)
    model = onnx.load_from_string(graph.onnx)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
    assert model.ir_version == IR_VERSION
    assert graph.inputs == floats.inputs
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == [INPUT, OUTPUT]


def test_floats_are_left_alone_where_the_device_computes_in_floats() -> None:
    assert graph_for(NETWORK, CPU) == chain_graph(NETWORK)


BYTES = """
import numpy as np
from hashlib import sha256
from devices import Quantization
from devices.onnx_runtime.quantization import observe, quantized
from profiler import MBConv, in_context
from profiler.operators.builders import chain_graph
graph = chain_graph(in_context(MBConv(input_shape=(1, 8, 8, 8), channels=8, squeeze=2)))
seen = np.random.default_rng(0).standard_normal((4, 8, 8, 8), np.float32)
for observed in (None, observe(graph, seen)):
    print(sha256(quantized(graph, Quantization(), observed=observed).onnx).hexdigest())
"""


def test_every_process_makes_the_same_bytes() -> None:
    there = [
        subprocess.check_output(
            [sys.executable, "-c", BYTES],
            text=True,
            cwd=Path(__file__).parents[3],
            env=os.environ | {"PYTHONHASHSEED": seed},
        )
        for seed in "12"
    ]
    assert len(there[0].split()) == 2
    assert there[0] == there[1]


def test_quantising_is_silent_and_leaves_no_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO):
        calibrated(chain_graph(NETWORK), USUAL, images((1, 3, 16, 16)))
        graph_for(NETWORK, INT8)
    assert caplog.messages == []
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def weights_of(graph: Graph) -> dict[str, Any]:
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(graph.onnx).graph.initializer
    }


POINTWISE: Chain = (Conv(input_shape=(1, 4, 6, 6), channels=3),)


def first_weight(scheme: Quantization) -> tuple[Any, Any]:
    """Return the integers of the convolution, ``(3, 4, 1, 1)``, and their scale."""
    tensors = weights_of(quantized(chain_graph(POINTWISE), scheme))
    return tensors["0.Conv.weight.integers"], tensors["0.Conv.weight.scale"]


def test_every_channel_has_a_scale_of_its_own_and_uses_all_of_its_range() -> None:
    floats = weights_of(chain_graph(POINTWISE))["0.conv.weight"]
    integers, scale = first_weight(USUAL)
    assert integers.dtype == np.int8
    np.testing.assert_array_equal(np.abs(integers).max(axis=(1, 2, 3)), [127, 127, 127])
    np.testing.assert_allclose(scale, np.abs(floats).max(axis=(1, 2, 3)) / 127, rtol=1e-6)
    error = np.abs(integers * scale[:, None, None, None] - floats)
    assert (error <= scale[:, None, None, None] * 0.501).all()


def test_all_channels_share_a_scale_where_the_device_wants_it() -> None:
    integers, scale = first_weight(Quantization(per_channel=False))
    assert scale.shape == ()
    assert np.abs(integers).max() == 127


def test_a_reduced_range_leaves_a_bit_for_the_sum() -> None:
    integers, _ = first_weight(Quantization(reduce_range=True))
    np.testing.assert_array_equal(np.abs(integers).max(axis=(1, 2, 3)), [63, 63, 63])


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_activations_are_of_the_kind_that_the_device_wants(kind: Integers) -> None:
    scheme = Quantization(activations=kind)
    model = onnx.load_from_string(quantized(chain_graph(NETWORK), scheme).onnx)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    zeros = [tensors[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert {numpy_helper.to_array(zero).dtype.name for zero in zeros} == {kind}


def test_a_range_is_that_of_the_images() -> None:
    seen = np.full((2, 4, 6, 6), 0.5, np.float32)
    seen[1, 0, 0, 0], seen[0, 3, 5, 5] = -1.0, 4.1
    tensors = weights_of(calibrated(chain_graph(POINTWISE), USUAL, seen))
    assert tensors[f"{INPUT}_scale"] == pytest.approx(5.1 / 255)
    assert tensors[f"{INPUT}_zero_point"] == 50  # where 0 lies between -1.0 and 4.1


def test_a_bias_outlives_a_channel_whose_weights_are_almost_zero() -> None:
    model = onnx.load_from_string(chain_graph(POINTWISE).onnx)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        values[0] = 1e-12 if tensor.name.endswith("weight") else 3.0
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    floats = replace(chain_graph(POINTWISE), onnx=model.SerializeToString())
    graph = calibrated(floats, USUAL, images((1, 4, 6, 6)))
    np.testing.assert_allclose(outputs(graph)[0, 0], 3.0, atol=0.05)


def test_a_graph_without_anything_to_compute_is_refused_by_what_it_has() -> None:
    with pytest.raises(UnsupportedGraph, match="8-bit integers: the graph has only Identity"):
        graph_for((Skip(input_shape=SHAPE),), INT8)


@pytest.mark.parametrize("count", [0, 3])
def test_images_that_do_not_fill_their_batches_are_refused(count: int) -> None:
    graph = chain_graph(network(RESIDUAL, batch=2))
    with pytest.raises(ValueError, match=f"{count} calibration images are not full batches of 2"):
        observe(graph, np.zeros((count, 3, 16, 16), np.float32))


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images of \(3, 8, 8\) for a graph that takes \(3, 16"):
        observe(chain_graph(NETWORK), np.zeros((4, 3, 8, 8), np.float32))


def test_layers_are_the_operators_in_order() -> None:
    assert layers_of(chain_graph(NETWORK)) == ("0", "1", "2", "3")


def test_a_layer_is_left_in_floats_by_name_and_nothing_else_changes() -> None:
    floats = chain_graph(network(PLAIN))
    seen = observe(floats, images((1, 3, 16, 16)))
    graph = quantized(floats, USUAL, observed=seen, floats=["1"])
    model = onnx.load_from_string(graph.onnx)
    assert {name for name in weights_of(graph) if name.startswith("1.") and name.endswith("weight")}
    onnx.checker.check_model(model, full_check=True)
    whole, found = kernels(quantized(floats, USUAL, observed=seen)), kernels(graph)
    assert found["QLinearConv"] == whole["QLinearConv"] - 3
    assert found["Conv"] + found["FusedConv"] == 3
    assert found["QuantizeLinear"] == 2  # the images, and what the block gives


def test_all_layers_in_floats_leave_their_weights_as_they_are() -> None:
    floats = chain_graph(network(PLAIN))
    seen = observe(floats, images((1, 3, 16, 16)))
    graph = quantized(floats, USUAL, observed=seen, floats=layers_of(floats))
    kept = weights_of(graph)
    for name, values in weights_of(floats).items():
        if name.endswith(".weight"):
            np.testing.assert_array_equal(kept[name], values)


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="the graph has no layer 9"):
        quantized(chain_graph(NETWORK), USUAL, floats=["9"])


def test_kinds_without_an_integer_kernel_are_counted() -> None:
    assert float_operators(chain_graph(network(ATTENTIVE))) == {"HardSigmoid": 1, "HardSwish": 2}
    assert float_operators(chain_graph(network(PLAIN))) == {}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_stays_near_the_floats(rule: RangeRule) -> None:
    floats = chain_graph(NETWORK)
    seen = observe(floats, images((1, 3, 16, 16), 64))
    found = outputs(quantized(floats, USUAL, observed=seen, rule=rule))
    expected = outputs(floats)
    assert np.abs(found - expected).max() <= 0.1 * np.abs(expected).max()
