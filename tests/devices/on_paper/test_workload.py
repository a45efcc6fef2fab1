"""Which nodes become one kernel, checked by hand and against plans of TensorRT for RTX."""

from collections.abc import Iterable

import pytest

from devices import Graph, UnsupportedGraph
from devices.nvidia.engine_plan import plan_engine
from devices.on_paper.workload import convolution, workloads
from profiler import Conv, Head, MBConv, OpSpec, Unified, kernels_of
from profiler.operators.builders import chain_graph
from search.spaces import space_named

MOBILE = MBConv(input_shape=(1, 16, 14, 14), channels=16, expand=6)


def planned(op: OpSpec, capability: str = "8.6") -> list[set[str]]:
    """Return the nodes of each kernel that TensorRT for RTX plans, but for those without any."""
    plan = plan_engine(chain_graph((op,)), capability=capability)
    return [set(kernel.nodes) for kernel in plan.kernels if kernel.nodes]


def ruled(op: OpSpec) -> list[set[str]]:
    return [set(kernel.nodes) for kernel in kernels_of((op,))]


def as_sets(kernels: Iterable[set[str]]) -> set[frozenset[str]]:
    return set(map(frozenset, kernels))


def test_a_convolution_reads_its_input_and_weights_and_writes_its_output() -> None:
    work = convolution(inputs=(2, 8, 6, 6), outputs=(2, 4, 3, 3), weight=(4, 8, 3, 3))
    assert work.matrix_ops == 2 * (2 * 4 * 3 * 3) * (8 * 3 * 3)
    assert work.vector_ops == 0
    assert work.moved == 2 * 8 * 36 + 2 * 4 * 9 + 4 * 8 * 9


def test_a_depthwise_convolution_has_no_matrix_to_multiply_by() -> None:
    work = convolution(inputs=(1, 8, 6, 6), outputs=(1, 8, 6, 6), weight=(8, 1, 3, 3))
    assert (work.matrix_ops, work.vector_ops) == (0, 2 * 8 * 36 * 9)


def test_activation_and_shortcut_are_part_of_the_convolution_before_them() -> None:
    assert [kernel.nodes for kernel in kernels_of((MOBILE,))] == [
        ("0.expand", "0.expand.act"),
        ("0.depthwise", "0.depthwise.act"),
        ("0.project", "0.add"),
    ]


def test_a_fused_shortcut_is_read_and_a_fused_activation_moves_nothing() -> None:
    expand, _, project = kernels_of((MOBILE,))
    pixels = 14 * 14
    weights = 16 * 96 + 96  # and a bias
    assert expand.moved == 16 * pixels + 96 * pixels + weights
    assert expand.vector_ops == 96 * pixels  # the activation
    assert project.moved == 96 * pixels + 16 * pixels + (96 * 16 + 16) + 16 * pixels


def test_a_linear_layer_is_a_product() -> None:
    head = Head(input_shape=(1, 8, 4, 4), channels=32, classes=10)
    *_, classifier = kernels_of((head,))
    assert classifier.matrix_ops == 2 * 32 * 10
    assert classifier.moved == 32 + 10 + 320 + 10


def test_what_is_no_onnx_has_no_kernels() -> None:
    with pytest.raises(UnsupportedGraph, match="the roofline refuses the graph"):
        workloads(Graph(onnx=b"junk", inputs=()))


@pytest.mark.parametrize("name", ["greedynas", "macro", "nasbench201", "unified-macro"])
def test_the_rule_is_what_tensorrt_plans(name: str) -> None:
    space = space_named(name, resolution=32, classes=1000)
    ops = (space.before[0], *space.operators[:: (len(space.operators) + 1) // 2], *space.after)
    for op in ops:
        assert as_sets(ruled(op)) == as_sets(planned(op)), str(op)


@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.9", "12.0"])
def test_the_rule_holds_on_other_gpus(capability: str) -> None:
    # as sets: on 7.5 a depthwise convolution is two kernels, which bear the same nodes
    assert as_sets(ruled(MOBILE)) == as_sets(planned(MOBILE, capability))


def test_the_rule_finds_the_kernels_of_squeeze_excite_but_for_one_bias() -> None:
    op = MBConv(input_shape=(1, 32, 28, 28), channels=32, expand=6, squeeze=8)
    for kernels in (plan := planned(op), rule := ruled(op)):
        assert {"0.expand", "0.expand.act"} in kernels
    apart = as_sets(plan) ^ as_sets(rule)
    # the plan adds the bias of one 1x1 convolution where its values are used
    assert {frozenset(s - {"0.attention.expand"}) for s in apart} == {
        frozenset({"0.attention.gate", "0.attention.mul"})
    }
    assert len(plan) == len(rule)


def test_a_swish_that_two_nodes_read_is_a_kernel_of_its_own_as_planned() -> None:
    op = Unified(
        input_shape=(1, 40, 28, 28), channels=40, kernels=(3, 7), squeeze=20, activation="hswish"
    )
    assert {"0.depthwise.act"} in ruled(op)
    assert {"0.depthwise.act"} in planned(op)
    assert len(ruled(op)) == len(planned(op))


def test_a_split_copies_each_share_and_a_concatenation_is_free_as_planned() -> None:
    op = Unified(input_shape=(1, 8, 14, 14), channels=16, kernels=(3, 5), lowering="split")
    assert as_sets(ruled(op)) == as_sets(planned(op))
    assert ruled(op).count({"0.depthwise.split"}) == planned(op).count({"0.depthwise.split"}) == 2
    split = [each for each in kernels_of((op,)) if each.nodes == ("0.depthwise.split",)]
    assert [each.moved for each in split] == [2 * 8 * 14 * 14] * 2


def test_the_stem_is_one_kernel() -> None:
    stem = Conv(input_shape=(1, 3, 8, 8), channels=4, kernel=3, stride=2, activation="relu6")
    assert ruled(stem) == planned(stem) == [{"0.conv", "0.conv.act"}]
