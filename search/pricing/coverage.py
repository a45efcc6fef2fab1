"""What has to be measured so that every network of a space can be predicted."""

from collections.abc import Mapping

import numpy as np

from lut import Role
from profiler import Chain, contexts, in_context, macs
from search.space import Architecture, SearchSpace

CALIBRATION_NETWORKS = 20
"""Whole networks behind base, slope and intervals: as many as conformal quantiles need."""


def chains_to_measure(
    space: SearchSpace, *, networks: int = CALIBRATION_NETWORKS, seed: int = 0
) -> dict[Chain, Role]:
    """Return everything a table of this space holds, with its role.

    Args:
        space: The space.
        networks: Whole networks to calibrate on: the smallest, the largest, and drawn ones.
        seed: Of those networks.
    """
    wanted: dict[Chain, Role] = {}
    for op in space.operators:
        wanted[in_context(op)] = "operator"
    for op in space.operators:
        for chain in contexts(op):
            wanted.setdefault(chain, "context")
    rng = np.random.default_rng(seed)
    ends = {space.chain(arch): arch for arch in ends_of(space)[:networks]}
    drawn = spread_sample(space, networks - len(ends), rng, avoid=ends)
    for chain in (*ends, *map(space.chain, drawn)):
        wanted[chain] = "calibration"
    return wanted


def ends_of(space: SearchSpace) -> list[Architecture]:
    """Return the architectures of the fewest and of the most operations.

    No draw comes near them, and a line that is fitted without them is off by 10 % there.
    """
    return list(space.ends(macs))


def unseen_networks(
    space: SearchSpace, count: int, *, known: Mapping[Chain, object], seed: int
) -> list[Architecture]:
    """Return distinct architectures that a table has not measured.

    Args:
        space: The space.
        count: How many.
        known: Networks that are not wanted.
        seed: Of the draws.

    Raises:
        ValueError: The space has too few others.
    """
    rng = np.random.default_rng(seed)
    drawn = spread_sample(space, count, rng, avoid=known)
    if len(drawn) < count:
        raise ValueError(f"space {space.name!r} has only {len(drawn)} networks left to check")
    return drawn


def spread_sample(
    space: SearchSpace,
    count: int,
    rng: np.random.Generator,
    *,
    avoid: Mapping[Chain, object] | None = None,
) -> list[Architecture]:
    """Draw distinct architectures from small to large.

    Uniform draws crowd in the middle of a space, while budgets are tight or loose. So every
    network first draws a taste for operations from -2 to 2, then each layer's choice with
    probability proportional to ``exp(taste * standardised operations)``. Taste 0 is uniform.

    Args:
        space: The space.
        count: How many at most; fewer where the space is that small.
        rng: Source of the draws.
        avoid: Networks that are not wanted.
    """
    sizes = space.costs(macs)
    scores = [(size - size.mean()) / (size.std() or 1.0) for size in sizes]
    drawn: dict[Architecture, None] = {}
    for _ in range(20 * (count + len(avoid or {}))):
        if len(drawn) == count:
            break
        weights = [np.exp(taste * score) for taste in [rng.uniform(-2, 2)] for score in scores]
        picks = (rng.choice(len(weight), p=weight / weight.sum()) for weight in weights)
        arch = space.canonical(Architecture(tuple(int(pick) for pick in picks)))
        if space.computes(arch) and space.chain(arch) not in (avoid or {}):
            drawn[arch] = None
    return list(drawn)
