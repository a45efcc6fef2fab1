from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import search.exact
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget
from profiler import Conv, Head, MBConv, Skip
from search import (
    Architecture,
    NoFeasibleArchitecture,
    SearchSpace,
    TooManyNetworks,
    best_additive,
    check_feasible,
    feasible_range,
    space_named,
)

SHAPE = (1, 8, 8, 8)
EXACT = ErrorBand(ratios=(1.0,) * 20)
SLOWER = ErrorBand(ratios=tuple(1.0 + i / 100 for i in range(1, 21)))  # 95 % stay below 1.20


def space_of(counts: list[int]) -> SearchSpace:
    """A space whose layers have so many choices each."""
    return SearchSpace(
        name="tiny",
        before=(Conv(input_shape=(1, 3, 8, 8), channels=8),),
        layers=tuple(
            tuple(MBConv(input_shape=SHAPE, channels=8, kernel=2 * i + 1) for i in range(count))
            for count in counts
        ),
        after=(Head(input_shape=SHAPE, channels=4, classes=2),),
    )


def budget_of(
    cost_s: NDArray[np.float64],
    limit_s: float,
    *,
    base_s: float = 0.0,
    band: ErrorBand = EXACT,
    device: str = "sim",
) -> LatencyBudget:
    model = LatencyModel(
        device=device, base_s=base_s, cost_s=cost_s, band=band, table_hash="of no table"
    )
    return LatencyBudget(model=model, target=LatencyTarget(device=device, limit_s=limit_s))


def every(counts: list[int]) -> NDArray[np.intp]:
    """All choices of a small space, ``(size, layers)``."""
    return np.array(list(product(*map(range, counts))))


