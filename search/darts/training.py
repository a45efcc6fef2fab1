"""DARTS over our choice blocks: architectures relaxed to mixtures, with a latency term.

Every layer is the sum of all its choices, weighted by a softmax over parameters alpha. In turn,
alpha takes a step on images of one half of the training split and the weights on those of the other
(first order: alpha's gradient sees the weights as they are). The loss of alpha also has the
expected latency, an exact sum over the additive view of the table. Each limit has an alpha of its
own; all share the weights, and take turns.

In the end each alpha is projected: of all networks that keep the limit the one with the largest
sum of log probabilities, exactly (`search.exact.best_additive`). On a few-shot run each child is
relaxed over its own part, from its own weights, and validation chooses among what they come to.

Source:
    Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, section 2 and its released
    constants; Cai et al., ProxylessNAS, ICLR 2019, section 3.3, for the latency term. Deviations:
    only what exceeds the limit is punished, since the projection would waste what is left below;
    batch norm of alpha's step uses the batch, and leaves the running statistics alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from devices import InvalidFile, LatkitError
from lut import LatencyBudget
from profiler import Skip
from search.darts.alphas import AlphaPaths, DartsSettings
from search.exact import best_additive, check_additive, check_feasible
from search.images.data import ImageData, Split
from search.space import Architecture, SearchSpace
from search.splits.routed import keep_part
from search.splits.split import Part, runs
from search.supernets.supernet import Supernet
from search.training.loop import OnEpoch, run_training
from search.training.runs import (
    EpochMetrics,
    RunRecord,
    limits_option,
    read_checkpoint,
    record_of,
)
from search.training.settings import TrainSettings, section_from_toml
from search.training.state import OnStep, Training
from search.training.trained import TrainedRun
from search.training.workers import Worker

METHOD = "darts"

OUTSIDE = -1e9
"""Log probability of a choice outside the part: no sum with one of them is ever the best."""

MOST_CHOICES = 64
"""Choices of a layer that are mixed at most: all of them run in every step."""


class NotRelaxed(LatkitError):
    """A space has no relaxation here: its layers have too many choices to run them all."""


def darts_from_toml(path: Path) -> DartsSettings:
    """Read the table ``[darts]`` of a file of settings; the defaults where it has none.

    Raises:
        InvalidFile: The file is missing, no TOML, or a value is out of its range.
        UnknownName: There is no such setting; says the nearest.
    """
    return section_from_toml(path, METHOD, DartsSettings())


class _DartsTraining(Training):
    """Everything that changes while a relaxation is trained."""

    paths: AlphaPaths

    def run_epoch(self, data: ImageData, on_step: OnStep | None) -> EpochMetrics:
        """Go through the training split once; the images of alpha count with it."""
        before = self.paths.trained_images
        metrics = super().run_epoch(data, on_step)
        return replace(metrics, images=metrics.images + self.paths.trained_images - before)

    def _step(
        self, images: Tensor, labels: Tensor, archs: Sequence[Architecture]
    ) -> tuple[float, int]:
        # the first process alone steps alpha
        self._gates = self.worker.agree(lambda: self.paths.gates().detach())
        return super()._step(images, labels, archs)

    def _logits(self, images: Tensor, arch: Architecture) -> Tensor:
        return self.supernet.mixture(images, self._gates.to(images.device))


def train_darts(
    part: Part,
    data: ImageData,
    settings: TrainSettings,
    darts: DartsSettings,
    run_dir: Path,
    *,
    budgets: Sequence[LatencyBudget],
    record: RunRecord | None = None,
    weights: Path | None = None,
    source: str | None = None,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
) -> TrainedRun:
    """Train a relaxation, or go on where the run stopped.

    Args:
        part: What is relaxed: the whole space, or a child's part of it.
        data: Its training split is halved, for the weights and for alpha.
        settings: How the weights are trained.
        darts: How alpha is.
        run_dir: New, empty, or of an earlier run with the same arguments.
        budgets: Limits on one device, one or more.
        record: Of the run; None for that of a relaxation of the whole space.
        weights: Run of the same part to start from; None for fresh weights.
        source: What `search.images.data.load_data` was given; None where that is the name of
            ``data``.
        on_epoch: Called after every epoch.
        on_step: Called after every step.

    Raises:
        LatkitError: What `search.training.loop.train` raises.
        NotRelaxed: Layers have too many choices.
        NotAdditive: Latency is no sum over the layers of the space.
        NoFeasibleArchitecture: A limit is below the minimum of the space.
    """
    space = part.space
    check_relaxed(space, budgets)
    for budget in budgets:
        check_feasible(space, [budget])
    record = record or record_of(
        METHOD, space, data, settings, source=source, options=darts_options(darts, budgets)
    )
    fitted, held_out = halves(data)
    paths = AlphaPaths(part, budgets, held_out, darts, batch=settings.batch, seed=settings.seed)

    def prepare(supernet: Supernet) -> None:
        keep_part(supernet, part)
        if weights is not None:
            supernet.load_state_dict(read_checkpoint(weights).model)

    def make(worker: Worker) -> _DartsTraining:
        return _DartsTraining(space, fitted, settings, paths, worker, prepare=prepare)

    state = run_training(
        make,
        space,
        fitted,
        settings,
        run_dir,
        record=record,
        on_epoch=None if on_epoch is None else lambda _, metrics: on_epoch(metrics),
        on_step=on_step,
    )
    return TrainedRun(supernet=state.supernet.eval().cpu(), record=record, epoch=state.epoch)


def check_relaxed(space: SearchSpace, budgets: Sequence[LatencyBudget] = ()) -> None:
    """Check that all choices of a layer can run in every step, and that each has a latency.

    Raises:
        NotRelaxed: There are too many.
        NotAdditive: The budgets' latencies are no sums over the layers.
    """
    most = max(map(len, space.layers))
    if most > MOST_CHOICES:
        raise NotRelaxed(
            f"layers of space {space.name!r} have up to {most} choices, and a relaxation runs all "
            f"of them in every step, at most {MOST_CHOICES}: train sgnas, or another space"
        )
    for budget in budgets:
        check_additive(space, budget.model)


def halves(data: ImageData) -> tuple[ImageData, Split]:
    """Return the data with the first half of its training split, and the other half."""
    split, half = data.training, len(data.training) // 2
    return replace(data, training=split.first(half)), split.of(np.arange(half, len(split)))


def darts_options(darts: DartsSettings, budgets: Sequence[LatencyBudget]) -> dict[str, Any]:
    """Return what a run of the method must share with the one that it takes up."""
    return {METHOD: asdict(darts), "budgets": limits_option(budgets)}


def derived(
    run_dir: Path, part: Part, budgets: Sequence[LatencyBudget]
) -> tuple[Architecture | None, ...]:
    """Return for each limit the network that its alpha comes to, in canonical form.

    Args:
        run_dir: Of the relaxation.
        part: What was relaxed.
        budgets: Those of the training, in its order.

    Returns:
        Of all networks within the limit that of the largest sum of log probabilities. None where
        no network of the part keeps the limit.

    Raises:
        InvalidFile: The run is no relaxation with so many limits.
        TooManyNetworks: See `search.exact.best_additive`.
    """
    alphas = read_checkpoint(run_dir).sampler.get("alphas", [])
    if len(alphas) != len(budgets):
        raise InvalidFile(
            f"the run in {run_dir} has relaxed {len(alphas)} limits, not {len(budgets)}: train it "
            "for these, in another directory"
        )
    return tuple(
        projected(alpha, part, budget) for alpha, budget in zip(alphas, budgets, strict=True)
    )


def projected(alpha: Tensor, part: Part, budget: LatencyBudget) -> Architecture | None:
    """Return what one alpha, ``(layers, choices)``, comes to; see `derived`."""
    scores: NDArray[np.float64] = np.full(tuple(alpha.shape), OUTSIDE)
    for layer, choices in enumerate(part.allowed):
        picked = list(choices)
        scores[layer, picked] = torch.log_softmax(alpha[layer, picked].double(), dim=0).numpy()
    found = []
    for way in _ways(part):
        inside = np.full_like(scores, OUTSIDE)
        for layer, choices in enumerate(way):
            inside[layer, list(choices)] = scores[layer, list(choices)]
        found.append(best_additive(inside, budget, space=part.space))
    best = max(found, key=lambda each: each.score)
    return part.space.canonical(best.arch) if best.score > OUTSIDE / 2 else None


def _ways(part: Part) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Return choices of every layer such that all their networks are in a part, and together all.

    In a run of layers with a split, blocks come first and skips last, as in the canonical form:
    one way for every number of blocks. Elsewhere skips may stand anywhere.
    """
    split = {layer for layer, _ in part.groups}
    options: list[list[tuple[tuple[int, ...], ...]]] = []
    for run in runs(part.space):
        allowed = part.allowed[run.start : run.stop]
        if not split & set(run):
            options.append([allowed])
            continue
        ops = part.space.layers[run.start]
        ways = (
            tuple(
                tuple(c for c in choices if isinstance(ops[c], Skip) == (place >= blocks))
                for place, choices in enumerate(allowed)
            )
            for blocks in range(len(run) + 1)
        )
        options.append([way for way in ways if all(way)])
    for combination in product(*options):
        yield tuple(chain(*combination))
