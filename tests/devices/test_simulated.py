from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from devices import DeviceSpec, Graph, Quantization, Simulation, UnsupportedGraph
from devices.onnx_runtime.quantization import quantized
from devices.simulated import Simulated
from profiler import Chain, Conv, Head, MBConv, Pool, in_context
from profiler.operators.builders import chain_graph

SHAPE = (1, 16, 10, 10)
# 16 * 32 * 10 * 10 multiply-accumulates, 1,600 numbers in and 3,200 out
POINTWISE: Chain = (Conv(input_shape=SHAPE, channels=32),)


def exactly(**trouble: float) -> Simulation:
    """Return a device of a billion of everything a second: 51.2 + 19.2 + 1 us for `POINTWISE`."""
    quiet = {"noise": 0.0, "process_noise": 0.0}
    speed = {"dense_macs_per_s": 1e9, "depthwise_macs_per_s": 1e8, "bytes_per_s": 1e9}
    return Simulation(**{**quiet, **speed, "node_s": 1e-6, **trouble})  # type: ignore[arg-type]


POINTWISE_S = 71.4e-6


def backend(simulation: Simulation, *, threads: int = 1, replicate: int = 0) -> Simulated:
    device = DeviceSpec(name="sim", backend="simulated", threads=threads, simulation=simulation)
    return Simulated(device, replicate=replicate)


def run_s(device: Simulated, chain: Chain = POINTWISE, repeats: int = 1) -> float:
    with device.open(chain_graph(chain)) as session:
        return session.time(repeats)


def test_a_convolution_costs_its_macs_a_node_and_the_conversion_of_both_ends() -> None:
    assert run_s(backend(exactly())) == pytest.approx(POINTWISE_S)


def test_a_depthwise_convolution_has_a_rate_of_its_own() -> None:
    block = MBConv(input_shape=SHAPE, channels=32, kernel=3, expand=1)
    depthwise_s = 9 * 16 * 100 / 1e8 + 1e-6
    assert run_s(backend(exactly()), (block,)) == pytest.approx(POINTWISE_S + depthwise_s)


def test_an_addition_waits_for_what_it_reads_and_writes() -> None:
    shape = (1, 32, 10, 10)
    plain = MBConv(input_shape=shape, channels=33, expand=1)
    residual = MBConv(input_shape=shape, channels=32, expand=1)
    one_channel_s = 32 * 100 / 1e9 + 4 * 100 / 1e9
    add_s = 1e-6 + 4 * 3 * 3_200 / 1e9
    gap_s = run_s(backend(exactly()), (residual,)) - run_s(backend(exactly()), (plain,))
    assert gap_s == pytest.approx(add_s - one_channel_s)


def test_a_head_costs_a_convolution_a_pooling_and_a_classifier() -> None:
    head = Head(input_shape=SHAPE, channels=32, classes=10)
    pool_s = 1e-6 + 4 * (3_200 + 32) / 1e9
    classifier_s = 1e-6 + 320 / 1e9
    fewer_outputs_s = 4 * (3_200 - 10) / 1e9
    expected_s = POINTWISE_S - fewer_outputs_s + pool_s + classifier_s
    assert run_s(backend(exactly()), (head,)) == pytest.approx(expected_s)


def test_integers_are_multiplied_twice_and_moved_four_times_as_fast() -> None:
    def quantized_s(chain: Chain) -> float:
        with backend(exactly()).open(quantized(chain_graph(chain), Quantization())) as session:
            return session.time(1)

    pointwise_s = 51.2e-6 / 2 + 19.2e-6 + 1e-6  # both ends are floats
    assert quantized_s(POINTWISE) == pytest.approx(pointwise_s)
    head = Head(input_shape=SHAPE, channels=32, classes=10)
    pool_s = 1e-6 + (3_200 + 32) / 1e9
    classifier_s = 1e-6 + 320 / 2e9
    fewer_outputs_s = 4 * (3_200 - 10) / 1e9
    expected_s = pointwise_s - fewer_outputs_s + pool_s + classifier_s
    assert quantized_s((head,)) == pytest.approx(expected_s)


def test_without_noise_every_run_takes_the_same() -> None:
    device = backend(exactly())
    assert run_s(device, repeats=10) == pytest.approx(10 * POINTWISE_S)
    assert run_s(device) == pytest.approx(POINTWISE_S)


