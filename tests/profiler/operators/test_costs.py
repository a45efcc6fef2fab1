import pytest

from profiler import (
    Conv,
    Head,
    MBConv,
    OpSpec,
    Pool,
    Skip,
    Unified,
    macs,
    parameters,
    total_macs,
    total_parameters,
)
from profiler.operators.primitives import Lowering

BLOCK = MBConv(input_shape=(1, 8, 4, 4), channels=12, kernel=3, stride=2, expand=2, squeeze=4)
HEAD = Head(input_shape=(1, 8, 2, 2), channels=16, classes=10)


def test_the_operations_of_a_block_with_squeeze_excite_are_those_counted_by_hand() -> None:
    expand = 8 * 16 * (4 * 4)
    depthwise = 3 * 3 * 16 * (2 * 2)  # on the halved image
    attention = 16 * 4 + 4 * 16
    project = 16 * 12 * (2 * 2)
    assert macs(BLOCK) == expand + depthwise + attention + project == 3520


def test_the_parameters_of_a_block_with_squeeze_excite_are_those_counted_by_hand() -> None:
    expand = 8 * 16 + 2 * 16  # weights, and two of batch norm per channel
    depthwise = 3 * 3 * 16 + 2 * 16
    attention = (16 * 4 + 4) + (4 * 16 + 16)  # with biases
    project = 16 * 12 + 2 * 12
    assert parameters(BLOCK) == expand + depthwise + attention + project == 700


@pytest.mark.parametrize("lowering", ["padded", "split"])
def test_a_unified_block_costs_its_kernels_and_no_zeros(lowering: Lowering) -> None:
    block = Unified(
        input_shape=(1, 8, 4, 4),
        channels=12,
        kernels=(3, 3, 7),
        stride=2,
        squeeze=4,
        lowering=lowering,
    )
    expand = 8 * 24 * (4 * 4)
    depthwise = (9 + 9 + 49) * 8 * (2 * 2)  # on the halved image
    attention = 24 * 4 + 4 * 24
    project = 24 * 12 * (2 * 2)
    assert macs(block) == expand + depthwise + attention + project
    weights = 8 * 24 + (9 + 9 + 49) * 8 + (24 * 4 + 4) + (4 * 24 + 24) + 24 * 12
    assert parameters(block) == weights + 2 * (24 + 24 + 12)  # two of batch norm per channel


def test_a_unified_block_of_one_kernel_size_costs_what_an_inverted_bottleneck_does() -> None:
    unified = Unified(input_shape=(2, 8, 5, 5), channels=8, kernels=(5, 5, 5), squeeze=6)
    mbconv = MBConv(input_shape=(2, 8, 5, 5), channels=8, kernel=5, expand=3, squeeze=6)
    assert (macs(unified), parameters(unified)) == (macs(mbconv), parameters(mbconv))


def test_a_unified_block_of_one_kernel_expands_all_the_same() -> None:
    block = Unified(input_shape=(1, 8, 4, 4), channels=8, kernels=(3,))
    assert macs(block) == (8 * 8 + 9 * 8 + 8 * 8) * 16


def test_a_head_is_its_convolution_and_its_classifier() -> None:
    assert macs(HEAD) == 8 * 16 * (2 * 2) + 16 * 10 == 672
    assert parameters(HEAD) == (8 * 16 + 2 * 16) + (16 * 10 + 10) == 330


def test_an_expansion_of_one_has_no_expanding_convolution() -> None:
    block = MBConv(input_shape=(1, 8, 4, 4), channels=8, kernel=3, expand=1)
    assert macs(block) == (9 * 8 + 8 * 8) * 16
    assert parameters(block) == (9 * 8 + 16) + (8 * 8 + 16)


def test_strides_round_the_image_up() -> None:
    assert macs(Conv(input_shape=(1, 2, 5, 7), channels=3, stride=2)) == 2 * 3 * (3 * 4)


@pytest.mark.parametrize("op", [Skip(input_shape=(1, 8, 4, 4)), Pool(input_shape=(1, 8, 4, 4))])
def test_skips_and_pooling_cost_nothing(op: OpSpec) -> None:
    assert (macs(op), parameters(op)) == (0, 0)


def test_operations_grow_with_the_batch_and_parameters_do_not() -> None:
    five = Head(input_shape=(5, 8, 2, 2), channels=16, classes=10)
    assert macs(five) == 5 * macs(HEAD)
    assert parameters(five) == parameters(HEAD)


def test_a_chain_costs_the_sum_of_its_operators() -> None:
    assert total_macs((BLOCK, HEAD)) == 3520 + 672
    assert total_parameters(iter((BLOCK, HEAD))) == 700 + 330
    assert total_macs(()) == 0
