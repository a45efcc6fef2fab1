"""Searches whose candidates are trained for the purpose, each alone: without shared weights.

A search is a sequence of trials, and every trial that was trained is on the disk as a stage of its
network's run. So a search that was killed goes on by being repeated: the same seed proposes the
same, and what is trained already is only read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from devices import UnknownName
from devices.in_use import held
from lut import LatencyBudget, LatencyModel
from lut.plans.memory import MemoryBudget
from search.econas.halving import RandomTrials, SuccessiveHalving
from search.econas.hierarchy import (
    ASHA,
    FLAT,
    METHOD,
    PROXY_METHODS,
    RANDOM,
    EconasSettings,
    HierarchicalEvolution,
    flat,
)
from search.images.data import ImageData
from search.memory import MemoryLimit
from search.proxies.training import ProxyTrainer, Stage, trainer_of
from search.searcher import Round, Searcher, SearchResult, Trial, run_trials
from search.solve import Limits, Solution, budgets_of, check_limits, numbered, solution_of
from search.space import Architecture, SearchSpace
from search.training.pool import Pool, pool_of
from search.training.settings import TrainSettings

OnStage = Callable[[Trial, Stage], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySearch:
    """How to search.

    Attributes:
        method: One of `search.econas.hierarchy.PROXY_METHODS`, or ``"random"``, the baseline.
        settings: Sizes and the proxy, those of EcoNAS; a rival takes what costs as much.
        training: How networks are trained.
        confidence: How sure each limit must hold, in [0.5, 1).
        seed: Of every random draw of the search; that of the weights is the training's.
        workers: Processes that train at once.
    """

    method: str = METHOD
    settings: EconasSettings
    training: TrainSettings
    confidence: float = 0.95
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if self.method not in (*PROXY_METHODS, RANDOM):
            raise UnknownName("search method", self.method, PROXY_METHODS)

    @property
    def sizes(self) -> EconasSettings:
        """The settings that the method searches with: a rival's are derived from EcoNAS's."""
        return sizes_of(self.method, self.settings)


@dataclass(slots=True, kw_only=True)
class TrainedAccuracy:
    """What a search asks: the accuracy of trials, trained in a pool.

    Attributes:
        pool: Where they are trained.
        on_stage: Called after every trial, in the order in which they end.
        stages: All trials so far.
    """

    pool: Pool[Trial, Stage]
    on_stage: OnStage | None = None
    stages: dict[Trial, Stage] = field(default_factory=dict)

    def __call__(self, trials: Sequence[Trial]) -> list[float]:
        """Return the validation accuracy of each trial, in their order."""
        for number, stage in self.pool(trials):
            self.stages[trials[number]] = stage
            if self.on_stage is not None:
                self.on_stage(trials[number], stage)
        return [self.stages[trial].accuracy for trial in trials]

    @property
    def spent(self) -> "Spent":
        """What the trials cost together; a network's lower levels are part of its highest."""
        highest: dict[Architecture, Stage] = {}
        for trial, stage in sorted(self.stages.items(), key=lambda pair: pair[0].effort):
            highest[trial.arch] = stage
        return Spent(
            networks=len(highest),
            epochs=sum(stage.epochs for stage in highest.values()),
            train_s=sum(stage.train_s for stage in highest.values()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What training candidates cost, whenever it was done.

    Attributes:
        networks: Distinct ones.
        epochs: Of all of them, under the proxy.
        train_s: Seconds of training, added up over workers.
    """

    networks: int
    epochs: int
    train_s: float


def sizes_of(method: str, settings: EconasSettings) -> EconasSettings:
    """Return the settings of a method that costs what EcoNAS costs with these."""
    return flat(settings) if method == FLAT else settings


def searcher_of(
    method: str,
    *,
    space: SearchSpace,
    budgets: Sequence[LatencyBudget],
    rng: np.random.Generator,
    sizes: EconasSettings,
    memory: MemoryBudget | None = None,
) -> Searcher:
    """Return a searcher that proposes trials.

    Args:
        method: As in `ProxySearch`.
        space: Where to search.
        budgets: The bounds to keep.
        rng: Source of every random draw.
        sizes: Of this method, see `sizes_of`.
        memory: A bound on memory that holds, too.
    """
    searcher: Callable[..., Searcher] = RandomTrials
    if method in (METHOD, FLAT):
        searcher = HierarchicalEvolution
    elif method == ASHA:
        searcher = SuccessiveHalving
    return searcher(space=space, budgets=budgets, rng=rng, settings=sizes, memory=memory)


def solve_by_training(
    search: ProxySearch,
    *,
    space: SearchSpace,
    data: ImageData,
    models: Sequence[LatencyModel],
    limits: Sequence[Limits],
    work: Path,
    on_stage: OnStage | None = None,
    on_round: Callable[[int, Round], None] | None = None,
    memory: MemoryLimit | None = None,
) -> tuple[list[Solution], Spent]:
    """Find the most accurate architecture for each set of limits, by training candidates.

    Every set is checked against the space's minimum before anything is trained. The searches of
    several sets share their trained networks.

    Args:
        search: How.
        space: Where; its latency is that of the full networks, whatever the proxy.
        data: Images at the side that the proxy asks for, see `search.proxies.proxy.Proxy.side`.
        models: One for each device.
        limits: What must hold; each set is a search of its own.
        work: Where the runs of the candidates are kept; the same again goes on.
        on_stage: Called after every trial.
        on_round: Called with the number of the set and the round's summary.
        memory: What every answer keeps beside its limits, by its own engine; None for no limit.

    Returns:
        One answer for each set, and what they cost together.

    Raises:
        NoFeasibleArchitecture: A limit is below the minimum; raised before anything is trained.
        InvalidProxy: Too little is left to train.
        MissingCheckpoint: A network cannot go on, because its checkpoint is gone.
        WorkerDied: Workers die again and again.
        InUse: Another process searches in ``work``.
    """
    trainer = trainer_for(search, space=space, data=data, work=work)
    budgets = [budgets_of(models, each, search.confidence) for each in limits]
    check_limits(space, budgets, memory)
    with held(work), pool_of(trainer, workers=search.workers) as pool:
        accuracy = TrainedAccuracy(pool=pool, on_stage=on_stage)
        solutions = []
        for number, each in enumerate(budgets):
            found = _searched(
                search,
                space=space,
                budgets=each,
                accuracy=accuracy,
                on_round=None if on_round is None else numbered(on_round, number),
                memory=None if memory is None else memory.budget,
            )
            solutions.append(
                solution_of(
                    found,
                    found.candidates,
                    space=space,
                    budgets=each,
                    memory=memory,
                    accuracy_from=accuracy_from(trainer, found.best.effort),
                    method=search.method,
                    seed=search.seed,
                )
            )
        return solutions, accuracy.spent


def _searched(
    search: ProxySearch,
    *,
    space: SearchSpace,
    budgets: Sequence[LatencyBudget],
    accuracy: TrainedAccuracy,
    on_round: Callable[[Round], None] | None,
    memory: MemoryBudget | None,
) -> SearchResult:
    """Search within one set of budgets; arguments as `searcher_of` and `run_trials`."""
    searcher = searcher_of(
        search.method,
        space=space,
        budgets=budgets,
        rng=np.random.default_rng(search.seed),
        sizes=search.sizes,
        memory=memory,
    )
    return run_trials(
        searcher,
        space=space,
        budgets=budgets,
        accuracy=accuracy,
        rounds=search.sizes.cycles + 1,
        on_round=on_round,
        memory=memory,
    )


def trainer_for(
    search: ProxySearch, *, space: SearchSpace, data: ImageData, work: Path
) -> ProxyTrainer:
    """Return what trains the candidates of a search; arguments and errors as `solve_by_training`.

    Every proxy has a folder of its own in ``work``.
    """
    sizes = search.sizes
    return trainer_of(
        space,
        data,
        sizes.proxy,
        replace(search.training, epochs=max(search.training.epochs, sizes.epochs[-1])),
        work / str(sizes.proxy),
        levels=sizes.epochs,
        images=sizes.images,
        validation=sizes.validation,
    )


def accuracy_from(trainer: ProxyTrainer, effort: int) -> str:
    """Say how an accuracy came about, and that there are no weights to export."""
    return (
        f"trained alone for {trainer.levels[effort - 1]} epochs under proxy {trainer.proxy} on "
        f"{len(trainer.data.training)} images, {len(trainer.data.validation)} validation images; "
        "no weights of the full network: train final before export"
    )
