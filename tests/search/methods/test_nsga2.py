from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest

from devices import InvalidFile
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget, within
from profiler import macs, total_macs
from search import (
    Architecture,
    Candidate,
    RandomSearch,
    Searcher,
    SearchSpace,
    as_choices,
    run_search,
    space_named,
)
from search.methods.evolution import Evolution
from search.methods.nsga2 import NSGA2Search
from search.searcher import non_dominated
from search.solve import Limits, Search, solve

MACRO = space_named("macro")
SMALL = SearchSpace(
    name="four layers", before=MACRO.before, layers=MACRO.layers[:4], after=MACRO.after
)
LIMIT_MACS = 60e6


def arithmetic(space: SearchSpace, *, device: str = "arithmetic") -> LatencyModel:
    """A device on which one operation takes a nanosecond."""
    return LatencyModel(
        device=device,
        base_s=total_macs((*space.before, *space.after)) * 1e-9,
        cost_s=np.array([[macs(op) * 1e-9 for op in layer] for layer in space.layers]),
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="of no table",
    )


def macs_budget(space: SearchSpace, limit_macs: float) -> LatencyBudget:
    target = LatencyTarget(device="arithmetic", limit_s=limit_macs * 1e-9)
    return LatencyBudget(model=arithmetic(space), target=target)


def rugged(space: SearchSpace) -> Callable[[Sequence[Architecture]], list[float]]:
    """Return an accuracy that rises with the operations, with valleys that no layer explains."""
    model, size = arithmetic(space), space.size
    bumps = np.random.default_rng(7).random(size)
    places = 3 ** np.arange(len(space.layers))

    def accuracy(given: Sequence[Architecture]) -> list[float]:
        rows = as_choices([space.canonical(arch) for arch in given]).astype(np.intp)
        latency_s = model.latency_s(rows)
        values: list[float] = (
            0.5 + 0.4 * (1 - np.exp(-latency_s * 4e1)) + 0.05 * bumps[rows @ places]
        ).tolist()
        return values

    return accuracy


def enumerated(space: SearchSpace, budgets: Sequence[LatencyBudget]) -> list[Candidate]:
    """Judge every network of a space that keeps the budgets."""
    every = product(*(range(len(layer)) for layer in space.layers))
    archs = sorted({space.canonical(Architecture(choices)) for choices in every})
    rows = as_choices(archs)
    kept = within(budgets, rows)
    accuracy = rugged(space)(archs)
    latency_s = np.stack([budget.model.latency_s(rows) for budget in budgets], axis=1).tolist()
    judged = [
        Candidate(arch=arch, latency_s=tuple(each), interval_s=(), accuracy=value)
        for arch, each, value, keeps in zip(archs, latency_s, accuracy, kept, strict=True)
        if keeps
    ]
    return sorted(judged, key=lambda candidate: candidate.rank)


def hypervolume(front: Sequence[Candidate], limit_s: float) -> float:
    """Return the area that a front dominates, down to accuracy 0 and up to the limit."""
    area, slower_s = 0.0, limit_s
    for each in front:  # most accurate first, each faster than the one before
        area += (slower_s - each.latency_s[0]) * (each.accuracy or 0.0)
        slower_s = each.latency_s[0]
    return area


def archs(*texts: str) -> list[Architecture]:
    return [Architecture(tuple(map(int, text))) for text in texts]


def searcher(
    space: SearchSpace,
    budgets: Sequence[LatencyBudget],
    *,
    population: int = 40,
    seeds: Sequence[Architecture] = (),
) -> NSGA2Search:
    return NSGA2Search(
        space=space,
        budgets=budgets,
        rng=np.random.default_rng(0),
        population=population,
        seeds=seeds,
    )


# Seeds


def test_seeds_within_the_budget_are_proposed_at_first_and_none_that_breaks_it() -> None:
    cheap = archs("10000000", "01000000", "11010000", "00011000")
    dear = archs("22222222", "22222220")
    budget = macs_budget(MACRO, 30e6)
    assert within([budget], as_choices([*cheap, *dear])).tolist() == [True] * 4 + [False] * 2
    first = searcher(MACRO, [budget], seeds=[dear[0], *cheap, dear[1]]).ask()
    proposed = {MACRO.canonical(arch) for arch in first}
    assert {MACRO.canonical(arch) for arch in cheap} <= proposed
    assert not proposed & set(dear)
    assert within([budget], as_choices(first)).all()
    assert len(first) > 20  # the others are random ones, made faster


