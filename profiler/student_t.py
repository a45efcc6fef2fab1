"""Quantiles for few observations, without a statistics package in the core."""

import math
from functools import lru_cache
from statistics import NormalDist

MANY = 200
"""Degrees from which on the series around the normal quantile is right to 1e-7, for shares up to
1 - 1e-9. With fewer the distribution is inverted."""

HALVINGS = 60
"""Of an angle, to the precision of a float."""


@lru_cache(maxsize=1024)
def student_t_quantile(share: float, degrees: int) -> float:
    """Return a quantile of Student's t distribution.

    Args:
        share: In (0, 1).
        degrees: Degrees of freedom, 1 or more.

    Raises:
        ValueError: There is no such quantile.
    """
    if not (0.0 < share < 1.0 and degrees >= 1):
        raise ValueError(f"Student's t has no quantile {share} for {degrees} degrees of freedom")
    if share < 0.5:
        return -student_t_quantile(1 - share, degrees)
    if degrees == 1:
        return math.tan(math.pi * (share - 0.5))
    if degrees == 2:
        return (2 * share - 1) * math.sqrt(2 / (4 * share * (1 - share)))
    return _by_halving(share, degrees) if degrees < MANY else _by_series(share, degrees)


def _by_halving(share: float, degrees: int) -> float:
    """Find the angle ``atan(t / sqrt(degrees))``, which has ends."""
    low, high = 0.0, math.pi / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _within(middle, degrees) < 2 * share - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """Return the probability that t is no farther from 0 than ``sqrt(degrees) * tan(angle)``.

    Source:
        Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4: exact, for 2
        degrees or more.
    """
    odd, square = degrees % 2, math.cos(angle) ** 2
    total = term = math.cos(angle) if odd else 1.0
    for power in range(2 + odd, degrees - 1, 2):
        term *= square * (power - 1) / power
        total += term
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def _by_series(share: float, degrees: int) -> float:
    """Return the asymptotic series around the normal quantile.

    Source:
        Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    z, n = NormalDist().inv_cdf(share), degrees
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
    )
