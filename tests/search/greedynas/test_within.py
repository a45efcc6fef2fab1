from collections import Counter
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget, within
from search import Architecture, SearchSpace, space_named
from search.exact import NoFeasibleArchitecture
from search.greedynas.within import PathsWithin
from search.space import as_choices

SPACE = space_named("macro", resolution=16)
Costs = NDArray[np.float64]
COST_MS: Costs = np.array([[1.0, 2.0, 4.0]] * len(SPACE.layers))


def budget(limit_ms: float, *, device: str = "mine", cost_ms: Costs = COST_MS) -> LatencyBudget:
    """Return a budget on a device that is never off."""
    model = LatencyModel(
        device=device,
        base_s=1e-3,
        cost_s=cost_ms * 1e-3,
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="of no table",
    )
    target = LatencyTarget(device=device, limit_s=limit_ms * 1e-3)
    return LatencyBudget(model=model, target=target)


def feasible(space: SearchSpace, budgets: list[LatencyBudget]) -> set[Architecture]:
    """Return by enumeration what keeps all budgets."""
    every = [Architecture(c) for c in product(*(range(len(layer)) for layer in space.layers))]
    kept = within(budgets, as_choices(every))
    return {arch for arch, inside in zip(every, kept, strict=True) if inside}


def test_draws_are_uniform_among_all_that_keep_a_tight_budget(rng: np.random.Generator) -> None:
    tight = [budget(11.5)]  # the fastest takes 9 ms
    wanted = feasible(SPACE, tight)
    paths = PathsWithin(space=SPACE, budgets=tight)
    drawn = Counter(paths.sample(rng) for _ in range(100 * len(wanted)))
    assert set(drawn) == wanted
    expected = 100
    chi_square = sum((count - expected) ** 2 / expected for count in drawn.values())
    freedom = len(wanted) - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("limit_ms", [9.5, 10.5, 14.5, 33.5])
def test_completions_are_counted(limit_ms: float) -> None:
    limits = [budget(limit_ms)]
    paths = PathsWithin(space=SPACE, budgets=limits)
    assert paths.share * SPACE.size == pytest.approx(len(feasible(SPACE, limits)))


def test_costs_that_no_bin_fits_lose_nothing(rng: np.random.Generator) -> None:
    odd = budget(3.0, cost_ms=rng.uniform(0.1, 0.7, COST_MS.shape))
    wanted = feasible(SPACE, [odd])
    paths = PathsWithin(space=SPACE, budgets=[odd])
    assert len(wanted) <= paths.share * SPACE.size <= 1.05 * len(wanted) + 1
    assert {paths.sample(rng) for _ in range(500)} <= wanted


def test_budgets_of_two_devices_hold_at_once(rng: np.random.Generator) -> None:
    other = budget(20.0, device="other", cost_ms=COST_MS[:, ::-1])
    both = [budget(24.0), other]
    wanted = feasible(SPACE, both)
    paths = PathsWithin(space=SPACE, budgets=both)
    assert wanted
    assert {paths.sample(rng) for _ in range(200)} <= wanted


def test_without_budgets_everything_is_drawn(rng: np.random.Generator) -> None:
    paths = PathsWithin(space=SPACE, budgets=[])
    assert paths.share == 1.0
    assert {paths.sample(rng).choices[0] for _ in range(50)} == {0, 1, 2}


def test_a_budget_below_the_minimum_stops_at_once_and_names_it() -> None:
    with pytest.raises(NoFeasibleArchitecture, match="is predicted to take 9 ms"):
        PathsWithin(space=SPACE, budgets=[budget(8.0)])


def test_budgets_that_exclude_each_other_end(rng: np.random.Generator) -> None:
    other = budget(9.5, device="other", cost_ms=COST_MS[:, ::-1])
    paths = PathsWithin(space=SPACE, budgets=[budget(9.5), other])
    with pytest.raises(NoFeasibleArchitecture, match="keeps all limits"):
        paths.sample(rng)


def test_draws_follow_from_the_generator() -> None:
    paths = PathsWithin(space=SPACE, budgets=[budget(15.0)])
    one, two = ([paths.sample(np.random.default_rng(3)) for _ in range(2)] for _ in range(2))
    assert one == two
