import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget, within
from profiler import macs, total_macs
from search import (
    Architecture,
    RandomSearch,
    Round,
    SearchSpace,
    as_choices,
    best_additive,
    feasible_range,
    run_search,
    space_named,
)
from search.methods.evolution import Evolution
from search.truths.truth import Truth, read_nas_bench_macro

MACRO = space_named("macro")


def macs_budget(space: SearchSpace, limit_macs: float) -> LatencyBudget:
    """A device of arithmetic: one operation takes a nanosecond."""
    model = LatencyModel(
        device="arithmetic",
        base_s=total_macs((*space.before, *space.after)) * 1e-9,
        cost_s=np.array([[macs(op) * 1e-9 for op in layer] for layer in space.layers]),
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="of no table",
    )
    target = LatencyTarget(device=model.device, limit_s=limit_macs * 1e-9)
    return LatencyBudget(model=model, target=target)


def evolution(
    budgets: Sequence[LatencyBudget], *, seed: int = 0, population: int = 20
) -> Evolution:
    return Evolution(
        space=MACRO, budgets=budgets, rng=np.random.default_rng(seed), population=population
    )


def test_the_first_generation_starts_with_the_fastest_and_keeps_a_tight_budget() -> None:
    budget = macs_budget(MACRO, 9e6)  # the minimum is 7.7 million
    first = evolution([budget]).ask()
    assert first[0] == feasible_range(budget.model).fastest.arch
    assert within([budget], as_choices(first)).all()


def test_a_generation_has_as_many_networks_as_the_population_and_no_two_equal() -> None:
    searcher = evolution([macs_budget(MACRO, 60e6)])
    told: list[int] = []
    run_search(
        searcher,
        space=MACRO,
        budgets=searcher.budgets,
        accuracy=lambda given: [sum(arch.choices) / 16 for arch in given],
        rounds=2,
        on_round=lambda at: told.append(at.number),
    )
    children = searcher.ask()
    assert len(told) == 2
    assert len(children) == 20
    assert len({MACRO.canonical(arch) for arch in children}) == 20


def test_generations_improve_and_come_close_to_the_exact_optimum() -> None:
    # Where scores are additive, dynamic programming knows the best of all 7^21 networks.
    space = space_named("greedynas")
    budget = macs_budget(space, 300e6)
    scores = np.sqrt(budget.model.cost_s) + 0.02 * np.random.default_rng(0).random((21, 7))
    optimum = best_additive(scores, budget, space=space).score
    layers = np.arange(21)
    seen: list[Round] = []
    run_search(
        Evolution(space=space, budgets=[budget], rng=np.random.default_rng(0)),
        space=space,
        budgets=[budget],
        accuracy=lambda given: scores[layers, as_choices(list(given))].sum(axis=1) / optimum,
        rounds=20,
        on_round=seen.append,
    )
    best = [at.best.accuracy for at in seen if at.best and at.best.accuracy is not None]
    assert best == sorted(best)
    assert best[0] < best[-1] <= 1.0
    assert best[-1] > 0.96


def test_a_search_ends_when_no_child_can_be_new() -> None:
    # One layer of three choices: the first generation holds all there is.
    space = SearchSpace(
        name="one layer", before=MACRO.before, layers=MACRO.layers[:1], after=MACRO.after
    )
    budget = macs_budget(space, 1e9)
    seen: list[Round] = []
    run_search(
        Evolution(space=space, budgets=[budget], rng=np.random.default_rng(0)),
        space=space,
        budgets=[budget],
        accuracy=lambda given: [0.5] * len(given),
        rounds=50,
        on_round=seen.append,
    )
    assert [(at.number, at.evaluations) for at in seen] == [(1, 3)]


@pytest.mark.parametrize(("population", "rate"), [(1, 0.1), (20, -0.1), (20, 1.1)])
def test_settings_that_make_no_sense_are_refused(population: int, rate: float) -> None:
    with pytest.raises(ValueError, match=r"is too few|a mutation rate is in"):
        Evolution(
            space=MACRO,
            budgets=[macs_budget(MACRO, 60e6)],
            rng=np.random.default_rng(0),
            population=population,
            mutation_rate=rate,
        )


# Against the truth: NAS-Bench-Macro, all of whose networks were trained

needs_data = pytest.mark.skipif(
    "LATKIT_DATA" not in os.environ, reason="LATKIT_DATA is unset: no NAS-Bench-Macro here"
)

LIMITS_MACS = (30e6, 45e6, 60e6, 80e6)
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def truth() -> Truth:
    folder = Path(os.environ["LATKIT_DATA"])
    return read_nas_bench_macro(folder / "nas_bench_macro/nas-bench-macro_cifar10.json.gz")


def regret(truth: Truth, limit_macs: float, arch: Architecture) -> float:
    """Points lost against the best network within the limit, by the mean of all runs."""
    (row,) = truth.rows([arch])
    return float(truth.mean[truth.macs <= limit_macs].max() - truth.mean[row]) * 100


def evolved(truth: Truth, limit_macs: float, seed: int) -> tuple[float, int]:
    """Return the regret of evolution over 8 generations of 20, and its evaluations."""
    budget = macs_budget(MACRO, limit_macs)
    result = run_search(
        evolution([budget], seed=seed),
        space=MACRO,
        budgets=[budget],
        accuracy=truth.evaluator(run=0),
        rounds=8,
    )
    return regret(truth, limit_macs, result.best.arch), result.evaluations


def drawn(truth: Truth, limit_macs: float, seed: int, evaluations: int) -> float:
    """Return the regret of random search after so many evaluations."""
    budget = macs_budget(MACRO, limit_macs)
    seen: list[Round] = []
    run_search(
        RandomSearch(space=MACRO, budgets=[budget], rng=np.random.default_rng(seed), population=1),
        space=MACRO,
        budgets=[budget],
        accuracy=truth.evaluator(run=0),
        rounds=8 * evaluations,  # repetitions are no evaluations
        on_round=seen.append,
    )
    best = [at.best for at in seen if at.evaluations <= evaluations][-1]
    assert best is not None
    assert seen[-1].evaluations >= evaluations
    return regret(truth, limit_macs, best.arch)


@needs_data
def test_evolution_comes_close_to_the_true_optimum_and_beats_random_search(truth: Truth) -> None:
    runs = [(limit, seed, *evolved(truth, limit, seed)) for limit in LIMITS_MACS for seed in SEEDS]
    regrets = [lost for _, _, lost, _ in runs]
    random = [drawn(truth, limit, seed, used) for limit, seed, _, used in runs]
    assert max(used for _, _, _, used in runs) <= 160
    assert max(regrets) <= 0.4  # points; the three training runs of a network differ by 0.33
    assert float(np.mean(regrets)) <= 0.15
    assert float(np.mean(regrets)) < float(np.mean(random))
