"""Searches that `bench.econas` repeats: what is asked, what is judged, and what that is worth."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lut import LatencyBudget, LatencyModel, LatencyTarget, within
from profiler import total_macs
from search.econas.hierarchy import EconasSettings
from search.econas.on_data import searcher_of
from search.econas.synflow import Synflow
from search.methods.random_search import RandomSearch
from search.metrics import bootstrap_interval
from search.searcher import (
    Accuracy,
    Candidate,
    Searcher,
    TrialAccuracy,
    run_search,
    run_trials,
)
from search.space import Architecture, SearchSpace, as_choices
from search.truths.truth import Truth

SHARES = tuple(2 ** (step / 2) for step in range(-8, 1))
"""Of the whole cost, from a sixteenth on: where regret is asked."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One search to repeat: where, within what, and how a pick is judged.

    Attributes:
        part: Of the bench.
        space: Where.
        budget: The limit.
        truth: True accuracy of networks, in [0, 1].
        best: That of the best network within the limit.
    """

    part: str
    space: SearchSpace
    budget: LatencyBudget
    truth: Accuracy
    best: float

    def regret(self, arch: Architecture) -> float:
        """Return what a pick loses, in points."""
        return 100 * (self.best - float(self.truth([arch])[0]))


def problem_of(part: str, truth: Truth, space: SearchSpace, budget: LatencyBudget) -> Problem:
    """Return the search for the best network within a limit."""
    kept = within([budget], as_choices([space.alone(arch) for arch in truth.archs]))

    def true(archs: Sequence[Architecture]) -> list[float]:
        accuracies: list[float] = truth.mean[truth.rows(archs)].tolist()
        return accuracies

    return Problem(
        part=part, space=space, budget=budget, truth=true, best=float(truth.mean[kept].max())
    )


def budget(model: LatencyModel, limit_s: float) -> LatencyBudget:
    """Return a limit on the device of a model."""
    return LatencyBudget(model=model, target=LatencyTarget(device=model.device, limit_s=limit_s))


def trials_of(
    problem: Problem, method: str, sizes: EconasSettings, accuracy: TrialAccuracy, *, seed: int
) -> tuple[Candidate, ...]:
    """Search by a method; return all that was judged, in order."""
    searcher: Searcher = searcher_of(
        method,
        space=problem.space,
        budgets=[problem.budget],
        rng=np.random.default_rng(seed),
        sizes=sizes,
    )
    found = run_trials(
        searcher,
        space=problem.space,
        budgets=[problem.budget],
        accuracy=accuracy,
        rounds=sizes.cycles + 1,
    )
    return found.judged


def curve(
    problem: Problem,
    method: str,
    seed: int,
    judged: Sequence[Candidate],
    costs: Sequence[int],
    *,
    total: int,
) -> Rows:
    """Return the regret of the pick after several shares of the whole cost."""
    spent = np.cumsum(costs)
    rows: Rows = []
    for share in SHARES:
        done = [each for each, at in zip(judged, spent, strict=True) if at <= share * total]
        if done:
            highest = max(each.effort for each in done)
            finalists = (each for each in done if each.effort == highest)
            pick = min(finalists, key=lambda each: each.rank)
            rows.append(row_of(problem, method, seed, round(share * total), pick.arch))
    return rows


def row_of(
    problem: Problem, method: str, seed: int, epochs: int, arch: Architecture
) -> dict[str, Any]:
    """Return a row of the searches."""
    return {
        "method": method,
        "seed": seed,
        "epochs": epochs,
        "regret": problem.regret(arch),
        "part": problem.part,
    }


def free(problem: Problem, seed: int, *, draws: int) -> Rows:
    """Pick by scores that cost nothing, among random networks within the limit.

    Args:
        problem: The search.
        seed: Of the draws.
        draws: Random networks.
    """
    space = problem.space
    largest = max(total_macs(space.chain(space.alone(a))) for a in _corners(space))
    scores: dict[str, Accuracy] = {
        "flops": lambda archs: [min(1.0, total_macs(space.chain(a)) / largest) for a in archs]
    }
    if problem.part == "training":  # seconds for each limit; tables have many
        scores["synflow"] = Synflow(space, seed=seed)
    rows: Rows = []
    for name, score in scores.items():
        found = run_search(
            RandomSearch(
                space=space,
                budgets=[problem.budget],
                rng=np.random.default_rng(seed),
                population=draws,
            ),
            space=space,
            budgets=[problem.budget],
            accuracy=score,
            rounds=1,
        )
        rows.append(row_of(problem, name, seed, 0, found.best.arch))
    return rows


def _corners(space: SearchSpace) -> Iterator[Architecture]:
    """Return the networks of one choice everywhere: the largest is among them."""
    for choice in range(max(map(len, space.layers))):
        yield Architecture(tuple(min(choice, len(layer) - 1) for layer in space.layers))


def interval(statistic: Callable[[NDArray[np.intp]], float], count: int) -> tuple[float, float]:
    """Return a bootstrap interval; what ranks nothing correlates with nothing."""
    return bootstrap_interval(
        lambda rows: float(np.nan_to_num(statistic(rows))),
        count=count,
        rng=np.random.default_rng(0),
    )
