from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lut.sums import ROWS, JointSums, layer_sums, parted


def ragged(counts: list[int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Costs of layers with so many choices each, ``inf`` beyond."""
    cost = np.full((len(counts), max(counts)), np.inf)
    for layer, count in enumerate(counts):
        cost[layer, :count] = rng.normal(size=count)
    return cost


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=25),
    batch=st.integers(0, 50),
    seed=st.integers(0, 2**32),
)
def test_sums_are_those_of_the_chosen_costs(counts: list[int], batch: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost = ragged(counts, rng)
    choices = rng.integers(counts, size=(batch, len(counts)))
    naive = [sum(cost[i, c] for i, c in enumerate(row)) for row in choices]
    np.testing.assert_allclose(layer_sums(cost)(choices), naive, rtol=0, atol=1e-12)


def test_a_batch_longer_than_a_step_is_summed_to_its_end() -> None:
    cost = np.array([[1.0, 2.0], [10.0, 20.0]])
    choices = np.zeros((2 * ROWS + 1, 2), np.uint8)
    choices[-1] = 1
    sums = layer_sums(cost)(choices)
    assert set(sums[:-1]) == {11.0}
    assert sums[-1] == 22.0


def test_a_layer_with_more_choices_than_a_table_holds_stands_alone() -> None:
    cost = np.stack([np.arange(5000.0), np.arange(5000.0)])
    assert layer_sums(cost)(np.array([[4999, 4998]])).tolist() == [9997.0]


def test_a_choice_that_a_layer_lacks_is_refused() -> None:
    sums = layer_sums(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, np.inf]]))
    with pytest.raises(ValueError, match=r"out of range; layers have \[3, 2\]"):
        sums(np.array([[0, 0], [2, 2]]))


def test_a_negative_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="out of range"):
        layer_sums(np.ones((2, 3)))(np.array([[0, -1]]))


@pytest.mark.parametrize("shape", [(3,), (4, 2), (0, 4)])
def test_choices_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"choices are \(batch, 3\)"):
        layer_sums(np.ones((3, 2)))(np.zeros(shape, int))


def test_an_empty_batch_has_no_sums() -> None:
    assert layer_sums(np.ones((3, 2)))(np.zeros((0, 3), np.uint8)).shape == (0,)


GROUPS = ((0, 2), (0, 1), (2, 3, 4))
"""Rows that share layers 0 and 2; the first looks at both."""


def joint_sums(rng: np.random.Generator) -> JointSums:
    counts = np.array([3, 2, 4, 2, 3])
    cost = np.full((len(GROUPS), 4 * 2 * 3), np.inf)
    for row, group in zip(cost, GROUPS, strict=True):
        size = int(np.prod(counts[list(group)]))
        row[:size] = rng.random(size)
    return JointSums(counts=counts, cost=cost, groups=GROUPS)


@pytest.mark.parametrize("seed", range(5))
def test_the_ends_of_rows_that_share_layers_are_those_of_all_architectures(seed: int) -> None:
    sums = joint_sums(np.random.default_rng(seed))
    every = np.array(list(product(*map(range, sums.counts))))
    totals = sums(every)
    assert sums.ends.tolist() == [every[totals.argmin()].tolist(), every[totals.argmax()].tolist()]


def test_a_sum_over_groups_is_the_sum_of_their_rows() -> None:
    sums = joint_sums(np.random.default_rng(0))
    # places of (2, 3), (2, 1) and (3, 1, 2) among (3, 4), (3, 2) and (4, 2, 3) choices
    by_hand = sums.cost[0, 11] + sums.cost[1, 5] + sums.cost[2, 23]
    assert sums(np.array([[2, 1, 3, 1, 2]]))[0] == by_hand


def test_groups_are_not_chosen_one_by_one() -> None:
    with pytest.raises(ValueError, match="3 groups of layers cannot be chosen one by one"):
        parted(np.zeros((1, 3), int), (3, 2, 4, 2, 3))