def test_time_passes_only_for_what_is_run() -> None:
    device = backend(exactly(noise=0.1))
    with device.open(chain_graph(POINTWISE)) as session:
        assert device.host.clock() == 0.0
        took_s = session.time(7)
    assert device.host.clock() == pytest.approx(took_s)


def test_threads_share_the_work() -> None:
    assert run_s(backend(exactly(), threads=2)) == pytest.approx(POINTWISE_S / 2)


def test_a_seed_and_a_replicate_give_the_same_numbers_again() -> None:
    noisy = exactly(noise=0.1, process_noise=0.1)
    again = [run_s(backend(noisy, replicate=2), repeats=5) for _ in range(2)]
    assert again[0] == again[1]


def test_another_replicate_or_another_seed_gives_other_numbers() -> None:
    noise = {"noise": 0.1}
    seconds = {
        run_s(backend(exactly(**noise))),
        run_s(backend(exactly(**noise), replicate=1)),
        run_s(backend(exactly(**noise, seed=1))),
    }
    assert len(seconds) == 3


def test_processes_differ_as_a_whole() -> None:
    simulation = exactly(process_noise=0.1)
    first, second = (backend(simulation, replicate=i) for i in range(2))
    assert run_s(first) == run_s(first)
    assert run_s(first) != run_s(second)


def test_drift_slows_the_device_down_by_its_clock() -> None:
    device = backend(exactly(drift_per_s=0.01))
    device.host.rest(100.0)
    assert run_s(device) == pytest.approx(2 * POINTWISE_S)


def test_a_busy_device_throttles_until_it_has_rested() -> None:
    device = backend(exactly(throttle_after_s=10.5 * POINTWISE_S, throttle_factor=1.5))
    assert run_s(device, repeats=11) == pytest.approx(11 * POINTWISE_S)
    assert run_s(device) == pytest.approx(1.5 * POINTWISE_S)
    device.host.rest(11 * POINTWISE_S)
    assert run_s(device) == pytest.approx(POINTWISE_S)


def others_s(device: Simulated) -> float:
    """Return the CPU seconds that others have used."""
    reading = device.host.load()
    return reading.busy_s - reading.own_s


def test_bursts_of_load_slow_a_run_down_and_show_in_the_counters() -> None:
    device = backend(exactly(load_period_s=10.0, load_share=0.2, load_factor=2.0))
    assert run_s(device) == pytest.approx(2 * POINTWISE_S)
    assert others_s(device) == pytest.approx(POINTWISE_S)  # half of the time was theirs
    assert device.host.load().own_s == pytest.approx(POINTWISE_S)


def test_between_bursts_the_device_is_its_own() -> None:
    device = backend(exactly(load_period_s=10.0, load_share=0.2))
    device.host.rest(2.0)
    assert run_s(device) == pytest.approx(POINTWISE_S)
    assert others_s(device) == pytest.approx(0.0)
    device.host.rest(8.0)  # the next burst
    assert run_s(device) == pytest.approx(2 * POINTWISE_S)


def test_faults_refuse_graphs_by_their_content() -> None:
    graphs = [chain_graph(POINTWISE, seed=seed) for seed in range(40)]

    def refused(device: Simulated) -> list[int]:
        numbers = []
        for number, graph in enumerate(graphs):
            try:
                with device.open(graph):
                    pass
            except UnsupportedGraph:
                numbers.append(number)
        return numbers

    assert refused(backend(exactly())) == []
    assert refused(backend(exactly(fault_share=1.0))) == list(range(40))
    some = refused(backend(exactly(fault_share=0.5)))
    assert 10 <= len(some) <= 30
    assert refused(backend(exactly(fault_share=0.5), replicate=1)) == some


def test_isolated_operators_pay_for_conversions_that_a_network_does_not() -> None:
    chain: Chain = (
        Conv(input_shape=SHAPE, channels=32),
        MBConv(input_shape=(1, 32, 10, 10), channels=32, expand=3),
        Pool(input_shape=(1, 32, 10, 10)),
    )
    device = backend(exactly())
    alone_s = sum(run_s(device, (op,)) for op in chain)
    inner_edges_s = sum(2 * 4 * 3_200 / 1e9 for _ in pairwise(chain))  # written, read again
    assert alone_s - run_s(device, chain) == pytest.approx(inner_edges_s)


