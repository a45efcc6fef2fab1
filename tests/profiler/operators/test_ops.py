import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import InvalidFile, LatkitError, Shape, UnknownName
from profiler import (
    Chain,
    Conv,
    Head,
    MBConv,
    OpSpec,
    Pool,
    Skip,
    Unified,
    chain_from_key,
    chain_to_key,
    check_chain,
)
from profiler.operators.primitives import Activation

SHAPE = (1, 8, 14, 14)

shapes = st.tuples(*[st.integers(1, 256)] * 4)
counts = st.integers(1, 2048)
odd = st.sampled_from([1, 3, 5, 7])
activations: st.SearchStrategy[Activation] = st.sampled_from(["none", "relu", "relu6", "hswish"])
operators: st.SearchStrategy[OpSpec] = st.one_of(
    st.builds(
        Conv,
        input_shape=shapes,
        channels=counts,
        kernel=odd,
        stride=st.integers(1, 2),
        activation=activations,
    ),
    st.builds(
        MBConv,
        input_shape=shapes,
        channels=counts,
        kernel=odd,
        stride=st.integers(1, 2),
        expand=st.integers(1, 6),
        squeeze=st.integers(0, 64),
        activation=activations,
    ),
    st.builds(
        Unified,
        input_shape=shapes,
        channels=counts,
        kernels=st.lists(odd, min_size=1, max_size=6).map(sorted).map(tuple),
        stride=st.integers(1, 2),
        squeeze=st.integers(0, 64),
        activation=activations,
        lowering=st.sampled_from(["padded", "split"]),
    ),
    st.builds(Skip, input_shape=shapes),
    st.builds(Pool, input_shape=shapes),
    st.builds(Head, input_shape=shapes, channels=counts, classes=counts, activation=activations),
)


@given(chain=st.lists(operators, max_size=4).map(tuple))
def test_a_chain_reads_back_from_its_key(chain: Chain) -> None:
    assert chain_from_key(chain_to_key(chain)) == chain


@given(one=operators, other=operators)
def test_keys_are_equal_when_the_operators_are(one: OpSpec, other: OpSpec) -> None:
    assert (chain_to_key((one,)) == chain_to_key((other,))) == (one == other)


def test_a_key_stays_what_tables_on_disk_say() -> None:
    assert chain_to_key((MBConv(input_shape=SHAPE, channels=12, kernel=5, stride=2),)) == (
        '[{"activation": "relu", "channels": 12, "expand": 6, "input_shape": [1, 8, 14, 14], '
        '"kernel": 5, "kind": "mbconv", "squeeze": 0, "stride": 2}]'
    )


def test_an_unknown_kind_of_operator_is_refused_in_one_line() -> None:
    key = json.dumps([{"kind": "mbconv2", "input_shape": SHAPE, "channels": 8}])
    with pytest.raises(UnknownName) as caught:
        chain_from_key(key)
    assert str(caught.value) == (
        "no kind of operator is called 'mbconv2'; the nearest is 'mbconv'. "
        "Is the table newer than latkit?"
    )


