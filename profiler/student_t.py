"""Quantiles for few observations, without a statistics package in the core."""

import math
from statistics import NormalDist


def student_t_quantile(share: float, degrees: int) -> float:
    """Return a quantile of Student's t distribution.

    Source:
        Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5: the asymptotic series
        around the normal quantile. Exact for 1 and 2 degrees; good to 1 % for shares to 0.995.

    Args:
        share: In [0.5, 1).
        degrees: Degrees of freedom, 1 or more.
    """
    if degrees == 1:
        return math.tan(math.pi * (share - 0.5))
    if degrees == 2:
        return (2 * share - 1) * math.sqrt(2 / (4 * share * (1 - share)))
    z, n = NormalDist().inv_cdf(share), degrees
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
    )
