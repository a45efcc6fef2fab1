"""Known answers of the unified spaces: sizes, blocks, and counts by the author's convention."""

from collections import Counter
from itertools import product
from math import comb

import numpy as np
import pytest

from profiler import (
    MBConv,
    OpSpec,
    Unified,
    check_chain,
    total_macs,
    total_parameters,
)
from search import Architecture, SearchSpace, space_named
from search.spaces.unified import (
    CODES,
    GROUPS,
    KERNELS,
    MULTISETS,
    SKIPPED,
    code_of,
    digits_of,
    is_unified,
    multiset_index,
    released_macs,
    released_parameters,
)

SPACE = space_named("unified")
SQUEEZED = space_named("unified-se")
MACRO = space_named("unified-macro")
every_space = pytest.mark.parametrize("space", [SPACE, SQUEEZED, MACRO], ids=lambda s: s.name)


def test_there_are_3072_codes_of_83_blocks() -> None:
    assert CODES == 3 * 4**5 == 3072
    assert len(MULTISETS) == sum(comb(e + 2, 2) for e in range(1, 7)) == 83
    assert np.unique(multiset_index()).tolist() == list(range(83))


@every_space
def test_every_layer_has_3072_choices_of_83_operators(space: SearchSpace) -> None:
    assert all(is_unified(layer) for layer in space.layers)
    assert [len({id(op) for op in layer}) for layer in space.layers] == [83] * len(space.layers)
    assert [len(set(layer)) for layer in space.layers] == [83] * len(space.layers)


def test_the_released_space_has_19_layers() -> None:
    assert SPACE.size == 3072**19
    channels = [layer[0].output_shape[1] for layer in SPACE.layers]
    assert channels == [32] * 2 + [40] * 4 + [80] * 4 + [96] * 4 + [192] * 4 + [320]
    strides = [layer[0].stride for layer in SPACE.layers if isinstance(layer[0], Unified)]
    assert [i for i, stride in enumerate(strides) if stride == 2] == [0, 2, 6, 14]
    assert SPACE.layers[-1][0].output_shape == (1, 320, 7, 7)
    assert SPACE.classes == 1000


def test_equal_layers_share_their_operators() -> None:
    # 11 kinds of layer, as in greedynas
    assert len({id(layer) for layer in SPACE.layers}) == 11
    assert len(SPACE.operators) == 11 * 83
    assert space_named("unified").layers[3] is SPACE.layers[4]


def test_the_macro_skeleton_has_8_layers_at_any_resolution() -> None:
    small = space_named("unified-macro", resolution=16)
    assert MACRO.size == small.size == 3072**8
    assert [layer[0].output_shape[2] for layer in small.layers] == [8, 8, 4, 4, 4, 2, 2, 2]


@every_space
def test_a_drawn_network_is_a_chain(space: SearchSpace) -> None:
    chain = space.chain(space.sample(np.random.default_rng(0)))
    check_chain(chain)
    assert len(chain) == len(space.before) + len(space.layers) + len(space.after)
    assert chain[-1].output_shape == (1, space.classes)


def test_a_code_is_its_digits() -> None:
    assert digits_of(0) == (0, 0, 0, 0, 0, 0)
    assert digits_of(CODES - 1) == (2, 3, 3, 3, 3, 3)
    assert code_of((1, 0, 0, 0, 0, 3)) == 4**5 + 3
    every = product(range(SKIPPED), *[range(SKIPPED + 1)] * (GROUPS - 1))
    assert [code_of(digits) for digits in every] == list(range(CODES))
    assert all(code_of(digits_of(code)) == code for code in range(CODES))


@pytest.mark.parametrize("digits", [(3, 0, 0, 0, 0, 0), (0, 0, 0), (0, 4, 0, 0, 0, 0)])
def test_digits_that_are_no_block_are_refused(digits: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a block has 6 digits of 0 to 3, the first below 3"):
        code_of(digits)


@pytest.mark.parametrize("code", [-1, CODES])
def test_a_code_that_is_none_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match="codes are 0 to 3071"):
        digits_of(code)


@every_space
def test_the_operator_of_a_code_has_its_kernels_sorted(space: SearchSpace) -> None:
    for code in np.random.default_rng(0).integers(CODES, size=50).tolist():
        kernels = sorted(KERNELS[digit] for digit in digits_of(code) if digit != SKIPPED)
        for layer in space.layers:
            op = layer[code]
            assert isinstance(op, Unified)
            assert list(op.kernels) == kernels == list(MULTISETS[multiset_index()[code]])


