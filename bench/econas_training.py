"""The part of `bench.econas` that trains: searches of the macro space, judged by its truth."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.econas_problems import Problem, Rows, budget, curve, free, problem_of, trials_of
from bench.econas_scale import Scale, images_at, macro_truth, search_settings
from lut import ErrorBand, LatencyBudget, LatencyModel
from profiler import macs, total_macs
from search.econas.hierarchy import ASHA, FLAT, METHOD, PRESETS, RANDOM, EconasSettings
from search.econas.on_data import ProxySearch, TrainedAccuracy, trainer_for
from search.images.data import ImageData
from search.metrics import spearman
from search.searcher import Candidate
from search.space import Architecture, SearchSpace
from search.training.pool import pool_of

MAC_LIMIT = 45e6
"""Limit of the searches that train, in operations of the full network at 32 pixels."""

OPERATIONS_PER_S = 1e9
"""Of the device that prices by operations alone."""


def training(data: Path, scale: Scale, runs: Path, *, workers: int) -> tuple[Rows, list[str]]:
    """Search the macro space by every method that trains its candidates.

    Args:
        data: Folder of images and tables.
        scale: How much.
        runs: Where trained networks stay.
        workers: Processes that train at once.

    Returns:
        Rows; and lines that say how well trained networks ranked, whatever searched them.
    """
    truth, space = macro_truth(data)
    problem = problem_of("training", truth, space, operations_budget(space, MAC_LIMIT))
    small = replace(
        PRESETS["small"],
        cycles=scale.cycles,
        images=scale.images,
        validation=scale.validation,
    )
    images = images_at(data, small.proxy.side(space.input_shape[2]))
    rows: Rows = []
    lines: list[str] = []
    for seed in range(scale.seeds):
        settings = search_settings(scale, seed=seed)
        search = ProxySearch(settings=small, training=settings, seed=seed)
        work = runs / "training" / f"seed-{seed}"
        judged: list[Candidate] = []
        for method in (METHOD, FLAT, ASHA, RANDOM):
            asked = replace(search, method=method)
            found = trained(problem, asked, images, work, workers=workers)
            rows += curve_of(problem, asked, found)
            judged += found if method != FLAT else []  # which has epochs of its own
        rows += free(problem, seed, draws=scale.draws)
        lines.append(ranked(problem, judged, small))
    return rows, lines


def trained(
    problem: Problem, search: ProxySearch, data: ImageData, work: Path, *, workers: int
) -> tuple[Candidate, ...]:
    """Search by a method whose candidates are trained; return all that was judged, in order."""
    trainer = trainer_for(search, space=problem.space, data=data, work=work)
    with pool_of(trainer, workers=workers) as pool:
        accuracy = TrainedAccuracy(pool=pool)
        return trials_of(problem, search.method, search.sizes, accuracy, seed=search.seed)


def curve_of(problem: Problem, search: ProxySearch, judged: Sequence[Candidate]) -> Rows:
    """Return the regret of a search against the epochs that it took: levels go on."""
    reached: dict[Architecture, int] = {}
    costs = []
    for each in judged:
        epochs = search.sizes.epochs[each.effort - 1]
        costs.append(epochs - reached.get(each.arch, 0))
        reached[each.arch] = epochs
    total = search.settings.total_epochs
    return curve(problem, search.method, search.seed, judged, costs, total=total)


def ranked(problem: Problem, judged: Sequence[Candidate], settings: EconasSettings) -> str:
    """Say how well accuracies at each level follow the truth, beside operations."""
    parts = []
    for effort, epochs in enumerate(settings.epochs, start=1):
        found = {
            each.arch: each.accuracy
            for each in judged
            if each.effort == effort and each.accuracy is not None
        }
        archs = list(found)
        true = np.array(problem.truth(archs))
        operations = [float(total_macs(problem.space.chain(arch))) for arch in archs]
        ours, theirs = (spearman(np.array(v), true) for v in (list(found.values()), operations))
        parts.append(
            f"{len(archs)} networks after {epochs} epochs {ours:.2f} (operations {theirs:.2f})"
        )
    return f"training: Spearman with the truth of {', '.join(parts)}"


def operations_budget(space: SearchSpace, limit: float) -> LatencyBudget:
    """Return a limit on operations, as one on a device that does nothing else."""
    costs = space.costs(lambda op: macs(op) / OPERATIONS_PER_S)
    cost_s = np.full((len(costs), max(map(len, costs))), np.inf)
    for row, layer in zip(cost_s, costs, strict=True):
        row[: len(layer)] = layer
    model = LatencyModel(
        device="operations",
        base_s=total_macs((*space.before, *space.after)) / OPERATIONS_PER_S,
        cost_s=cost_s,
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="operations",
    )
    return budget(model, limit / OPERATIONS_PER_S)
