"""Which range of a tensor 8-bit integers stand for: rules that look at a histogram.

Every rule but the smallest and largest value cuts off outliers, so that the many numbers between
them get finer steps. ONNX Runtime's calibrators know three of them. Its histograms are not used
here: it keeps every tensor of every image until it has seen the last one, needs a pass over the
images for each rule and a second for the entropy of each tensor, prints, and has no squared error.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

RangeRule = Literal["minmax", "percentile", "entropy", "mse"]

Range: TypeAlias = tuple[float, float]
"""Smallest and largest number that an integer stands for."""

BINS = 2048
"""Of a histogram; ONNX Runtime's number for percentiles."""

LEVELS = 255
"""Steps from the smallest to the largest integer of 8 bits."""

PERCENT_INSIDE = 99.99
"""Of the numbers, what the rule ``percentile`` keeps.

Source:
    Wu et al., Integer Quantization for Deep Learning Inference, 2020, table 5: of 99.9, 99.99 and
    99.999, it is the best or next to it for most networks of images.
"""

WINDOWS = 128
"""How many windows around 0 the rules ``entropy`` and ``mse`` try."""

FLOOR = 1e-6
"""Share of a window that an empty step counts as: an outlier there must not cost infinitely."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histogram:
    """How often numbers occur in a tensor, over all images.

    Attributes:
        low: The smallest that occurs.
        high: The largest.
        counts: In bins of equal width from ``low`` to ``high``, ``(bins,)``.
    """

    low: float
    high: float
    counts: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"no numbers are from {self.low} to {self.high}")
        if not self.counts.sum():
            raise ValueError("a histogram without a number has no range")

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of every bin, ``(bins,)``."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return (edges[1:] + edges[:-1]) / 2.0

    def without_zeros(self) -> "Histogram":
        """Return the same with no more zeros than their neighbours.

        Half of what a rectifier gives is 0, which integers hold exactly: it says nothing of steps.
        """
        if not self.low <= 0.0 <= self.high or self.low == self.high:
            return self
        width = (self.high - self.low) / len(self.counts)
        place = min(int(-self.low / width), len(self.counts) - 1)
        counts = self.counts.copy()
        beside = np.delete(counts[max(place - 1, 0) : place + 2], min(place, 1))
        counts[place] = min(counts[place], beside.max())
        return replace(self, counts=counts) if counts.any() else self

    def window(self, share: float) -> Range:
        """Return the part of the range within a share of its largest magnitude."""
        reach = share * max(abs(self.low), abs(self.high))
        return max(self.low, -reach), min(self.high, reach)


def range_of(histogram: Histogram, rule: RangeRule, *, symmetric: bool = False) -> Range:
    """Return the range that a rule gives a tensor, within the one that occurs.

    Args:
        histogram: Of the tensor.
        rule: ``minmax`` takes all that occurs; ``percentile`` leaves out the rarest at both ends;
            ``entropy`` loses the least information; ``mse`` has the smallest squared error.
        symmetric: Whether the integers are centred on 0, so that a one-sided tensor has half.
    """
    if rule == "minmax" or histogram.low == histogram.high:
        return histogram.low, histogram.high
    if rule == "percentile":
        return _percentile(histogram)
    loss, judged = _LOSSES[rule], histogram.without_zeros()
    windows = [histogram.window(number / WINDOWS) for number in range(1, WINDOWS + 1)]
    possible = [window for window in windows if window[0] < window[1]]
    return min(possible, key=lambda window: loss(judged, _with_zero(window, symmetric)))


def _with_zero(window: Range, symmetric: bool) -> Range:
    """Return what integers cover that are to cover a window: 0 is always one of them."""
    low, high = min(window[0], 0.0), max(window[1], 0.0)
    reach = max(-low, high)
    return (-reach, reach) if symmetric else (low, high)


def _percentile(histogram: Histogram) -> Range:
    """Cut off half of what is to stay outside at either end, in whole bins."""
    below = np.cumsum(histogram.counts) / histogram.counts.sum()
    outside = (1.0 - PERCENT_INSIDE / 100.0) / 2.0
    edges = np.linspace(histogram.low, histogram.high, len(below) + 1)
    first, last = np.searchsorted(below, (outside, 1.0 - outside))
    return float(edges[first]), float(edges[last + 1])


def _squared_error(histogram: Histogram, window: Range) -> float:
    """Return the mean square of what rounding and cutting off change."""
    low, high = window
    values = histogram.centres
    cut = values - np.clip(values, low, high)
    rounding = ((high - low) / LEVELS) ** 2 / 12.0
    return float(np.average(cut**2 + rounding * (cut == 0.0), weights=histogram.counts))


def _divergence(histogram: Histogram, window: Range) -> float:
    """Return the Kullback-Leibler divergence of the rounded numbers from the numbers, in nats.

    Source:
        Migacz, 8-bit Inference with TensorRT, GTC 2017: outliers count as the window's ends, and
        the numbers of a step are spread evenly over those of its bins that are not empty.
        Zeros are left out as in NVIDIA's pytorch-quantization, calib/histogram.py. Deviation:
        windows are `WINDOWS` shares of the largest magnitude, and may be one-sided.
    """
    low, high = window
    values, counts = histogram.centres, histogram.counts.astype(np.float64)
    inside = (values >= low) & (values <= high)
    if not inside.any():
        return float("inf")
    kept = counts[inside]
    outside = np.array([counts[values < low].sum(), counts[values > high].sum()])
    step = np.minimum(((values[inside] - low) / (high - low) * LEVELS).astype(int), LEVELS - 1)
    occupied = (kept > 0.0).astype(np.float64)
    mass = np.bincount(step, kept, LEVELS)
    share = mass / np.maximum(np.bincount(step, occupied, LEVELS), 1.0)
    rounded = share[step] * occupied
    exact = kept.copy()
    exact[0], exact[-1] = exact[0] + outside[0], exact[-1] + outside[1]
    p = exact / exact.sum()
    q = np.maximum(rounded / max(rounded.sum(), 1.0), FLOOR)
    seen = p > 0.0
    return float((p[seen] * np.log(p[seen] / q[seen])).sum())


_LOSSES: dict[str, Callable[[Histogram, Range], float]] = {
    "entropy": _divergence,
    "mse": _squared_error,
}

RULES: tuple[RangeRule, ...] = ("minmax", "percentile", "entropy", "mse")
"""In the order in which they are tried."""