def test_blocks_have_as_many_codes_as_arrangements() -> None:
    codes = Counter(multiset_index().tolist())
    assert codes[MULTISETS.index((3,))] == 1  # only the first group is left
    # three equal kernels: the first group and two of the five others
    assert codes[MULTISETS.index((5, 5, 5))] == comb(5, 2)
    # any group has any kernel once: 6! / (2! 2! 2!)
    assert codes[MULTISETS.index((3, 3, 5, 5, 7, 7))] == 90


def test_codes_of_one_block_are_kept_apart_until_they_are_trained_alone() -> None:
    one = code_of((0, 1, 3, 3, 3, 3))
    other = code_of((1, 3, 3, 3, 3, 0))
    rest = (code_of((0,) * 6),) * 7
    archs = Architecture((one, *rest)), Architecture((other, *rest))
    assert MACRO.chain(archs[0]) == MACRO.chain(archs[1])
    assert [MACRO.canonical(arch) for arch in archs] == list(archs)
    assert MACRO.alone(archs[0]) == MACRO.alone(archs[1])


def test_squeeze_excite_has_a_quarter_of_the_hidden_channels() -> None:
    squeezes = {
        (op.input_shape[1], op.expand): op.squeeze
        for layer in SQUEEZED.layers
        for op in layer
        if isinstance(op, Unified)
    }
    assert squeezes[16, 1] == 4
    assert squeezes[40, 3] == 30
    assert squeezes[192, 6] == 288


def uniform_kernels(space: SearchSpace, *, kernel: int, expand: int) -> Architecture:
    digit = KERNELS.index(kernel)
    code = code_of((digit,) * expand + (SKIPPED,) * (GROUPS - expand))
    return Architecture((code,) * len(space.layers))


def bottlenecks(space: SearchSpace, *, kernel: int, expand: int) -> list[OpSpec]:
    """Return a network made by hand: inverted bottlenecks, without an expansion to 1."""
    middle = [
        MBConv(
            input_shape=op.input_shape,
            channels=op.channels,
            kernel=kernel,
            stride=op.stride,
            expand=expand,
            squeeze=int(0.25 * expand * op.input_shape[1]) if op.squeeze else 0,
            activation=op.activation,
        )
        for op in (layer[0] for layer in space.layers)
        if isinstance(op, Unified)
    ]
    return [*space.before, *middle, *space.after]


@pytest.mark.parametrize("space", [SPACE, SQUEEZED], ids=lambda s: s.name)
@pytest.mark.parametrize(("kernel", "expand"), [(3, 1), (7, 1), (3, 2), (5, 6)])
def test_the_authors_counts_are_those_of_inverted_bottlenecks(
    space: SearchSpace, kernel: int, expand: int
) -> None:
    chain = space.chain(uniform_kernels(space, kernel=kernel, expand=expand))
    by_hand = bottlenecks(space, kernel=kernel, expand=expand)
    classifier = 1280 * 1000
    assert released_macs(chain) == total_macs(by_hand) - classifier
    assert released_parameters(chain) == total_parameters(by_hand)


def test_the_authors_table_adds_up_to_the_same_operations() -> None:
    """The released table: stem, first block and head, and for each group its part of a layer."""
    rng = np.random.default_rng(0)
    stem, first = 9 * 3 * 32 * 112**2, (9 * 32 + 32 * 16) * 112**2
    head = 320 * 1280 * 7**2
    for arch in (SPACE.sample(rng) for _ in range(5)):
        total = stem + first + head
        for layer, code in zip(SPACE.layers, arch.choices, strict=True):
            (_, cin, height, _), (_, cout, out, _) = layer[0].input_shape, layer[0].output_shape
            kernels = [KERNELS[digit] for digit in digits_of(code) if digit != SKIPPED]
            total += cin * cin * height**2 * (len(kernels) if len(kernels) > 1 else 0)
            total += sum(kernel**2 for kernel in kernels) * cin * out**2
            total += len(kernels) * cin * cout * out**2
        assert released_macs(SPACE.chain(arch)) == total


def test_the_expansion_to_1_is_all_that_our_count_has_more() -> None:
    chain = SPACE.chain(uniform_kernels(SPACE, kernel=3, expand=1))
    expands = sum(
        op.input_shape[1] ** 2 * op.input_shape[2] ** 2 for op in chain if isinstance(op, Unified)
    )
    assert total_macs(chain) - released_macs(chain) == expands + 1280 * 1000


def test_the_released_budgets_are_inside_the_space() -> None:
    # 279.32, 324.32 and 371.15 million are the author's three networks
    ends = [
        released_macs(SPACE.chain(uniform_kernels(SPACE, kernel=k, expand=e)))
        for k, e in ((3, 1), (7, 6))
    ]
    assert ends[0] < 279.32e6 < 371.15e6 < ends[1]
