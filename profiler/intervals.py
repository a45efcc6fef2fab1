"""Intervals from few observations: medians drawn again, and ratios that are averaged."""

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from profiler.student_t import student_t_quantile

BOOTSTRAPS = 200

Groups = Sequence[Sequence[NDArray[np.float64]]]
"""Values by process, then slice."""


def mean_ratio(logs: Sequence[float], coverage: float) -> tuple[float, float, float]:
    """Return the geometric mean of ratios, and where it would lie with others of their kind.

    One ratio says nothing of others: then that is from 0 to infinity.

    Args:
        logs: Logarithms of the ratios, one or more.
        coverage: Two-sided, in (0, 1).
    """
    mean = float(np.mean(logs))
    if len(logs) < 2:
        return math.exp(mean), 0.0, math.inf
    quantile = student_t_quantile((1 + coverage) / 2, len(logs) - 1)
    reach = quantile * float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - reach), math.exp(mean + reach)


def pooled_median(values: Sequence[NDArray[np.float64]]) -> float:
    """Return the median of all values, whichever slice they are of."""
    return float(np.median(np.concatenate(values)))


def median_interval(groups: Groups, coverage: float) -> tuple[float, float]:
    """Return where the median of all values would lie with other processes and slices.

    Args:
        groups: Values by process, then slice.
        coverage: Two-sided, in (0, 1).
    """
    draws = _drawn_medians(groups)
    center = pooled_median([values for group in groups for values in group])
    low, high = np.quantile(draws, [(1 - coverage) / 2, (1 + coverage) / 2])
    # The bootstrap may lie to one side of what was seen; the interval must hold that, too.
    low, high = min(low, center), max(high, center)
    stretch = _stretch(len(groups), (1 + coverage) / 2)
    return center - stretch * (center - float(low)), center + stretch * (float(high) - center)


def _drawn_medians(groups: Groups) -> NDArray[np.float64]:
    """Return ``(BOOTSTRAPS,)`` medians over slices that were drawn again.

    All values are sorted once; how often each of them was drawn says which is in the middle.
    """
    slices = [values for group in groups for values in group]
    values = np.concatenate(slices)
    order = np.argsort(values)
    slice_of = np.repeat(np.arange(len(slices)), [len(each) for each in slices])
    drawn = _times_drawn(tuple(map(len, groups)))[:, slice_of[order]]  # (draws, values)
    up_to = drawn.cumsum(axis=1)
    count = up_to[:, -1:]
    below, above = (
        values[order[(up_to <= place).sum(axis=1)]] for place in ((count - 1) // 2, count // 2)
    )
    medians: NDArray[np.float64] = (below + above) / 2
    return medians


@lru_cache(maxsize=32)
def _times_drawn(sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """Return ``(BOOTSTRAPS, slices)`` times that each slice is drawn: by process, then within it.

    Graphs of one table mostly have the same numbers of slices, and so share their draws.

    Args:
        sizes: Slices of each process.
    """
    rng = np.random.default_rng(0)  # a statistic of fixed samples must not vary
    firsts = np.cumsum((0, *sizes))
    times = np.zeros((BOOTSTRAPS, firsts[-1]), dtype=np.int64)
    for row in times:
        for process in rng.integers(len(sizes), size=len(sizes)):
            picked = rng.integers(sizes[process], size=sizes[process])
            row += np.bincount(firsts[process] + picked, minlength=len(row))
    times.setflags(write=False)
    return times


def _stretch(processes: int, share: float) -> float:
    """Return how much wider an interval from few processes must be than its bootstrap."""
    if processes < 2:
        return 1.0
    ratio = student_t_quantile(share, processes - 1) / NormalDist().inv_cdf(share)
    return ratio * math.sqrt(processes / (processes - 1))
