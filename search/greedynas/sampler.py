"""GreedyNAS: a supernet that is trained on promising paths, and a pool of them to search from.

In pseudo-code::

    warm-up: uniform single-path training
    until the end, or until the pool settles:
        draw m paths, each from the pool with probability epsilon, else from the space
        score them by their loss on a few held-out images
        train the best k, one batch each
        put all m into the pool, which keeps the best

Source:
    You, Huang et al., GreedyNAS: Towards Fast One-Shot NAS with Greedy Supernet, CVPR 2020. The
    constants are those of two public reimplementations' configurations, where they agree.
"""

from collections.abc import Sequence
from dataclasses import asdict, field
from dataclasses import dataclass as plain_dataclass
from functools import partial
from math import comb
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from devices import InvalidFile
from lut import LatencyBudget
from search.greedynas.candidate_pool import CandidatePool
from search.greedynas.within import PathsWithin
from search.images.data import ImageData, InvalidData
from search.space import Architecture, SearchSpace
from search.supernets import evaluation
from search.supernets.evaluation import batch_statistics
from search.supernets.supernet import Supernet
from search.training.loop import OnEpoch, train
from search.training.runs import limits_option, read_checkpoint, read_record
from search.training.settings import STRICT, Share, TrainSettings, section_from_toml
from search.training.state import OnStep
from search.training.trained import TrainedRun

METHOD = "greedynas"

SCORING = 1000 / 1024
"""Surrogate images for one training image of a batch, as published: m n / (k B) is 1.95."""

SURROGATE_BATCH = 500
"""Images that are scored at once, at most: their statistics normalise them."""

