"""From a trained run and its tables to answers: one search for every limit asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np

from devices import InvalidFile, UnknownName
from devices.backend import EMULATED
from lut import LatencyBudget, LatencyModel, LatencyTarget, load_table
from lut.on_paper.estimates import AnyTable, any_model, any_table
from lut.plans.memory import MemoryBudget
from lut.table import ESTIMATED, NotMeasured, Origin, is_emulated
from search.answers import Answer, answer_of
from search.exact import check_feasible, excluding_nothing
from search.memory import MemoryLimit, kept_by
from search.score import Score, Scoring, as_score
from search.searcher import (
    Candidate,
    Round,
    Searcher,
    SearchResult,
    candidates_among,
    run_search,
)
from search.space import Architecture, SearchSpace

SEARCHERS = {
    "evolution": "search.methods.evolution:Evolution",
    "nsga2": "search.methods.nsga2:NSGA2Search",
    "greedynas": "search.methods.nsga2:NSGA2Search",
    "random": "search.methods.random_search:RandomSearch",
    "sgnas": "search.sgnas.projection:Proposals",
}
"""Method to ``module:class``, made with ``space``, ``budgets``, ``rng`` and ``population``.

Those in `PROPOSED` are made with ``archs`` alone. Text, so that naming a method imports nothing.
"""

SEEDED = ("greedynas", "sgnas")
"""Methods that take ``seeds`` too: the candidate pool of the run; all that a generator proposes."""

PROPOSED = ("sgnas",)
"""Methods that propose nothing but their ``seeds``, for all sets of limits together."""

BOUNDED = ("evolution", "nsga2", "greedynas")
"""Methods that take ``memory``, and learn from it; of the others the driver keeps what fits."""

ROUNDS, POPULATION = 20, 50
"""Ask-tell rounds and proposals in each: the evolution of GreedyNAS's released search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits that hold at once, one for each table.

    Attributes:
        limits_s: Seconds, in the order of the tables.
    """

    limits_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How to search.

    Attributes:
        method: Key in `SEARCHERS`.
        confidence: How sure each limit must hold, in [0.5, 1).
        rounds: Ask-tell rounds.
        population: Architectures proposed in each round.
        seed: Of every random draw.
        origins: What tables may hold instead of measurements: ``estimated``, ``emulated``.
    """

    method: str = "evolution"
    confidence: float = 0.95
    rounds: int = ROUNDS
    population: int = POPULATION
    seed: int = 0
    origins: tuple[Origin, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in SEARCHERS:
            raise UnknownName("search method", self.method, SEARCHERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """What one set of limits came to.

    Attributes:
        answer: The best architecture that keeps them.
        result: Every candidate that was evaluated on the way; others' may answer, too.
        note: What people should know of the limits; empty where there is nothing.
    """

    answer: Answer
    result: SearchResult
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return plain data, the note where there is one."""
        return self.answer.as_json() | ({"note": self.note} if self.note else {})


def models_of(
    paths: Sequence[Path], space: SearchSpace, *, origins: Sequence[Origin] = ()
) -> list[LatencyModel]:
    """Read tables and make the model of a space from each.

    Args:
        paths: The tables.
        space: What they price.
        origins: What they may hold instead of measurements.

    Raises:
        InvalidFile: A file is damaged, or two tables are of one device.
        MissingLatency: A table lacks operators of the space.
        NotCalibrated: A table lacks whole networks of the space.
        NotMeasured: A table holds something else, and nobody asked for that.
    """
    models = [any_model(_table_of(path, origins), space) for path in paths]
    names = [model.device for model in models]
    if len(set(names)) < len(names):
        raise InvalidFile(f"two tables are of one device ({', '.join(names)}): give each once")
    return models


@dataclass(frozen=True, slots=True, kw_only=True)
class Solver:
    """Searches of one space whose networks are judged alike: what one evaluates answers the others.

    Attributes:
        search: How.
        space: Where.
        accuracy: Judges architectures: by accuracy, or by a loss beside it, which then ranks. It is
            asked once about each.
        accuracy_from: How, for people.
        seeds: What every search begins with, best first; for the methods in `SEEDED`, and those
            need one or more.
        on_round: Called with the number of the set of limits and the round's summary.
        memory: What every answer keeps beside its limits, by its own engine; None for no limit.
        known: What was evaluated so far.
    """

    search: Search
    space: SearchSpace
    accuracy: Scoring
    accuracy_from: str
    seeds: Sequence[Architecture] = ()
    on_round: Callable[[int, Round], None] | None = None
    memory: MemoryLimit | None = None
    known: dict[Architecture, Score] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if bool(self.seeds) != (self.search.method in SEEDED):
            raise ValueError(
                f"{len(self.seeds)} seeds for {self.search.method!r}; only {SEEDED} begin with some"
            )

    def solve(self, models: Sequence[LatencyModel], limits: Sequence[Limits]) -> list[Solution]:
        """Find the best architecture for each set of limits; looser ones have no worse answers.

        Args:
            models: One for each device.
            limits: What must hold; each set is a search of its own.

        Raises:
            NoFeasibleArchitecture: A limit is below the minimum; raised before anything is
                searched. Or several limits cannot be kept together, as far as a search saw.
            InvalidFile: A seed is of another space.
        """
        self.check(models, limits)
        results = self.searched(models, limits)
        return [
            self.solution(models, each, result)
            for each, result in zip(limits, results, strict=True)
        ]

    def check(self, models: Sequence[LatencyModel], limits: Sequence[Limits]) -> None:
        """Refuse limits that no network keeps, as far as that is known without a search.

        Raises:
            NoFeasibleArchitecture: There is such a limit; says how far it is off.
        """
        check_limits(self.space, [self._budgets(models, each) for each in limits], self.memory)

    def searched(
        self, models: Sequence[LatencyModel], limits: Sequence[Limits], *, first: int = 0
    ) -> list[SearchResult]:
        """Search within each set of limits, and keep in mind what was evaluated.

        Args:
            models: One for each device.
            limits: What must hold; each set is a search of its own.
            first: The number of the first set, for `on_round`.

        Raises:
            NoFeasibleArchitecture: A search found no network that keeps its limits.
            InvalidFile: A seed is of another space.
        """
        bound = None if self.memory is None else self.memory.budget
        every = [self._budgets(models, each) for each in limits]
        return [
            run_search(
                _searcher(self.search, self.space, budgets, self.seeds, bound),
                space=self.space,
                budgets=budgets,
                accuracy=self._scores,
                rounds=self.search.rounds,
                on_round=None if self.on_round is None else numbered(self.on_round, number),
                memory=bound,
            )
            for number, budgets in enumerate(every, first)
        ]

    def solution(
        self,
        models: Sequence[LatencyModel],
        limits: Limits,
        result: SearchResult,
        *,
        by_loss: bool = True,
    ) -> Solution:
        """Return the best that was evaluated in any search and keeps a set of limits.

        Args:
            models: One for each device.
            limits: What must hold.
            result: Of the search within them.
            by_loss: Whether losses rank where they are known; else accuracies do, and the answer
                has no loss.

        Raises:
            NoFeasibleArchitecture: No candidate keeps the limit on memory.
        """
        budgets = self._budgets(models, limits)
        known, accuracy_from = self.known, self.accuracy_from
        if not by_loss and any(score.loss is not None for score in known.values()):
            known = {arch: replace(score, loss=None) for arch, score in known.items()}
            accuracy_from = f"{accuracy_from} in the search and by accuracy in the answer"
        return solution_of(
            result,
            candidates_among(known, budgets),
            space=self.space,
            budgets=budgets,
            memory=self.memory,
            accuracy_from=accuracy_from,
            method=self.search.method,
            seed=self.search.seed,
        )

    def _budgets(self, models: Sequence[LatencyModel], limits: Limits) -> list[LatencyBudget]:
        return budgets_of(models, limits, self.search.confidence)

    def _scores(self, archs: Sequence[Architecture]) -> list[Score]:
        """Judge architectures, each that was not judged before."""
        new = [arch for arch in dict.fromkeys(archs) if arch not in self.known]
        if new:
            self.known.update(zip(new, map(as_score, self.accuracy(new)), strict=True))
        return [self.known[arch] for arch in archs]


def solve(
    search: Search,
    *,
    space: SearchSpace,
    models: Sequence[LatencyModel],
    limits: Sequence[Limits],
    accuracy: Scoring,
    accuracy_from: str,
    seeds: Sequence[Architecture] = (),
    on_round: Callable[[int, Round], None] | None = None,
    memory: MemoryLimit | None = None,
) -> list[Solution]:
    """Find the best architecture for each set of limits; arguments and errors as of `Solver`."""
    solver = Solver(
        search=search,
        space=space,
        accuracy=accuracy,
        accuracy_from=accuracy_from,
        seeds=seeds,
        on_round=on_round,
        memory=memory,
    )
    return solver.solve(models, limits)


def check_limits(
    space: SearchSpace, budgets: Sequence[Sequence[LatencyBudget]], memory: MemoryLimit | None
) -> None:
    """Refuse limits that no network of a space keeps, before anything is searched.

    Raises:
        NoFeasibleArchitecture: There is such a limit; says how far it is off.
    """
    for each in budgets:
        check_feasible(space, each)
    if memory is not None:
        memory.check(space)


def solution_of(
    result: SearchResult,
    candidates: Sequence[Candidate],
    *,
    space: SearchSpace,
    budgets: Sequence[LatencyBudget],
    memory: MemoryLimit | None,
    accuracy_from: str,
    method: str,
    seed: int,
) -> Solution:
    """Return what a search came to: the best of some candidates whose engine fits.

    Args:
        result: Of the search.
        candidates: That keep the budgets, best first.
        space: What was searched.
        budgets: The limits of this answer.
        memory: What its engine may take; None for no limit.
        accuracy_from: How candidates were judged, for people.
        method: By what they were found.
        seed: Of the search.

    Raises:
        NoFeasibleArchitecture: No candidate keeps the limit on memory.
    """
    kept, promise = kept_by(memory, candidates, space)
    answer = answer_of(
        kept,
        space,
        budgets,
        accuracy_from=accuracy_from,
        method=method,
        seed=seed,
        memory=promise,
    )
    said = excluding_nothing(space, budgets) if promise is None else str(promise)
    origins = _origin_note([budget.model for budget in budgets])
    return Solution(answer=answer, result=result, note=". ".join(filter(None, (said, origins))))


def _table_of(path: Path, origins: Sequence[Origin]) -> AnyTable:
    """Read a table that was measured, or is of one of these origins."""
    table = any_table(path) if ESTIMATED in origins else load_table(path)
    if is_emulated(table.conditions) and EMULATED not in origins:
        raise NotMeasured(
            f"{path} was measured where {table.conditions.device.name!r} is emulated: its "
            "latencies are no real device's. Search by them all the same: --emulated"
        )
    return table


def _origin_note(models: Sequence[LatencyModel]) -> str:
    """Say which latencies are no real device's; empty where all are."""
    notes = []
    for origin, what in ((ESTIMATED, "Estimated, not measured"), (EMULATED, "Emulated")):
        names = ", ".join(repr(model.device) for model in models if model.origin == origin)
        notes += [f"{what}: every latency on {names}"] if names else []
    return ". ".join(notes)


def budgets_of(
    models: Sequence[LatencyModel], limits: Limits, confidence: float
) -> list[LatencyBudget]:
    """Return a set of limits as budgets, one for each model."""
    return [
        LatencyBudget(
            model=model,
            target=LatencyTarget(device=model.device, limit_s=limit_s, confidence=confidence),
        )
        for model, limit_s in zip(models, limits.limits_s, strict=True)
    ]


def _searcher(
    search: Search,
    space: SearchSpace,
    budgets: Sequence[LatencyBudget],
    seeds: Sequence[Architecture],
    memory: MemoryBudget | None,
) -> Searcher:
    module, _, name = SEARCHERS[search.method].partition(":")
    create = cast(Callable[..., Any], getattr(import_module(module), name))
    if search.method in PROPOSED:
        return cast(Searcher, create(archs=seeds))
    given: dict[str, Any] = {"seeds": seeds} if search.method in SEEDED else {}
    if memory is not None and search.method in BOUNDED:
        given["memory"] = memory
    rng = np.random.default_rng(search.seed)
    return cast(
        Searcher,
        create(space=space, budgets=budgets, rng=rng, population=search.population, **given),
    )


def numbered(on_round: Callable[[int, Round], None], number: int) -> Callable[[Round], None]:
    """Return what is called with each round of one of several searches, whose number it adds."""
    return lambda summary: on_round(number, summary)