def test_equal_seeds_take_one_place_and_the_best_come_first() -> None:
    budget = macs_budget(MACRO, 80e6)
    seeds = archs("10000000", "00001000", "00010000", "01000000", "11000000")
    first = searcher(MACRO, [budget], population=4, seeds=seeds).ask()
    # The fastest network, then the distinct seeds in canonical form, as far as there is room.
    assert [str(arch) for arch in first] == ["00000000", "10000000", "00010000", "01000000"]


def test_without_seeds_the_first_generation_is_that_of_evolution() -> None:
    budget = macs_budget(MACRO, LIMIT_MACS)
    other = Evolution(space=MACRO, budgets=[budget], rng=np.random.default_rng(0), population=40)
    assert searcher(MACRO, [budget]).ask() == other.ask()


def test_a_seed_of_another_space_is_refused() -> None:
    with pytest.raises(InvalidFile, match="has 4 choices; space 'macro' has 8 layers"):
        searcher(MACRO, [macs_budget(MACRO, LIMIT_MACS)], seeds=archs("0000"))


def test_every_limit_begins_with_the_seeds_that_keep_it() -> None:
    tight, loose = archs("10000000", "22222220")
    asked: list[list[Architecture]] = []

    def accuracy(given: Sequence[Architecture]) -> list[float]:
        asked.append(list(given))
        return [{tight: 0.8, loose: 0.9}.get(arch, 0.5) for arch in given]

    solutions = solve(
        Search(method="greedynas", rounds=1, population=8),
        space=MACRO,
        models=[arithmetic(MACRO)],
        limits=[Limits(limits_s=(20e-3,)), Limits(limits_s=(100e-3,))],
        accuracy=accuracy,
        accuracy_from="made up",
        seeds=[loose, tight],
    )
    assert [solution.answer.arch for solution in solutions] == [tight, loose]
    assert loose not in asked[0]
    assert tight in asked[0]
    assert loose in asked[1]
    assert tight not in asked[1]  # which is known
    assert [solution.answer.method for solution in solutions] == ["greedynas"] * 2


@pytest.mark.parametrize(("method", "seeds"), [("nsga2", archs("10000000")), ("greedynas", [])])
def test_seeds_go_with_the_method_that_begins_with_them(
    method: str, seeds: list[Architecture]
) -> None:
    with pytest.raises(ValueError, match=f"{len(seeds)} seeds for {method!r}"):
        solve(
            Search(method=method),
            space=MACRO,
            models=[arithmetic(MACRO)],
            limits=[Limits(limits_s=(20e-3,))],
            accuracy=lambda given: [0.5] * len(given),
            accuracy_from="made up",
            seeds=seeds,
        )


# The front


def test_the_whole_front_of_a_small_space_is_found() -> None:
    budgets = [macs_budget(SMALL, 50e6)]
    result = run_search(
        searcher(SMALL, budgets, population=30),
        space=SMALL,
        budgets=budgets,
        accuracy=rugged(SMALL),
        rounds=10,
    )
    truth = non_dominated(enumerated(SMALL, budgets))
    front = non_dominated(result.candidates)
    assert len(truth) > 5
    assert [each.arch for each in front] == [each.arch for each in truth]


def test_the_front_of_all_macro_networks_is_nearly_found_by_a_tenth_of_them() -> None:
    budgets = [macs_budget(MACRO, LIMIT_MACS)]
    truth = enumerated(MACRO, budgets)
    whole = hypervolume(non_dominated(truth), LIMIT_MACS * 1e-9)
    share = {}
    methods: dict[str, Searcher] = {
        "nsga2": searcher(MACRO, budgets, population=20),
        "random": RandomSearch(
            space=MACRO, budgets=budgets, rng=np.random.default_rng(0), population=20
        ),
    }
    for name, method in methods.items():
        result = run_search(method, space=MACRO, budgets=budgets, accuracy=rugged(MACRO), rounds=16)
        assert result.evaluations < 0.15 * len(truth)
        front = non_dominated(result.candidates)
        share[name] = hypervolume(front, LIMIT_MACS * 1e-9) / whole
    assert 0.99 < share["nsga2"] <= 1.0 + 1e-12
    assert share["random"] < share["nsga2"]
