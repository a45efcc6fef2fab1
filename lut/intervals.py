"""How far a prediction may be off, learnt from networks that were measured."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiler import student_t_quantile

CONFORMAL_NETWORKS = 20
"""Calibration networks from which on the quantiles need no assumption about their shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBand:
    """Ratios of measured to predicted latency on networks that the prediction had not seen.

    They are at one speed of the device, and tomorrow it may have another; and they are of one build
    of each engine, where the device builds any. So its speed in each of the campaign's processes
    and what other builds took are kept beside them, and the spreads are added as independent ones
    are: by their squares, of logarithms. On a steady device these are next to nothing.

    With `CONFORMAL_NETWORKS` or more the quantiles are conformal: the smallest order statistic
    whose rank covers the share asked for, ``ceil((n + 1) * share)``. With fewer they assume
    normally distributed logarithms and use Student's t: wider, and labelled so.

    Source:
        Vovk et al., Algorithmic Learning in a Random World, 2005, section 2.2 (split conformal);
        the leave-one-out residuals of Barber et al., Predictive inference with the jackknife+,
        Annals of Statistics 2021.

    Attributes:
        ratios: Measured over predicted, one a network, each predicted without itself.
        speeds_s: Seconds of the canary in each process; empty where it was not timed.
        builds: Seconds of networks, each built several times, over the mean of its builds; empty
            where nothing is built, or all builds are alike.
    """

    ratios: tuple[float, ...]
    speeds_s: tuple[float, ...] = ()
    builds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.ratios) < 3:
            raise ValueError(f"an error band needs 3 networks or more, got {len(self.ratios)}")

    @property
    def kind(self) -> Literal["conformal", "t"]:
        """How the quantiles are made."""
        return "conformal" if len(self.ratios) >= CONFORMAL_NETWORKS else "t"

    def upper(self, confidence: float) -> float:
        """Return the ratio that a new network stays below with this probability.

        Args:
            confidence: In (0, 1). Where too few networks speak for it (95 % needs 19), Student's
                t takes over, or the largest ratio seen where that is larger: more confidence
                never gives a smaller ratio.
        """
        logs = np.log(self.ratios)
        rank = math.ceil((len(logs) + 1) * confidence)
        if self.kind == "conformal" and rank <= len(logs):
            upper = float(np.sort(logs)[rank - 1])
        else:
            upper = float(logs.mean()) + _t_margin(logs, confidence)
            upper = max(upper, float(logs.max())) if self.kind == "conformal" else upper
        width = max(0.0, upper - float(logs.mean()))
        return math.exp(upper + math.hypot(width, self._other_margin(confidence)) - width)

    def around(self, coverage: float) -> tuple[float, float]:
        """Return the factors, about 1, that a new network lies between with this probability.

        Args:
            coverage: In (0, 1), two-sided.
        """
        logs = np.log(self.ratios)
        sizes = np.sort(np.abs(logs))
        other = self._other_margin((1 + coverage) / 2)
        rank = math.ceil((len(sizes) + 1) * coverage)
        if self.kind == "conformal" and rank <= len(sizes):
            width = math.hypot(float(sizes[rank - 1]), other)
            return math.exp(-width), math.exp(width)
        width = math.hypot(_t_margin(logs, (1 + coverage) / 2), other)
        low, high = math.exp(logs.mean() - width), math.exp(logs.mean() + width)
        if self.kind == "conformal":  # never narrower than what has been seen
            return min(low, math.exp(-sizes[-1])), max(high, math.exp(sizes[-1]))
        return low, high

    def _other_margin(self, share: float) -> float:
        """Return how far another speed and another build may move the logarithm of a latency."""
        spreads = (values for values in (self.speeds_s, self.builds) if len(values) > 1)
        return math.hypot(*(_t_margin(np.log(values), share) for values in spreads))


def _t_margin(logs: NDArray[np.float64], share: float) -> float:
    """Return how far one more draw lies from the mean at most, with this probability."""
    spread = float(logs.std(ddof=1)) * math.sqrt(1 + 1 / len(logs))
    return student_t_quantile(share, len(logs) - 1) * spread
