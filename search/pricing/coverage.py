"""What has to be measured so that every network of a space can be predicted."""

from collections.abc import Mapping

import numpy as np

from devices import LatkitError
from lut import Role
from profiler import Chain, contexts, in_context, macs
from search.space import Architecture, SearchSpace

CALIBRATION_NETWORKS = 20
"""Whole networks behind base, slope and intervals: as many as conformal quantiles need."""

DRAWS_PER_NETWORK = 20
"""Draws of a sample at most, for each network that is wanted or avoided."""


class TooFewNetworks(LatkitError):
    """As far as draws tell, a space has fewer unmeasured networks than are asked for."""


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
    for chain in whole_networks(space, networks, seed=seed):
        wanted[chain] = "calibration"
    return wanted


def whole_networks(space: SearchSpace, count: int, *, seed: int) -> list[Chain]:
    """Return networks that sums over operators are corrected by: both ends, and drawn ones.

    Args:
        space: The space.
        count: How many; fewer where the space is that small.
        seed: Of the drawn ones.
    """
    ends = {space.chain(arch): arch for arch in ends_of(space)[:count]}
    rng = np.random.default_rng(seed)
    drawn = spread_sample(space, count - len(ends), rng, avoid=ends)
    return [*ends, *map(space.chain, drawn)]


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
        TooFewNetworks: So many draws gave fewer others.
    """
    rng = np.random.default_rng(seed)
    drawn = spread_sample(space, count, rng, avoid=known)
    if len(drawn) < count:
        raise TooFewNetworks(
            f"space {space.name!r} gave {len(drawn):,} networks that were not measured yet in "
            f"{_draws(count, known):,} draws, not {count:,}: ask for fewer"
        )
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
    for _ in range(_draws(count, avoid or {})):
        if len(drawn) == count:
            break
        weights = [np.exp(taste * score) for taste in [rng.uniform(-2, 2)] for score in scores]
        picks = (rng.choice(len(weight), p=weight / weight.sum()) for weight in weights)
        arch = space.canonical(Architecture(tuple(int(pick) for pick in picks)))
        if space.computes(arch) and space.chain(arch) not in (avoid or {}):
            drawn[arch] = None
    return list(drawn)


def _draws(count: int, avoid: Mapping[Chain, object]) -> int:
    return DRAWS_PER_NETWORK * (count + len(avoid))
