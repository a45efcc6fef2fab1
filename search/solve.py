"""From a trained run and its tables to answers: one search for every limit asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np

from devices import InvalidFile, UnknownName
from lut import LatencyBudget, LatencyModel, LatencyTarget, load_table, within
from lut.on_paper.estimates import AnyTable, any_model, any_table
from lut.plans.memory import MemoryBudget
from lut.table import EMULATED, ESTIMATED, NotMeasured, Origin, is_emulated
from search.answers import Answer, answer_of
from search.exact import check_feasible, excluding_nothing
from search.memory import MemoryLimit, kept_by
from search.score import Scoring
from search.searcher import Candidate, Round, Searcher, SearchResult, run_search
from search.space import Architecture, SearchSpace, as_choices

SEARCHERS = {
    "evolution": "search.methods.evolution:Evolution",
    "nsga2": "search.methods.nsga2:NSGA2Search",
    "greedynas": "search.methods.nsga2:NSGA2Search",
    "random": "search.methods.random_search:RandomSearch",
    "sgnas": "search.sgnas.projection:Proposals",
}
"""Method to ``module:class``, made with ``space``, ``budgets``, ``rng`` and ``population``.

Text, so that naming a method imports nothing.
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
    """Find the best architecture for each set of limits.

    Every set is checked against the space's minimum before any search starts. What was evaluated
    for one set answers another whose limits it keeps, too: looser limits have no worse answers.

    Args:
        search: How.
        space: Where.
        models: One for each device.
        limits: What must hold; each set is a search of its own.
        accuracy: Judges architectures: by accuracy, or by a loss beside it, which then ranks.
        accuracy_from: How, for people.
        seeds: What every search begins with, best first; for the methods in `SEEDED`, and those
            need one or more.
        on_round: Called with the number of the set and the round's summary.
        memory: What every answer keeps beside its limits, by its own engine; None for no limit.

    Raises:
        NoFeasibleArchitecture: A limit is below the minimum; raised before anything is searched.
        InvalidFile: A seed is of another space.
        ValueError: The method is not seeded and there are seeds, or the other way round.
    """
    if bool(seeds) != (search.method in SEEDED):
        raise ValueError(f"{len(seeds)} seeds for {search.method!r}; only {SEEDED} begin with some")
    budgets = [budgets_of(models, each, search.confidence) for each in limits]
    for each in budgets:
        check_feasible(space, each)
    if memory is not None:
        memory.check(space)
    bound = None if memory is None else memory.budget
    results = [
        run_search(
            _searcher(search, space, each, seeds, bound),
            space=space,
            budgets=each,
            accuracy=accuracy,
            rounds=search.rounds,
            on_round=None if on_round is None else _numbered(on_round, number),
            memory=bound,
        )
        for number, each in enumerate(budgets)
    ]
    known = {each.arch: each for result in results for each in result.candidates}
    solutions = []
    for each, result in zip(budgets, results, strict=True):
        candidates, promise = kept_by(memory, _keeping(each, known), space)
        answer = answer_of(
            candidates,
            space,
            each,
            accuracy_from=accuracy_from,
            method=search.method,
            seed=search.seed,
            memory=promise,
        )
        said = excluding_nothing(space, each) if promise is None else str(promise)
        note = ". ".join(filter(None, (said, _origin_note(models))))
        solutions.append(Solution(answer=answer, result=result, note=note))
    return solutions


def _keeping(
    budgets: Sequence[LatencyBudget], known: Mapping[Architecture, Candidate]
) -> list[Candidate]:
    """Return the candidates that keep all budgets, best first."""
    kept = within(budgets, as_choices(list(known)))
    inside = (each for each, keeps in zip(known.values(), kept, strict=True) if keeps)
    return sorted(inside, key=lambda each: each.rank)


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


def _numbered(on_round: Callable[[int, Round], None], number: int) -> Callable[[Round], None]:
    return lambda summary: on_round(number, summary)