FRESH_DRAWS = 20
"""Draws for a path that is not among the others yet; a small pool may have no other."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class GreedySettings:
    """Settings of the greedy supernet; validated when made.

    Attributes:
        paths: Paths drawn and scored together, m. Published: 10.
        kept: The best of them, which are trained one after another, k. Published: 5.
        surrogate: Held-out images that a path is scored on; None for as many as keep the published
            share of scoring, about one batch. Published: 1,000 beside batches of 1,024.
        pool: Paths that the pool holds. Published: 1,000, of 270,000 that are scored; a small run
            scores some thousand.
        epsilon: Probability of drawing from the pool at the end of training; it rises linearly
            from 0 after the warm-up. Published: 0.8.
        warmup: Share of the steps that train uniform paths. Published: 10,000 of 144,360.
        turnover: Training stops once no more than this share of a full pool has changed within an
            epoch; 0 never stops it while anything changes. From memory of the paper: 0.08.
    """

    paths: Annotated[int, Field(ge=1)] = 10
    kept: Annotated[int, Field(ge=1)] = 5
    surrogate: Annotated[int, Field(ge=2)] | None = None
    pool: Annotated[int, Field(ge=1)] = 100
    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.8
    warmup: Share = 10_000 / 144_360
    turnover: Share = 0.08

    def __post_init__(self) -> None:
        if self.kept > self.paths:
            raise ValueError(f"{self.kept} of {self.paths} drawn paths cannot be kept")

    def surrogate_for(self, batch: int) -> int:
        """Return how many images a path is scored on beside training batches of this size."""
        if self.surrogate is not None:
            return self.surrogate
        return max(2, round(SCORING * batch))


@plain_dataclass(slots=True, kw_only=True)
class GreedyPaths:
    """Draws, scores and filters paths; a path sampler of `search.training.loop`.

    Attributes:
        space: What is trained.
        within: What is drawn from beside the pool.
        surrogate: Batches of held-out images and labels.
        settings: Constants.
        steps: Optimizer steps of the whole training.
        epoch_steps: Steps between two looks at the pool's turnover.
        pool: The best paths so far.
        scored_images: Images that went through candidates so far.
        turnovers: Share of the pool that changed, epoch by epoch since it was full.
    """

    space: SearchSpace
    within: PathsWithin
    surrogate: Sequence[tuple[Tensor, Tensor]]
    settings: GreedySettings
    steps: int
    epoch_steps: int
    pool: CandidatePool
    scored_images: int = 0
    turnovers: list[float] = field(default_factory=list)
    _step: int = 0
    _kept: list[Architecture] = field(default_factory=list)
    _before: frozenset[Architecture] = frozenset()

    @property
    def done(self) -> bool:
        """Whether the pool has settled."""
        return bool(self.turnovers) and self.turnovers[-1] <= self.settings.turnover

    @property
    def epsilon(self) -> float:
        """Probability of drawing from the pool now."""
        warm = self.settings.warmup * self.steps
        progress = (self._step - warm) / max(1.0, self.steps - warm)
        return self.settings.epsilon * min(1.0, max(0.0, progress))

    def __call__(self, supernet: Supernet, rng: np.random.Generator) -> Sequence[Architecture]:
        """Return the next path to train on."""
        if self._step < self.settings.warmup * self.steps:
            path = self.space.canonical(self.within.sample(rng))
        else:
            if not self._kept:
                self._kept = self._best_of_some(supernet, rng)
            path = self._kept.pop(0)
        self._step += 1
        if self._step % self.epoch_steps == 0:
            self._note_turnover()
        return (path,)

    def _best_of_some(self, supernet: Supernet, rng: np.random.Generator) -> list[Architecture]:
        """Draw and score m paths; return the best k and remember all."""
        drawn: dict[Architecture, None] = {}
        for _ in range(self.settings.paths):
            drawn[self._fresh(rng, drawn)] = None
        paths = list(drawn)
        device = next(supernet.parameters()).device
        self.surrogate = [
            (images.to(device), labels.to(device)) for images, labels in self.surrogate
        ]
        losses = [score(supernet, path, self.surrogate) for path in paths]
        self.scored_images += len(paths) * sum(len(labels) for _, labels in self.surrogate)
        self.pool.add(paths, losses)
        order = np.argsort(losses, kind="stable")[: self.settings.kept]
        return [paths[i] for i in order]

    def _fresh(self, rng: np.random.Generator, drawn: dict[Architecture, None]) -> Architecture:
        """Draw a path that is not drawn yet, where there is one to be found."""
        known = list(self.pool.losses)
        for _ in range(FRESH_DRAWS):
            if known and rng.random() < self.epsilon:
                path = known[int(rng.integers(len(known)))]
            else:
                path = self.space.canonical(self.within.sample(rng))
            if path not in drawn:
                break
        return path

    def _note_turnover(self) -> None:
        """Compare the pool with that of an epoch ago, once it is full."""
        now = frozenset(self.pool.losses)
        if self._before:
            self.turnovers.append(1 - len(now & self._before) / len(now))
        self._before = now if self.pool.full else frozenset()

    def state(self) -> dict[str, Any]:
        """Return what changes while training, as plain data."""
        return {
            "step": self._step,
            "kept": [list(path.choices) for path in self._kept],
            "pool": [[list(path.choices), loss] for path, loss in self.pool.losses.items()],
            "before": sorted(list(path.choices) for path in self._before),
            "turnovers": list(self.turnovers),
            "scored_images": self.scored_images,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._step = state["step"]
        self._kept = [Architecture(tuple(choices)) for choices in state["kept"]]
        self.pool.losses = _losses(state)
        self._before = frozenset(Architecture(tuple(choices)) for choices in state["before"])
        self.turnovers = list(state["turnovers"])
        self.scored_images = state["scored_images"]


def score(
    supernet: Supernet, arch: Architecture, surrogate: Sequence[tuple[Tensor, Tensor]]
) -> float:
    """Return the mean cross-entropy of a path: less is better.

    Each batch is normalised by its own statistics, and those of the supernet stay as they are.

    Args:
        supernet: As trained so far; left as it was.
        arch: The path.
        surrogate: Batches of images, normalised as in training, and labels.
    """
    with batch_statistics(supernet):
        found = evaluation.score(partial(supernet, arch=arch), surrogate)
    assert found.loss is not None
    return found.loss


def train_greedynas(
    space: SearchSpace,
    data: ImageData,
    settings: TrainSettings,
    greedy: GreedySettings,
    run_dir: Path,
    *,
    budgets: Sequence[LatencyBudget] = (),
    source: str | None = None,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
) -> TrainedRun:
    """Train a greedy supernet, or go on where the run stopped.

    Args:
        space: What the supernet holds.
        data: Images of the space's resolution and number of classes.
        settings: How to train.
        greedy: Constants of the method.
        run_dir: New, empty, or of an earlier run with the same arguments.
        budgets: Limits on one device that will be searched for. Paths are drawn within the loosest,
            and each limit has a share of the pool.
        source: What `search.images.data.load_data` was given; None where that is the name of
            ``data``.
        on_epoch: Called after every epoch.
        on_step: Called after every step.

    Raises:
        LatkitError: What `search.training.loop.train` raises.
        InvalidData: The validation split is smaller than the surrogate set asked for.
        NoFeasibleArchitecture: No path keeps the loosest limit.
    """
    return train(
        space,
        data,
        settings,
        run_dir,
        method=METHOD,
        paths=greedy_paths(space, data, settings, greedy, budgets=budgets),
        options=greedy_options(greedy, budgets),
        source=source,
        on_epoch=on_epoch,
        on_step=on_step,
    )


def greedy_paths(
    space: SearchSpace,
    data: ImageData,
    settings: TrainSettings,
    greedy: GreedySettings,
    *,
    budgets: Sequence[LatencyBudget] = (),
) -> GreedyPaths:
    """Return the sampler of a run; arguments and errors as `train_greedynas`."""
    count = greedy.surrogate_for(settings.batch)
    if count > len(data.validation):
        raise InvalidData(
            f"a surrogate set of {count} images is more than the {len(data.validation)} validation "
            f"images of {data.name!r}: lower surrogate in the settings, or add images"
        )
    limits = tuple(sorted(budgets, key=lambda budget: budget.target.limit_s))
    epoch_steps = len(data.training) // settings.batch
    return GreedyPaths(
        space=space,
        within=PathsWithin(space=space, budgets=limits[-1:]),
        surrogate=surrogate_images(data, count),
        settings=greedy,
        steps=epoch_steps * settings.epochs,
        epoch_steps=epoch_steps,
        pool=CandidatePool(capacity=greedy.pool, limits=limits),
    )


def greedy_options(greedy: GreedySettings, budgets: Sequence[LatencyBudget]) -> dict[str, Any]:
    """Return what a run of the method must share with the one that it takes up."""
    return {"greedynas": asdict(greedy), "budgets": limits_option(budgets)}


def greedy_from_toml(path: Path) -> GreedySettings:
    """Read the table ``[greedynas]`` of a file of settings; the defaults where it has none.

    Raises:
        InvalidFile: The file is missing, no TOML, or a value is out of its range.
        UnknownName: There is no such setting; says the nearest.
    """
    return section_from_toml(path, METHOD, GreedySettings())


def surrogate_images(data: ImageData, count: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return the first validation images, in as few batches of equal size as fit in memory."""
    batches = -(-count // SURROGATE_BATCH)
    size = -(-count // batches)
    found, left = [], count
    for images, labels in data.validation.batches(size):
        if not left:
            break
        found.append((images[:left], labels[:left]))
        left -= len(found[-1][1])
    return tuple(found)


def read_pool(run_dir: Path) -> CandidatePool:
    """Return the pool of a run.

    Raises:
        InvalidFile: There is no run, no finished epoch, or the run has no pool.
    """
    record = read_record(run_dir)
    if record.method != METHOD:
        raise InvalidFile(
            f"the run in {run_dir} was trained by {record.method!r}, which keeps no pool of paths: "
            f"search it with nsga2, or train one with {METHOD}"
        )
    losses = _losses(read_checkpoint(run_dir).sampler)
    return CandidatePool(capacity=record.options["greedynas"]["pool"], losses=losses)


def read_turnovers(run_dir: Path) -> tuple[float, ...]:
    """Return which share of a run's pool changed, epoch by epoch since it was full.

    Raises:
        InvalidFile: There is no run, or no finished epoch.
    """
    return tuple(read_checkpoint(run_dir).sampler["turnovers"])


def chance_of_good(drawn: int, *, good: int, share: float) -> float:
    """Return the probability that at least ``good`` of the paths drawn are good ones.

    Args:
        drawn: Paths drawn uniformly and independently, m.
        good: How many are wanted, k.
        share: Share of good paths in the space, q.

    Source:
        GreedyNAS, section 3.1: 0.8338 for m = 10, k = 5, q = 0.6.
    """
    terms = (comb(drawn, j) * share**j * (1 - share) ** (drawn - j) for j in range(good, drawn + 1))
    return sum(terms)


def cost_images(trained: int, *, scored: int, phi: float) -> float:
    """Return what a training costs, in images that are trained on.

    Args:
        trained: Images that went forward and backward, counted once for each path.
        scored: Images that candidates were scored on.
        phi: Cost of scoring an image over that of training on it; about a third, see the benches.
    """
    return trained + phi * scored


def _losses(state: dict[str, Any]) -> dict[Architecture, float]:
    return {Architecture(tuple(choices)): loss for choices, loss in state["pool"]}
