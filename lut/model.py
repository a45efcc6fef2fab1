"""From operators to networks: what an architecture will cost on a device."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lut.intervals import ErrorBand
from lut.sums import JointSums, LayerSums, layer_sums
from lut.table import Origin
from lut.target import LatencyTarget

COVERAGE = 0.9
"""Share of new networks that a printed interval should hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Predicted latencies of a batch of architectures, with intervals.

    Attributes:
        latency_s: ``(batch,)`` seconds per inference.
        low_s: ``(batch,)`` lower ends of the intervals.
        high_s: ``(batch,)`` upper ends.
        coverage: Share of networks that the intervals should hold.
    """

    latency_s: NDArray[np.float64]
    low_s: NDArray[np.float64]
    high_s: NDArray[np.float64]
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bend:
    """Where a second slope begins.

    Attributes:
        knot_s: Predicted seconds from which on it holds.
        steepening: How much steeper it is, relative; above -1, so that nothing falls.
    """

    knot_s: float
    steepening: float

    def __post_init__(self) -> None:
        if not self.steepening > -1.0:
            raise ValueError(f"a prediction must rise with the sum, got {self.steepening}")

    def __call__(self, line_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return seconds for seconds without the bend; endless ones stay so."""
        beyond_s = np.maximum(0.0, line_s - self.knot_s)
        return line_s + self.steepening * np.where(np.isinf(line_s), 0.0, beyond_s)

    def undone(self, latency_s: float) -> float:
        """Return the seconds without the bend."""
        beyond_s = max(0.0, latency_s - self.knot_s)
        return latency_s - beyond_s + beyond_s / (1 + self.steepening)


@dataclass(frozen=True, kw_only=True)  # no slots: the prepared sums are cached on the instance
class LatencyModel:
    """Prices architectures of one space on one device: a base plus a cost for every choice.

    The additive view, ``base_s`` and ``cost_s``, is what dynamic programming and gradients use;
    `latkit table check` shows on each device how well it holds. A latency rises with that sum,
    beyond a bend with another slope; `undone` leads back to the sum.

    Where latency is no sum over the searched layers, as in a cell, they are priced ``together``:
    as one layer that has a choice for every architecture. Sums over layers do not exist then.

    Attributes:
        device: Name of the device.
        base_s: Seconds of what every network has.
        cost_s: ``(layers, choices)`` seconds, calibrated; ``inf`` where a layer has fewer choices.
            ``(1, architectures)`` where they are priced together; ``inf`` where one cannot be had.
        band: Errors on the calibration networks, each predicted without itself.
        table_hash: Identifies conditions and rows of the table that this came from.
        bend: Where large networks begin to cost more than their sum; None nowhere.
        revision: Of the calibration: how many verdicts were fed back to the table.
        together: Choices of each searched layer where they are priced together: the choice of
            the first layer is the slowest to change in ``cost_s``. None: each has its own price.
        groups: Of layers that are priced together, those that each row of ``cost_s`` looks at;
            none: one row looks at all, see `lut.sums.JointSums`.
        origin: Whether anything was measured.
    """

    device: str
    base_s: float
    cost_s: NDArray[np.float64]
    band: ErrorBand
    table_hash: str
    bend: Bend | None = None
    revision: int = 0
    together: tuple[int, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    origin: Origin = "measured"

    @cached_property
    def _sums(self) -> LayerSums | JointSums:
        if self.together:
            counts = np.array(self.together)
            return JointSums(counts=counts, cost=self.cost_s, groups=self.groups)
        return layer_sums(self.cost_s)

    @property
    def counts(self) -> NDArray[np.intp]:
        """``(layers,)`` choices of each searched layer."""
        return self._sums.counts

    def latency_s(self, choices: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return predicted seconds, ``(batch,)``, of ``choices``, ``(batch, layers)``.

        Raises:
            ValueError: The shape is wrong, or a layer has no such choice.
        """
        line_s = self.base_s + self._sums(choices)
        return line_s if self.bend is None else self.bend(line_s)

    @property
    def ends(self) -> NDArray[np.intp]:
        """``(2, layers)``: choices of the fastest and of the slowest architecture, exactly.

        Priced layers are independent, so the shortest path takes the cheapest choice of each, and
        the longest the dearest; of equal choices the first.
        """
        if isinstance(self._sums, JointSums):
            return self._sums.ends
        dearest = np.where(np.isfinite(self.cost_s), self.cost_s, -np.inf)
        return np.stack([self.cost_s.argmin(axis=1), dearest.argmax(axis=1)])

    def faster(self, choices: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Say of every other choice of every layer whether it alone makes a network faster.

        Args:
            choices: ``(batch, layers)``.

        Returns:
            ``(batch, layers, most choices of a layer)``.
        """
        if not self.together:
            now_s = np.take_along_axis(self.cost_s[None], choices[:, :, None].astype(np.intp), 2)
            return self.cost_s < now_s
        now_s = self._sums(choices)
        gains = np.zeros((*choices.shape, max(self.together)), bool)
        for layer, count in enumerate(self.together):
            for choice in range(count):
                others = choices.copy()
                others[:, layer] = choice
                gains[:, layer, choice] = self._sums(others) < now_s
        return gains

    def undone(self, latency_s: float) -> float:
        """Return the additive view's seconds, base and sum, at which this is predicted."""
        return latency_s if self.bend is None else self.bend.undone(latency_s)

    def price(self, choices: NDArray[np.integer], *, coverage: float = COVERAGE) -> Prices:
        """Predict a batch of architectures, with intervals.

        Args:
            choices: ``(batch, layers)`` integers.
            coverage: Share of new networks that the intervals should hold, in (0, 1).

        Raises:
            ValueError: The shape is wrong, or a layer has no such choice.
        """
        latency_s = self.latency_s(choices)
        low, high = self.band.around(coverage)
        return Prices(
            latency_s=latency_s, low_s=latency_s * low, high_s=latency_s * high, coverage=coverage
        )

    def allowed_s(self, target: LatencyTarget) -> float:
        """Return the largest prediction at which the target holds with its confidence.

        Raises:
            ValueError: The target is for another device.
        """
        if target.device != self.device:
            raise ValueError(f"a target for {target.device!r}, a model of {self.device!r}")
        return target.limit_s / max(1.0, self.band.upper(target.confidence))


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyBudget:
    """A target together with the model that says whether it is met.

    Attributes:
        model: Predicts latencies on the target's device.
        target: The bound.
    """

    model: LatencyModel
    target: LatencyTarget

    @property
    def allowed_s(self) -> float:
        """Largest prediction that is accepted; the margin below the limit is the confidence."""
        return self.model.allowed_s(self.target)

    def excess_s(self, choices: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return by how many seconds predictions exceed what is allowed, ``(batch,)``."""
        return self.model.latency_s(choices) - self.allowed_s


def within(budgets: Sequence[LatencyBudget], choices: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which architectures, ``(batch, layers)``, keep every budget: ``(batch,)``."""
    met = np.ones(len(choices), bool)
    for budget in budgets:
        met &= budget.excess_s(choices) <= 0.0
    return met
