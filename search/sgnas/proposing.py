"""What a generator proposes for many limits at once: its opinions, projected onto every budget."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lut import LatencyBudget, LatencyModel
from lut.sums import joined
from search.sgnas.network import TrainedGenerator
from search.sgnas.projection import nearest_first, project
from search.space import Architecture, SearchSpace, as_choices

COPIES, RANKINGS = 1, 64
"""Noisy opinions on a target, and of all targets together, at least."""

HEAT = 5.0
"""Temperature of the noise: that of the first epoch, since in the last nearly all gates are 0 or 1
and draws would repeat the favourites."""

JITTER = 1e-3
"""How much farther from a target each noisy opinion counts, as a share of the range: the first five
come before the opinions on the next of 181 targets."""

AT_ONCE = 64
"""Opinions on so many networks at once: each is on all choices, of which layers may have 3,072."""


def propose(
    made: TrainedGenerator,
    budgets: Sequence[LatencyBudget],
    *,
    space: SearchSpace,
    most: int,
    rng: np.random.Generator,
) -> list[Architecture]:
    """Return what is worth evaluating for many budgets, by one pass of the generator.

    Its opinion on each budget's own target, and the same with Gumbel noise, which makes draws of
    favourites, are projected onto each budget. Budgets take turns: own opinions first, then noisy
    ones and those on the nearest other targets.

    Args:
        made: The generator.
        budgets: Of the model that it was trained for; each can be kept.
        space: What it generates.
        most: Architectures in all; every budget gets its own favourite even so.
        rng: Of the noise.

    Returns:
        Distinct, in canonical form; each keeps one of the budgets.

    Raises:
        NoFeasibleArchitecture: A budget is below the minimum, which it names.
    """
    wanted = made.latency.shares(np.array([budget.allowed_s for budget in budgets]))
    copies = 1 + max(COPIES, -(-RANKINGS // len(budgets)))
    own = made.scores(wanted)
    noise = HEAT * rng.gumbel(size=(copies, *own.shape))
    noise[0] = 0.0
    scores = (own + noise).reshape(-1, *own.shape[1:])
    later = np.repeat(JITTER * np.arange(copies), len(budgets))
    distance = np.abs(np.tile(wanted, copies)[:, None] - wanted) + later[:, None]
    return nearest_first(
        project(scores, budgets, space=space), space=space, distance=distance, most=most
    )


def opinion_of(
    made: TrainedGenerator, archs: Sequence[Architecture], *, model: LatencyModel
) -> NDArray[np.float64]:
    """Return how likely a generator would draw each network if asked for just its latency.

    Args:
        made: The generator.
        archs: Networks of its space.
        model: What it was trained for.

    Returns:
        ``(archs,)`` log probabilities, larger is better.
    """
    found = []
    for start in range(0, len(archs), AT_ONCE):
        choices = as_choices(list(archs[start : start + AT_ONCE]))
        scores = made.scores(made.latency.shares(model.latency_s(choices)))
        index = joined(choices, model.together)[:, :, None]
        found.append(np.take_along_axis(scores, index, axis=2).sum(axis=(1, 2)))
    return np.concatenate(found) if found else np.zeros(0)
