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

    With `CONFORMAL_NETWORKS` or more the quantiles are conformal: the smallest order statistic
    whose rank covers the share asked for, ``ceil((n + 1) * share)``. With fewer they assume
    normally distributed logarithms and use Student's t: wider, and labelled so.

    Source:
        Vovk et al., Algorithmic Learning in a Random World, 2005, section 2.2 (split conformal);
        the leave-one-out residuals of Barber et al., Predictive inference with the jackknife+,
        Annals of Statistics 2021.

    Attributes:
        ratios: Measured over predicted, one a network, each predicted without itself.
    """

    ratios: tuple[float, ...]

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
        rank = math.ceil((len(self.ratios) + 1) * confidence)
        if self.kind == "conformal" and rank <= len(self.ratios):
            return sorted(self.ratios)[rank - 1]
        logs = np.log(self.ratios)
        upper = math.exp(logs.mean() + _t_margin(logs, confidence))
        return max(upper, *self.ratios) if self.kind == "conformal" else upper

    def around(self, coverage: float) -> tuple[float, float]:
        """Return the factors, about 1, that a new network lies between with this probability.

        Args:
            coverage: In (0, 1), two-sided.
        """
        sizes = sorted(abs(math.log(ratio)) for ratio in self.ratios)
        rank = math.ceil((len(sizes) + 1) * coverage)
        if self.kind == "conformal" and rank <= len(sizes):
            width = sizes[rank - 1]
            return math.exp(-width), math.exp(width)
        logs = np.log(self.ratios)
        width = _t_margin(logs, (1 + coverage) / 2)
        low, high = math.exp(logs.mean() - width), math.exp(logs.mean() + width)
        if self.kind == "conformal":  # never narrower than what has been seen
            return min(low, math.exp(-sizes[-1])), max(high, math.exp(sizes[-1]))
        return low, high


def _t_margin(logs: NDArray[np.float64], share: float) -> float:
    """Return how far one more draw lies from the mean at most, with this probability."""
    spread = float(logs.std(ddof=1)) * math.sqrt(1 + 1 / len(logs))
    return student_t_quantile(share, len(logs) - 1) * spread
