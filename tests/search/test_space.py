from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import InvalidFile, UnknownName
from profiler import Conv, Head, MBConv, OpSpec, Skip, check_chain, total_macs
from search import (
    Architecture,
    SearchSpace,
    architecture_from_text,
    as_choices,
    space_named,
)

SHAPE = (1, 8, 8, 8)
BEFORE = (Conv(input_shape=(1, 3, 8, 8), channels=8),)
AFTER = (Head(input_shape=SHAPE, channels=4, classes=2),)

seeds = st.integers(0, 2**32)
kernels = st.lists(st.sampled_from([3, 5, 7]), min_size=1, unique=True)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Runs of equal layers, each with one to three blocks and perhaps a skip between them."""
    layers: list[tuple[OpSpec, ...]] = []
    for _ in range(draw(st.integers(1, 4))):
        ops: list[OpSpec] = [
            MBConv(input_shape=SHAPE, channels=8, kernel=kernel) for kernel in draw(kernels)
        ]
        if draw(st.booleans()):
            ops.insert(draw(st.integers(0, len(ops))), Skip(input_shape=SHAPE))
        layers += [tuple(ops)] * draw(st.integers(1, 3))
    return SearchSpace(name="drawn", before=BEFORE, layers=tuple(layers), after=AFTER)


def blocks(space: SearchSpace, arch: Architecture) -> list[OpSpec]:
    return [op for op in space.chain(arch) if not isinstance(op, Skip)]


@given(space=spaces(), seed=seeds)
def test_a_sample_belongs_to_the_space_and_its_chain_fits(space: SearchSpace, seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    space.check(arch)
    chain = space.chain(arch)
    check_chain(chain)
    chosen = [layer[choice] for layer, choice in zip(space.layers, arch.choices, strict=True)]
    assert list(chain) == [*BEFORE, *chosen, *AFTER]


@given(space=spaces(), seed=seeds, count=st.integers(0, 20))
def test_a_batch_of_samples_belongs_to_the_space(space: SearchSpace, seed: int, count: int) -> None:
    rows = space.sample_batch(count, np.random.default_rng(seed))
    assert rows.shape == (count, len(space.layers))
    for row in rows.tolist():
        space.check(Architecture(tuple(row)))


def test_samples_take_every_choice_equally_often() -> None:
    rows = space_named("greedynas").sample_batch(7000, np.random.default_rng(0))
    shares = np.stack([(rows == choice).mean(axis=0) for choice in range(7)])
    np.testing.assert_allclose(shares, 1 / 7, atol=0.02)  # 5 standard deviations


@given(space=spaces(), seed=seeds)
def test_the_canonical_form_is_its_own_canonical_form(space: SearchSpace, seed: int) -> None:
    canonical = space.canonical(space.sample(np.random.default_rng(seed)))
    assert space.canonical(canonical) == canonical


@given(space=spaces(), seed=seeds)
def test_the_canonical_form_has_the_same_blocks_in_the_same_order(
    space: SearchSpace, seed: int
) -> None:
    arch = space.sample(np.random.default_rng(seed))
    canonical = space.canonical(arch)
    assert blocks(space, canonical) == blocks(space, arch)
    assert Counter(map(type, space.chain(canonical))) == Counter(map(type, space.chain(arch)))


@given(space=spaces(), seed=seeds)
def test_the_canonical_form_costs_the_same(space: SearchSpace, seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    assert total_macs(space.chain(space.canonical(arch))) == total_macs(space.chain(arch))


def test_skips_move_to_the_end_of_their_stage_and_no_further() -> None:
    # Stages of macro: 2, 3, 3 layers; the first of each is no skip but a convolution.
    macro = space_named("macro")
    assert str(macro.canonical(Architecture((0, 1, 2, 0, 1, 0, 0, 2)))) == "01210020"


@given(choices=st.lists(st.integers(0, 99), min_size=2, max_size=30).map(tuple))
def test_an_architecture_reads_back_from_its_text(choices: tuple[int, ...]) -> None:
    assert architecture_from_text(str(Architecture(choices))) == Architecture(choices)


def test_an_architecture_is_written_as_its_digits() -> None:
    assert str(Architecture((2, 2, 2, 1, 2, 2, 2, 0))) == "22212220"
    assert str(Architecture((12, 0, 3))) == "12-0-3"


@pytest.mark.parametrize("text", ["", "22a1", "1--2", "-1", "1.5"])
def test_text_that_is_no_architecture_is_refused(text: str) -> None:
    with pytest.raises(InvalidFile, match="is no architecture: write one digit a layer"):
        architecture_from_text(text)


def test_an_architecture_with_too_few_layers_is_refused() -> None:
    with pytest.raises(InvalidFile, match="01 has 2 choices; space 'macro' has 8 layers"):
        space_named("macro").chain(Architecture((0, 1)))


@pytest.mark.parametrize("choice", [3, -1])
def test_a_choice_that_a_layer_lacks_is_refused(choice: int) -> None:
    arch = Architecture((0, 0, choice, 0, 0, 0, 0, 0))
    with pytest.raises(InvalidFile, match=rf"layer 2 of .* choices 0 to 2, not {choice}"):
        space_named("macro").check(arch)


def test_choices_of_a_layer_must_share_their_shape() -> None:
    wide, narrow = (MBConv(input_shape=SHAPE, channels=c) for c in (8, 16))
    with pytest.raises(ValueError, match="space 'odd': choices of layer 0 differ in shape"):
        SearchSpace(name="odd", before=BEFORE, layers=((wide, narrow),), after=AFTER)


def test_architectures_become_rows_of_an_array() -> None:
    rows = as_choices([Architecture((0, 1, 2)), Architecture((2, 1, 0))])
    assert rows.dtype == np.uint16  # a layer may have thousands of choices
    assert rows.tolist() == [[0, 1, 2], [2, 1, 0]]


def test_choices_that_are_one_operator_are_one_network_when_trained_alone() -> None:
    block, other = (MBConv(input_shape=SHAPE, channels=8, kernel=kernel) for kernel in (3, 5))
    layers = ((block, other, block),) * 2
    space = SearchSpace(name="twins", before=BEFORE, layers=layers, after=AFTER)
    arch = Architecture((2, 1))
    assert space.alone(arch) == Architecture((0, 1))
    assert space.chain(space.alone(arch)) == space.chain(arch)
    assert space.canonical(arch) == arch  # inherited weights are those of choice 2
    assert space.operators == (block, other)


@given(space=spaces(), seed=seeds)
def test_where_all_operators_differ_the_form_alone_is_the_canonical_one(
    space: SearchSpace, seed: int
) -> None:
    arch = space.sample(np.random.default_rng(seed))
    assert space.alone(arch) == space.canonical(arch)


def test_the_cost_of_an_operator_is_asked_once() -> None:
    block, other = (MBConv(input_shape=SHAPE, channels=8, kernel=kernel) for kernel in (3, 5))
    layers = ((block, other, block), (other,))
    space = SearchSpace(name="twins", before=BEFORE, layers=layers, after=AFTER)
    asked: list[OpSpec] = []

    def cost(op: OpSpec) -> float:
        asked.append(op)
        return 1.0 if op == block else 2.0

    assert [row.tolist() for row in space.costs(cost)] == [[1.0, 2.0, 1.0], [2.0]]
    assert sorted(asked, key=str) == [block, other]


def test_an_unknown_space_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="the nearest is 'greedynas'"):
        space_named("greedy-nas")


def test_a_space_is_built_for_other_images_and_classes() -> None:
    space = space_named("macro", resolution=16, batch=4, classes=3)
    assert space.input_shape == (4, 3, 16, 16)
    assert space.classes == 3
