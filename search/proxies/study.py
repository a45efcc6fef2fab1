"""Which proxies keep the ranking: a sample of networks, trained under every one of them.

A network under one setting is one unit of work, a run of its own, so a study that was stopped goes
on with what is missing. Networks are compared with their accuracies in the reference: a table of
truths, or the dearest setting of the grid.

Source:
    Zhou et al., EcoNAS, CVPR 2020, section 3: 50 networks, 200 settings, Spearman's correlation.

Deviation: the paper's "entropy" of a ranking is not published well enough to be computed. In its
place stand bootstrap intervals over networks, and the mean shift of a network's rank.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from devices import LatkitError
from search.final.files import space_of_one
from search.images.data import ImageData
from search.metrics import bootstrap_interval, kendall_tau, spearman
from search.proxies.proxy import Proxy
from search.proxies.training import ProxyTrainer, Stage, trainer_of, training_macs
from search.searcher import Trial
from search.space import Architecture, SearchSpace
from search.training.pool import pool_of
from search.training.settings import TrainSettings

FEWEST_NETWORKS = 3
"""With fewer, a correlation of ranks says nothing at all."""

DRAWS_PER_NETWORK = 100
"""Draws for each network that is wanted, before a space is believed to have no more."""

Job: TypeAlias = tuple[Proxy, Architecture]
Values = NDArray[np.float64]


class NothingToCompare(LatkitError):
    """A study has too few networks, or too few settings, for a ranking to be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How well a proxy keeps the ranking, and what it costs.

    Attributes:
        proxy: The setting.
        networks: Ranked.
        spearman: Correlation of ranks with the reference, in [-1, 1].
        spearman_interval: Where it would lie with other networks of the kind, 95 %.
        kendall: Tau-b.
        kendall_interval: As of Spearman's.
        shift: Places that a network moves between the rankings, the mean over networks.
        paper_share: Cost of training by the notation, over that of the full setting.
        cost_share: Operations of training over those of the full setting: what the widths and
            pixels that were left make of it.
        train_s: Seconds of training that a network took, the mean.
        accuracy: Mean of the networks, in [0, 1].
        best: Whether no setting that costs no more keeps the ranking better.
    """

    proxy: Proxy
    networks: int
    spearman: float
    spearman_interval: tuple[float, float]
    kendall: float
    kendall_interval: tuple[float, float]
    shift: float
    paper_share: float
    cost_share: float
    train_s: float
    accuracy: float
    best: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """Networks and the settings that they are trained under.

    Attributes:
        archs: The networks.
        images: Training images that count as all of them.
        trainers: One for each setting, the same space in all.
        truth: Accuracies of the networks to compare with; None for those under the dearest
            setting.
    """

    archs: tuple[Architecture, ...]
    images: int
    trainers: Mapping[Proxy, ProxyTrainer]
    truth: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.archs) < FEWEST_NETWORKS:
            raise NothingToCompare(
                f"{len(self.archs)} networks cannot be ranked: take {FEWEST_NETWORKS} or more"
            )
        if not self.judged:
            raise NothingToCompare(
                "the only setting would be compared with itself: add cheaper ones to the grid, or "
                "a table of true accuracies"
            )

    @property
    def full(self) -> Proxy:
        """The full setting, for the most epochs of the grid: what costs are shares of."""
        return Proxy(epochs=max(proxy.epochs for proxy in self.trainers))

    @property
    def full_macs(self) -> float:
        """The operations of training a network under the full setting, the mean."""
        space = next(iter(self.trainers.values())).space
        images = self.images * self.full.epochs
        alone = (space_of_one(space, arch) for arch in self.archs)
        return float(np.mean([training_macs(each, images=images) for each in alone]))

    @property
    def dearest(self) -> Proxy:
        """The setting whose training takes the most operations."""
        return max(self.trainers, key=self.macs)

    @property
    def judged(self) -> tuple[Proxy, ...]:
        """The settings that are compared with the reference: all but the reference."""
        if self.truth is not None or not self.trainers:
            return tuple(self.trainers)
        dearest = self.dearest
        return tuple(proxy for proxy in self.trainers if proxy != dearest)

    def macs(self, proxy: Proxy) -> float:
        """Return the operations of training a network under a setting, the mean."""
        return float(np.mean([self.trainers[proxy].macs(arch) for arch in self.archs]))

    def run(
        self, *, workers: int, on_stage: Callable[[int, int], None] | None = None
    ) -> dict[Proxy, list[Stage]]:
        """Train what is missing, the cheapest settings first.

        Args:
            workers: Processes that train at once.
            on_stage: Called after every network, with those that are done and all.

        Returns:
            The stages of all networks, in their order, for every setting.
        """
        jobs: list[Job] = [
            (proxy, arch) for proxy in sorted(self.trainers, key=self.macs) for arch in self.archs
        ]
        stages: dict[Job, Stage] = {}
        with pool_of(self.train_one, workers=workers) as pool:
            for number, stage in pool(jobs):
                stages[jobs[number]] = stage
                if on_stage is not None:
                    on_stage(len(stages), len(jobs))
        return {proxy: [stages[proxy, arch] for arch in self.archs] for proxy in self.trainers}

    def train_one(self, job: Job) -> Stage:
        """Train one network under one setting, or read what came of it: a unit of work."""
        proxy, arch = job
        return self.trainers[proxy](Trial(arch))

    def judge(self, stages: Mapping[Proxy, Sequence[Stage]], *, seed: int = 0) -> list[Reliability]:
        """Compare what `run` returned with the reference.

        Args:
            stages: For every setting.
            seed: Of the bootstrap.

        Returns:
            One for each setting but the reference, the cheapest first.
        """
        if self.truth is None:
            reference = _accuracies(stages[self.dearest])
        else:
            reference = np.array(self.truth, float)
        rows = [self._reliability(each, stages[each], reference, seed=seed) for each in self.judged]
        rows.sort(key=lambda row: (row.cost_share, -row.spearman))
        return [replace(row, best=_unbeaten(row, rows[:i])) for i, row in enumerate(rows)]

    def _reliability(
        self, proxy: Proxy, stages: Sequence[Stage], reference: Values, *, seed: int
    ) -> Reliability:
        found = _accuracies(stages)

        def interval(statistic: Callable[[Values, Values], float]) -> tuple[float, float]:
            return bootstrap_interval(
                lambda rows: _number(statistic(found[rows], reference[rows])),
                count=len(found),
                rng=np.random.default_rng(seed),
            )

        places = stats.rankdata(found), stats.rankdata(reference)
        return Reliability(
            proxy=proxy,
            networks=len(found),
            spearman=_number(spearman(found, reference)),
            spearman_interval=interval(spearman),
            kendall=_number(kendall_tau(found, reference)),
            kendall_interval=interval(kendall_tau),
            shift=float(np.abs(places[0] - places[1]).mean()),
            paper_share=proxy.paper_cost / self.full.paper_cost,
            cost_share=self.macs(proxy) / self.full_macs,
            train_s=float(np.mean([stage.train_s for stage in stages])),
            accuracy=float(found.mean()),
            best=False,
        )


def _accuracies(stages: Sequence[Stage]) -> Values:
    return np.array([stage.accuracy for stage in stages])


def _number(correlation: float) -> float:
    """Return a correlation; 0 where one ranking is all ties and says nothing."""
    return 0.0 if np.isnan(correlation) else correlation


def _unbeaten(row: Reliability, cheaper: Sequence[Reliability]) -> bool:
    return row.spearman > max([0.0, *(other.spearman for other in cheaper)])


def study_of(
    space: SearchSpace,
    data: Mapping[int, ImageData],
    proxies: Sequence[Proxy],
    settings: TrainSettings,
    archs: Sequence[Architecture],
    folder: Path,
    *,
    images: int | None = None,
    validation: int | None = None,
    truth: Sequence[float] | None = None,
) -> Study:
    """Return a study; every setting is checked before anything is trained.

    Args:
        space: The full space.
        data: The images by their side in pixels, for every side that a setting asks for.
        proxies: The grid, each setting once.
        settings: How to train; the epochs are those of each setting.
        archs: The networks, distinct.
        folder: Where the runs are kept.
        images: Training images that count as all of them; None for those that there are.
        validation: Images to judge by; None for all.
        truth: Accuracies of the networks to compare with; None for those under the dearest
            setting.

    Raises:
        InvalidProxy: A setting leaves too little to train.
        NothingToCompare: There are too few networks, or no setting but the reference.
    """
    count = len(next(iter(data.values())).training)
    trainers = {
        proxy: trainer_of(
            space,
            data[proxy.side(space.input_shape[2])],
            proxy,
            settings,
            folder / str(proxy),
            images=images,
            validation=validation,
        )
        for proxy in proxies
    }
    return Study(
        archs=tuple(archs),
        images=min(images or count, count),
        trainers=trainers,
        truth=None if truth is None else tuple(truth),
    )


def distinct_networks(
    space: SearchSpace, count: int, rng: np.random.Generator
) -> tuple[Architecture, ...]:
    """Draw networks uniformly, no two of them equal when trained alone.

    Raises:
        NothingToCompare: The space has not so many.
    """
    found: dict[Architecture, None] = {}
    for _ in range(count * DRAWS_PER_NETWORK):
        found[space.alone(space.sample(rng))] = None
        if len(found) == count:
            return tuple(found)
    raise NothingToCompare(
        f"space {space.name!r} gave {len(found)} distinct networks in "
        f"{count * DRAWS_PER_NETWORK} draws, not {count}: ask for fewer"
    )