def sums(values: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = values[np.arange(len(values)), rows].sum(axis=1)
    return total


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Choices of each layer, costs and scores: whole numbers, so that ties are common and exact."""
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    cost = np.full((len(counts), max(counts)), np.inf)
    scores = np.full_like(cost, np.nan)  # of a choice that does not exist: never read
    for layer, count in enumerate(counts):
        numbers = st.lists(st.integers(0, 9), min_size=count, max_size=count)
        cost[layer, :count] = draw(numbers)
        scores[layer, :count] = draw(numbers)
    return counts, cost, scores


COST_S = np.array([[2.0, 1.0, 3.0], [20.0, 10.0, np.inf]]) * 1e-3


def test_the_fastest_and_the_slowest_take_the_ends_of_every_layer() -> None:
    ends = feasible_range(budget_of(COST_S, 1.0, base_s=0.1, band=SLOWER).model)
    assert ends.fastest.arch == Architecture((1, 1))
    assert ends.fastest.latency_s == pytest.approx(0.111)
    assert ends.fastest.interval_s == pytest.approx((0.111 / 1.19, 0.111 * 1.19))
    assert ends.slowest.arch == Architecture((2, 0))
    assert ends.slowest.latency_s == pytest.approx(0.123)


@given(problem=problems())
def test_no_architecture_is_outside_the_range(
    problem: tuple[list[int], NDArray[np.float64], NDArray[np.float64]],
) -> None:
    counts, cost, _ = problem
    ends = feasible_range(budget_of(cost, 1.0).model)
    all_sums = sums(cost, every(counts))
    assert (ends.fastest.latency_s, ends.slowest.latency_s) == (all_sums.min(), all_sums.max())


def test_a_budget_that_can_be_kept_passes() -> None:
    space = space_of([3, 2])
    check_feasible(space, [budget_of(COST_S, 0.0111), budget_of(COST_S, 0.5)])
    with pytest.raises(NoFeasibleArchitecture):  # the fastest takes 11 ms
        check_feasible(space, [budget_of(COST_S, 0.0109), budget_of(COST_S, 0.5)])


def test_an_impossible_budget_says_the_minimum_the_limit_and_what_would_do() -> None:
    budget = budget_of(COST_S, 0.01, band=SLOWER, device="phone")
    with pytest.raises(NoFeasibleArchitecture) as caught:
        check_feasible(space_of([3, 2]), [budget])
    assert str(caught.value) == (
        "no network of space 'tiny' keeps 10 ms on 'phone': the fastest, 11, is predicted to take "
        "11 ms (9.244 ms to 13.09 ms), and with 0.95 confidence at most 8.333 ms may be "
        "predicted. Allow 13.21 ms or more, or take a smaller space or resolution"
    )


@pytest.mark.parametrize("cost_s", [COST_S, COST_S * 0.12345678, COST_S * 1e4])
def test_the_limit_that_a_refusal_names_is_enough(cost_s: NDArray[np.float64]) -> None:
    space = space_of([3, 2])
    with pytest.raises(NoFeasibleArchitecture) as caught:
        check_feasible(space, [budget_of(cost_s, 1e-6, band=SLOWER)])
    _, _, cure = str(caught.value).partition("Allow ")
    enough_ms = float(cure.split(" ms")[0])
    check_feasible(space, [budget_of(cost_s, enough_ms * 1e-3, band=SLOWER)])


def test_each_of_several_budgets_is_checked() -> None:
    budgets = [budget_of(COST_S, 0.5, device="phone"), budget_of(COST_S, 0.001, device="gpu")]
    with pytest.raises(NoFeasibleArchitecture, match=r"^no network .* keeps 1 ms on 'gpu': "):
        check_feasible(space_of([3, 2]), budgets)


def test_budgets_that_fail_together_are_named_together() -> None:
    budgets = [budget_of(COST_S, 0.002, device="phone"), budget_of(COST_S, 0.001, device="gpu")]
    with pytest.raises(NoFeasibleArchitecture, match=r"2 ms on 'phone': .*; no .* 1 ms on 'gpu'"):
        check_feasible(space_of([3, 2]), budgets)


def test_a_limit_at_the_minimum_of_a_space_with_skips_can_be_kept() -> None:
    # Canonical forms add the same costs in another order; the last digit must not decide.
    space = space_named("macro")
    operators = {op: 0.1 + 0.1 * i for i, op in enumerate(space.operators)}
    cost = np.array(
        [[0.3 if isinstance(op, Skip) else operators[op] for op in layer] for layer in space.layers]
    )
    ends = feasible_range(budget_of(cost, 1.0).model)
    canonical = space.canonical(ends.fastest.arch)
    minimum_s = float(budget_of(cost, 1.0).model.latency_s(np.array([canonical.choices]))[0])
    check_feasible(space, [budget_of(cost, minimum_s)])
    with pytest.raises(NoFeasibleArchitecture):
        check_feasible(space, [budget_of(cost, minimum_s * (1 - 1e-6))])


def test_a_model_of_another_space_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"has \[3, 2\] choices a layer, space 'tiny' has \[3, 3\]"
    ):
        check_feasible(space_of([3, 3]), [budget_of(COST_S, 1.0)])


def test_no_budget_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="a search needs a latency budget"):
        check_feasible(space_of([3, 2]), [])


@given(problem=problems(), limit=st.integers(1, 50))
def test_the_additive_optimum_is_that_of_enumeration(
    problem: tuple[list[int], NDArray[np.float64], NDArray[np.float64]], limit: int
) -> None:
    counts, cost, scores = problem
    rows = every(counts)
    costs = sums(cost, rows)
    space, budget = space_of(counts), budget_of(cost, float(limit))
    if costs.min() > limit:
        with pytest.raises(NoFeasibleArchitecture):
            best_additive(scores, budget, space=space)
        return
    found = best_additive(scores, budget, space=space)
    kept = costs <= limit
    best = sums(scores, rows)[kept].max()
    assert found.score == best
    assert found.latency_s == costs[kept & (sums(scores, rows) == best)].min()  # ties: the fastest
    row = np.array([found.arch.choices])
    assert (sums(scores, row)[0], sums(cost, row)[0]) == (found.score, found.latency_s)


@given(seed=st.integers(0, 2**32), share=st.floats(0.0, 1.0))
def test_the_additive_optimum_keeps_the_budget_whatever_the_rounding(
    seed: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    counts = [3] * 6
    cost, scores = rng.random((6, 3)), rng.integers(2, size=(6, 3)).astype(float)
    costs = np.sort(sums(cost, every(counts)))
    limit = float(costs[int(share * (len(costs) - 1))] * (1 + 1e-14))
    found = best_additive(scores, budget_of(cost, limit), space=space_of(counts))
    assert found.latency_s <= limit


def test_a_space_too_large_for_enumeration_has_an_exact_optimum_too() -> None:
    # Scores equal to costs but for the skips: the optimum fills the budget to the last choice.
    space = space_named("greedynas")
    cost = np.tile(2.0 ** np.arange(7), (21, 1))
    found = best_additive(cost, budget_of(cost, 1000.0), space=space)
    assert found.score == found.latency_s == 1000.0


def test_more_partial_networks_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.exact, "MAX_LABELS", 10)
    cost = np.tile(2.0 ** np.arange(7), (21, 1))
    with pytest.raises(TooManyNetworks, match=r"more than 10 partial networks in layer 1 of 21"):
        best_additive(cost, budget_of(cost, 1000.0), space=space_named("greedynas"))


@pytest.mark.parametrize(
    "scores", [np.ones((2, 2)), np.array([[1.0, np.nan, 1.0], [1.0, 1.0, 1.0]])]
)
def test_scores_must_be_numbers_for_every_choice(scores: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match=r"scores must be \(2, 3\) finite numbers"):
        best_additive(scores, budget_of(COST_S, 1.0), space=space_of([3, 2]))