@pytest.mark.parametrize(
    "key",
    [
        "no json",
        "[1]",
        '{"kind": "skip"}',
        '[{"kind": "skip", "input_shape": [1, 8, 0, 4]}]',
        '[{"kind": "skip", "input_shape": [1, 8, 4, 4], "colour": "red"}]',
    ],
)
def test_a_key_that_is_no_chain_is_refused_in_one_line(key: str) -> None:
    with pytest.raises(InvalidFile, match=r"^not the key of an operator: ") as caught:
        chain_from_key(key)
    assert isinstance(caught.value, LatkitError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (
            MBConv(input_shape=(1, 32, 56, 56), channels=64, kernel=5, expand=6),
            "mbconv 1x32x56x56 -> 64 k5 s1 e6",
        ),
        (
            MBConv(input_shape=SHAPE, channels=8, squeeze=4, activation="hswish"),
            "mbconv 1x8x14x14 -> 8 k3 s1 e6 hswish se4",
        ),
        (
            Unified(input_shape=SHAPE, channels=9, kernels=(3, 3, 7), stride=2),
            "unified 1x8x14x14 -> 9 k3+3+7 s2",
        ),
        (
            Unified(
                input_shape=SHAPE,
                channels=8,
                kernels=(5,),
                squeeze=2,
                activation="relu6",
                lowering="split",
            ),
            "unified 1x8x14x14 -> 8 k5 s1 relu6 se2 split",
        ),
        (Conv(input_shape=SHAPE, channels=9, stride=2), "conv 1x8x14x14 -> 9 k1 s2"),
        (Conv(input_shape=SHAPE, channels=9, activation="relu"), "conv 1x8x14x14 -> 9 k1 s1 relu"),
        (Skip(input_shape=SHAPE), "skip 1x8x14x14"),
        (Pool(input_shape=SHAPE), "pool 1x8x14x14"),
        (Head(input_shape=SHAPE, channels=16, classes=10), "head 1x8x14x14 -> 16 -> 10"),
    ],
)
def test_an_operator_describes_itself(op: OpSpec, text: str) -> None:
    assert str(op) == text


@pytest.mark.parametrize("shape", [(1, 8, 14), (1, 8, 14, 0), (8,), (1, 8, 14, 14, 1)])
@pytest.mark.parametrize("kind", [Skip, Pool])
def test_an_input_shape_has_four_positive_sides(kind: type[Skip | Pool], shape: Shape) -> None:
    with pytest.raises(ValueError, match=r"\(N, C, H, W\), all positive"):
        kind(input_shape=shape)


@pytest.mark.parametrize("kernel", [2, 0, -1])
def test_a_kernel_is_odd(kernel: int) -> None:
    with pytest.raises(ValueError, match=f"must be odd to keep the size, got {kernel}"):
        MBConv(input_shape=SHAPE, channels=8, kernel=kernel)
    with pytest.raises(ValueError, match=f"must be odd to keep the size, got {kernel}"):
        Conv(input_shape=SHAPE, channels=8, kernel=kernel)


@pytest.mark.parametrize("kernels", [(), (5, 3), (3, 5, 3)])
def test_the_kernels_of_a_unified_block_are_sorted_and_one_at_least(
    kernels: tuple[int, ...],
) -> None:
    with pytest.raises(ValueError, match="kernels are one or more, ascending; got"):
        Unified(input_shape=SHAPE, channels=8, kernels=kernels)
    with pytest.raises(ValueError, match="must be odd to keep the size, got 4"):
        Unified(input_shape=SHAPE, channels=8, kernels=(3, 4))


def test_a_lowering_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="a lowering is padded or split, got 'fused'"):
        Unified(input_shape=SHAPE, channels=8, kernels=(3,), lowering="fused")  # type: ignore[arg-type]


def test_an_expansion_is_one_or_more() -> None:
    with pytest.raises(ValueError, match="expand must be 1 or more, got 0"):
        MBConv(input_shape=SHAPE, channels=8, expand=0)


@pytest.mark.parametrize(
    ("channels", "stride", "residual"), [(8, 1, True), (8, 2, False), (9, 1, False)]
)
def test_a_block_is_residual_where_its_shape_stays(
    channels: int, stride: int, residual: bool
) -> None:
    assert MBConv(input_shape=SHAPE, channels=channels, stride=stride).residual == residual


def test_a_chain_whose_neighbours_do_not_fit_is_refused() -> None:
    half = Conv(input_shape=SHAPE, channels=8, stride=2)
    check_chain((half, Pool(input_shape=(1, 8, 7, 7))))
    with pytest.raises(ValueError, match=r"\[conv .*\] gives \(1, 8, 7, 7\), \[pool .*\] takes"):
        check_chain((half, Pool(input_shape=SHAPE)))


def test_an_empty_chain_is_refused() -> None:
    with pytest.raises(ValueError, match="a chain needs an operator"):
        check_chain(())