def test_differences_between_operators_in_context_are_those_of_the_network() -> None:
    device = backend(exactly())
    stem = Conv(input_shape=(1, 3, 20, 20), channels=16, kernel=3, stride=2)
    head = Head(input_shape=(1, 32, 5, 5), channels=8, classes=10)
    small, large = (
        MBConv(input_shape=SHAPE, channels=32, stride=2, kernel=kernel, expand=expand)
        for kernel, expand in ((3, 3), (7, 6))
    )
    in_network_s = run_s(device, (stem, large, head)) - run_s(device, (stem, small, head))
    in_context_s = run_s(device, in_context(large)) - run_s(device, in_context(small))
    assert in_context_s == pytest.approx(in_network_s)


def microseconds(device: Simulated, graph: Graph, *, runs: int = 1) -> dict[str, float]:
    """Return what each kernel takes."""
    return {k.name: round(k.latency_s * 1e6, 6) for k in device.trace(graph, runs=runs).kernels}


def test_a_trace_shows_what_the_sum_is_made_of() -> None:
    device, graph = backend(exactly()), chain_graph(POINTWISE)
    assert microseconds(device, graph) == {"0.conv": 52.2, "ends": 19.2}
    assert device.trace(graph, runs=1).sum_s == pytest.approx(run_s(device))
    assert microseconds(backend(exactly(), threads=2), graph) == {"0.conv": 26.1, "ends": 9.6}


def test_a_trace_takes_its_time_and_the_middle_of_the_runs() -> None:
    device = backend(exactly(throttle_after_s=0.9 * POINTWISE_S, throttle_factor=2.0))
    trace = device.trace(chain_graph(POINTWISE), runs=5)  # the first one at full speed
    assert trace.sum_s == pytest.approx(2 * POINTWISE_S)
    assert device.host.clock() == pytest.approx((1 + 4 * 2) * POINTWISE_S)


def brought(node: onnx.NodeProto, outputs: Sequence[int | None]) -> Graph:
    """Return a model of one node and an open batch, fed with a batch of 5."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 200])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, outputs)
    model = helper.make_model(helper.make_graph([node], "brought", [x], [y]))
    return Graph(onnx=model.SerializeToString(), inputs=(("x", (5, 200)),))


def test_open_sizes_are_those_of_the_inputs() -> None:
    graph = brought(helper.make_node("Neg", ["x"], ["y"], name="neg"), [None, 200])
    # a node, 1,000 numbers read and written at 1 GB/s; the same for the ends
    assert microseconds(backend(exactly()), graph) == {"neg": 9.0, "ends": 8.0}


def test_both_branches_count_and_a_size_that_depends_on_the_data_does_not() -> None:
    branches = {
        f"{side}_branch": helper.make_graph(
            [helper.make_node("NonZero", ["x"], [f"{side}_y"], name=side)],
            side,
            [],
            [helper.make_tensor_value_info(f"{side}_y", TensorProto.INT64, [2, None])],
        )
        for side in ("then", "else")
    }
    condition = numpy_helper.from_array(np.array(True), "yes")
    graph = brought(helper.make_node("If", ["yes"], ["y"], name="if", **branches), [2, None])
    model = onnx.load_from_string(graph.onnx)
    model.graph.initializer.append(condition)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    graph = replace(graph, onnx=model.SerializeToString())
    # a node each; the condition is one number, the branches read 1,000; the output has no size
    assert microseconds(backend(exactly()), graph) == {
        "if": 1.004,
        "then": 5.0,
        "else": 5.0,
        "ends": 4.0,
    }


def test_the_preflight_names_the_trouble_that_is_switched_on() -> None:
    assert backend(exactly()).host.preflight() == ()
    doubts = backend(exactly(load_period_s=10.0, throttle_after_s=8.0)).host.preflight()
    assert doubts == ("other work runs 20% of the time", "throttles after 8 busy seconds")


def test_the_environment_is_the_arithmetic() -> None:
    slow = backend(exactly(node_s=5e-6)).environment()
    assert slow["node_s"] == "5e-06"
    assert slow != backend(exactly()).environment()
