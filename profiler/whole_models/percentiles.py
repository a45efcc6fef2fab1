"""Percentiles of single runs, each with its interval, and only where there are enough runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BEYOND = 10
"""Runs slower than a percentile that it takes to name it: p90 needs 100 runs, p99 needs 1,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """A latency that so many of a hundred runs keep.

    Attributes:
        percent: In [50, 100).
        latency_s: Seconds.
        low_s: Lower end of the interval.
        high_s: Upper end.
    """

    percent: float
    latency_s: float
    low_s: float
    high_s: float


def runs_needed(percent: float) -> int:
    """Return how many runs it takes to name a percentile."""
    return _whole(100 * BEYOND / (100 - percent))


def _whole(number: float) -> int:
    """Return the next whole number; what is a hair above one is that one."""
    return math.ceil(round(number, 6))


def percentile(
    runs_s: Sequence[float], percent: float, *, coverage: float = 0.95
) -> Percentile | None:
    """Return a percentile of single runs; None where they are too few.

    The interval has two of the runs for its ends. How many runs lie below the true percentile is
    binomial, whatever their distribution, so the ranks of those two follow from their number alone.
    Runs must be independent for that; neighbours in time are not quite, so the true interval is a
    little wider.

    Source:
        David and Nagaraja, Order Statistics, 3rd edition, section 7.1.

    Args:
        runs_s: Seconds, one number a run: means of several runs hide the slow ones among them.
        percent: In [50, 100).
        coverage: Of the interval, in (0, 1).

    Raises:
        ValueError: The percentile or the coverage is out of range.
    """
    if not 50 <= percent < 100 or not 0.0 < coverage < 1.0:
        raise ValueError(f"no percentile {percent} with coverage {coverage}")
    if len(runs_s) < runs_needed(percent):
        return None
    ordered = sorted(runs_s)
    low, high = _ranks(len(ordered), percent / 100, coverage)
    return Percentile(
        percent=percent,
        latency_s=ordered[_whole(len(ordered) * percent / 100) - 1],
        low_s=ordered[low - 1],
        high_s=ordered[high - 1],
    )


def _ranks(runs: int, share: float, coverage: float) -> tuple[int, int]:
    """Return the ranks, from 1, between which a percentile lies with this probability."""
    k = np.arange(runs + 1)
    choices = np.array([math.lgamma(i + 1) for i in k])
    log_chance = choices[-1] - choices - choices[::-1]
    log_chance += k * math.log(share) + (runs - k) * math.log1p(-share)
    below = np.cumsum(np.exp(log_chance))  # [k]: chance of k runs or fewer below the percentile
    tail = (1 - coverage) / 2
    low = int(np.searchsorted(below, tail, side="right"))
    high = int(np.searchsorted(below, 1 - tail, side="left")) + 1
    return max(low, 1), min(high, runs)
