"""The best score under every budget, by one dynamic program."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget
from lut.model import Bend
from profiler import Conv, Head, MBConv
from search import Architecture, NoFeasibleArchitecture, SearchSpace, best_additive, run_search
from search.sgnas.projection import Proposals, nearest_first, project

SHAPE = (1, 8, 8, 8)
STEADY = ErrorBand(ratios=(1.0,) * 20)
SLOWER = ErrorBand(ratios=tuple(1.0 + i / 100 for i in range(20)))


def space_of(counts: list[int]) -> SearchSpace:
    return SearchSpace(
        name="tiny",
        before=(Conv(input_shape=(1, 3, 8, 8), channels=8),),
        layers=tuple(
            tuple(MBConv(input_shape=SHAPE, channels=8, expand=1 + i) for i in range(count))
            for count in counts
        ),
        after=(Head(input_shape=SHAPE, channels=4, classes=2),),
    )


def model_of(
    cost_s: NDArray[np.float64],
    *,
    base_s: float = 0.0,
    band: ErrorBand = STEADY,
    bend: Bend | None = None,
) -> LatencyModel:
    return LatencyModel(
        device="sim", base_s=base_s, cost_s=cost_s, band=band, table_hash="none", bend=bend
    )


def budgets_of(model: LatencyModel, limits_s: list[float]) -> list[LatencyBudget]:
    return [
        LatencyBudget(model=model, target=LatencyTarget(device="sim", limit_s=limit_s))
        for limit_s in limits_s
    ]


def sums(values: NDArray[np.float64], choices: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.asarray(values[np.arange(len(values)), choices].sum(axis=-1))


@given(seed=st.integers(0, 2**32), layers=st.integers(1, 5))
def test_whole_costs_give_the_optimum_of_enumeration_for_every_ranking_and_budget(
    seed: int, layers: int
) -> None:
    rng = np.random.default_rng(seed)
    cost_s = rng.integers(1, 9, size=(layers, 3)).astype(float)
    scores = rng.integers(0, 20, size=(4, layers, 3)).astype(float)
    model, space = model_of(cost_s, base_s=2.0), space_of([3] * layers)
    every = np.array(list(product(range(3), repeat=layers)))
    prices = model.latency_s(every)
    limits_s = [float(each) for each in np.unique(prices)]
    reach = int(max(prices) - min(prices))  # bins of one second: nothing is lost to the grid
    found = project(scores, budgets_of(model, limits_s), space=space, bins=max(reach, 1))
    for ranking, answers in zip(scores, found, strict=True):
        for limit_s, choices in zip(limits_s, answers, strict=True):
            kept = prices <= limit_s
            best = sums(ranking, every)[kept].max()
            assert model.latency_s(choices[None])[0] <= limit_s
            assert sums(ranking, choices) == best


@given(seed=st.integers(0, 2**32), bend=st.booleans())
def test_no_answer_is_over_budget_whatever_the_costs(seed: int, bend: bool) -> None:
    rng = np.random.default_rng(seed)
    cost_s = rng.random((6, 4)) * 1e-3
    bent = Bend(knot_s=0.003, steepening=0.5) if bend else None
    model, space = model_of(cost_s, base_s=1e-3, band=SLOWER, bend=bent), space_of([4] * 6)
    fastest_s, slowest_s = (float(each) for each in model.latency_s(model.ends))
    margin = 1 / model.allowed_s(LatencyTarget(device="sim", limit_s=1.0))
    limits_s = np.linspace(fastest_s * margin * (1 + 1e-9), 1.2 * slowest_s * margin, 30).tolist()
    budgets = budgets_of(model, limits_s)
    found = project(rng.normal(size=(3, 6, 4)), budgets, space=space, bins=50)
    for answers in found:
        allowed_s = np.array([budget.allowed_s for budget in budgets])
        assert (model.latency_s(answers) <= allowed_s).all()


def test_a_fine_grid_gives_what_the_search_without_a_grid_gives(rng: np.random.Generator) -> None:
    cost_s, scores = rng.random((8, 3)), rng.normal(size=(2, 8, 3))
    model, space = model_of(cost_s), space_of([3] * 8)
    budgets = budgets_of(model, np.linspace(cost_s.min(axis=1).sum() + 0.2, 6.0, 12).tolist())
    found = project(scores, budgets, space=space, bins=100_000)
    for ranking, answers in zip(scores, found, strict=True):
        for budget, choices in zip(budgets, answers, strict=True):
            exact = best_additive(ranking, budget, space=space)
            assert tuple(choices.tolist()) == exact.arch.choices


def test_a_budget_at_the_minimum_is_kept_by_the_fastest_alone() -> None:
    cost_s = np.array([[2.0, 1.0], [1.0, 3.0]])
    found = project(np.eye(2)[None], budgets_of(model_of(cost_s), [2.0]), space=space_of([2, 2]))
    assert found.tolist() == [[[1, 0]]]


def test_a_budget_beyond_the_slowest_excludes_nothing() -> None:
    rng = np.random.default_rng(0)
    cost_s, scores = rng.random((7, 3)), rng.random((1, 7, 3))
    found = project(scores, budgets_of(model_of(cost_s), [100.0]), space=space_of([3] * 7), bins=9)
    assert found[0, 0].tolist() == scores[0].argmax(axis=1).tolist()


def test_a_budget_below_the_minimum_names_the_minimum() -> None:
    cost_s = np.array([[2.0, 1.0], [1.0, 3.0]])
    with pytest.raises(NoFeasibleArchitecture, match="the fastest, 10, is predicted to take 2000"):
        project(np.eye(2)[None], budgets_of(model_of(cost_s), [1.9]), space=space_of([2, 2]))


def test_choices_that_a_layer_lacks_are_never_taken() -> None:
    cost_s = np.array([[2.0, 1.0, 3.0], [1.0, 2.0, np.inf]])
    scores = np.array([[[0.0, 0.0, 1.0], [0.0, 1.0, np.nan]]])
    found = project(scores, budgets_of(model_of(cost_s), [9.0]), space=space_of([3, 2]))
    assert found.tolist() == [[[2, 1]]]


def test_layers_that_are_priced_together_are_projected_together() -> None:
    cost_s = np.array([[1.0, 5.0, 4.0, 2.0]])  # 00, 01, 10, 11
    model = LatencyModel(
        device="sim", base_s=0.0, cost_s=cost_s, band=STEADY, table_hash="none", together=(2, 2)
    )
    scores = np.array([[[0.0, 3.0, 2.0, 1.0]]])
    found = project(scores, budgets_of(model, [1.0, 3.0, 4.5, 5.0]), space=space_of([2, 2]))
    assert found[0].tolist() == [[0, 0], [1, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize("scores", [np.ones((2, 2)), np.full((1, 2, 2), np.nan)])
def test_scores_must_be_numbers_for_every_ranking(scores: NDArray[np.float64]) -> None:
    model = model_of(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"scores must be \(rankings, 2, 2\) finite numbers"):
        project(scores, budgets_of(model, [9.0]), space=space_of([2, 2]))


def test_budgets_of_two_models_are_refused() -> None:
    budgets = [budgets_of(model_of(np.ones((2, 2))), [9.0])[0] for _ in range(2)]
    with pytest.raises(ValueError, match="project to each on its own"):
        project(np.ones((1, 2, 2)), budgets, space=space_of([2, 2]))


def test_budgets_take_turns_the_nearest_first_and_none_twice() -> None:
    choices = np.array([[[0, 0], [0, 1]], [[1, 0], [0, 1]], [[0, 0], [1, 1]]])
    distance = np.array([[0.0, 0.5], [0.2, 0.3], [0.5, 0.0]])
    space = space_of([2, 2])
    found = nearest_first(choices, space=space, distance=distance, most=9)
    assert [str(arch) for arch in found] == ["00", "11", "10", "01"]
    few = nearest_first(choices, space=space, distance=distance, most=3)
    assert [str(arch) for arch in few] == ["00", "11", "10"]
    one = nearest_first(choices, space=space, distance=distance, most=1)
    assert [str(arch) for arch in one] == ["00", "11"]


def test_answers_for_rising_limits_never_fall_in_accuracy_or_latency(
    rng: np.random.Generator,
) -> None:
    cost_s, space = rng.random((4, 3)), space_of([3] * 4)
    model = model_of(cost_s)
    pool = [Architecture(tuple(each)) for each in rng.integers(3, size=(25, 4)).tolist()]
    pool.append(Architecture(tuple(cost_s.argmin(axis=1).tolist())))
    worth = {arch: float(rng.random()) for arch in pool}
    fastest_s, slowest_s = (float(each) for each in model.latency_s(model.ends))
    answers = [
        run_search(
            Proposals(archs=pool),
            space=space,
            budgets=[budget],
            accuracy=lambda archs: [worth[arch] for arch in archs],
            rounds=5,
        ).best
        for budget in budgets_of(model, np.linspace(fastest_s, slowest_s, 40).tolist())
    ]
    accuracies = [answer.accuracy or 0.0 for answer in answers]
    assert accuracies == sorted(accuracies)
    assert [answer.latency_s for answer in answers] == sorted(each.latency_s for each in answers)
    assert len(set(accuracies)) == 3
