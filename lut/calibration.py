"""From a table of operators to a model of networks: base and slope from measured networks.

The sum of a network's operators ranks networks well and misses their total: the carriers leave a
constant behind, and what every network has in common is no operator of the space. Two numbers
mend it, fitted to whole networks that were measured: ``latency = base + slope * sum``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from devices import LatkitError
from lut.intervals import ErrorBand
from lut.model import LatencyModel
from lut.table import LatencyTable
from profiler import Chain, OpSpec, macs

FEWEST_NETWORKS = 4
"""Fewer calibration networks than this say nothing of the error."""

BASE_NETWORKS = 8
"""From so many networks on a base is fitted beside the slope."""


class Layered(Protocol):
    """What a search space looks like from here: a chain of layers with choices."""

    @property
    def before(self) -> Chain:
        """Operators that every network starts with."""
        ...

    @property
    def layers(self) -> tuple[tuple[OpSpec, ...], ...]:
        """``layers[i][j]`` is choice ``j`` of layer ``i``."""
        ...

    @property
    def after(self) -> Chain:
        """Operators that every network ends with."""
        ...


class NotCalibrated(LatkitError):
    """A table holds too few whole networks to predict totals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """``latency = base_s + slope * feature``.

    Attributes:
        base_s: Seconds.
        slope: Seconds per unit of the feature; not negative.
    """

    base_s: float
    slope: float

    def __call__(self, feature: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return seconds for each value."""
        return self.base_s + self.slope * feature


def fit_line(
    feature: NDArray[np.float64], measured_s: NDArray[np.float64], *, free_base: bool
) -> Line:
    """Fit base and slope by least squares of the relative error.

    Where the slope would be negative the base is given up.

    Args:
        feature: ``(networks,)``, positive.
        measured_s: ``(networks,)`` seconds.
        free_base: Whether to fit a base; with few points it would follow the noise.
    """
    if free_base:
        weighted = np.column_stack([np.ones_like(feature), feature]) / measured_s[:, None]
        base_s, slope = np.linalg.lstsq(weighted, np.ones_like(feature))[0]
        if slope > 0.0:
            return Line(base_s=float(base_s), slope=float(slope))
    return Line(base_s=0.0, slope=float(np.median(measured_s / feature)))


def left_out_ratios(
    feature: NDArray[np.float64], measured_s: NDArray[np.float64]
) -> tuple[float, ...]:
    """Return measured over predicted for each network, fitted on all the others.

    Raises:
        NotCalibrated: A prediction is not positive: the operators explain nothing.
    """
    ratios = []
    free_base = len(feature) >= BASE_NETWORKS
    for i in range(len(feature)):
        others = np.arange(len(feature)) != i
        line = fit_line(feature[others], measured_s[others], free_base=free_base)
        (predicted_s,) = line(feature[i : i + 1])
        if predicted_s <= 0.0:
            raise NotCalibrated(
                "the operators of the table do not explain its whole networks (one is predicted "
                "to take no time at all). Profile again into a new file, on a quieter machine"
            )
        ratios.append(float(measured_s[i] / predicted_s))
    return tuple(ratios)


def operator_costs(table: LatencyTable, space: Layered) -> NDArray[np.float64]:
    """Return uncalibrated seconds, ``(layers, choices)``; ``inf`` where there is no choice.

    Raises:
        MissingLatency: Operators are not in the table; names the first and counts the others.
    """
    ops = dict.fromkeys(op for layer in space.layers for op in layer)
    lacking = [op for op in ops if op not in table]
    if lacking:
        raise table.missing(lacking)
    return _matrix(space, table.__getitem__)


def calibration_networks(
    table: LatencyTable, space: Layered
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return choices ``(networks, layers)`` and measured seconds of a space's whole networks.

    Raises:
        NotCalibrated: There are fewer than `FEWEST_NETWORKS`.
    """
    choices, measured_s = [], []
    for chain, measurement in table.networks.items():
        found = _choices(chain, space)
        if found is not None:
            choices.append(found)
            measured_s.append(table.seconds(measurement))
    if len(choices) < FEWEST_NETWORKS:
        raise NotCalibrated(
            f"{table.name} holds {len(choices)} whole networks of this space; predicting totals "
            f"takes {FEWEST_NETWORKS}, intervals 20. Measure them: latkit profile "
            f"--device {table.conditions.device.name} --space SPACE -o {table.name}"
        )
    return np.array(choices), np.array(measured_s)


def latency_model(table: LatencyTable, space: Layered) -> LatencyModel:
    """Make the model of one space from a table.

    Raises:
        MissingLatency: The table lacks operators.
        NotCalibrated: It lacks whole networks of this space.
    """
    return _calibrated(table, space, operator_costs(table, space))


def macs_model(table: LatencyTable, space: Layered) -> LatencyModel:
    """Return the baseline: operations instead of latencies, calibrated on the same networks.

    Raises:
        NotCalibrated: The table lacks whole networks of this space.
    """
    return _calibrated(table, space, _matrix(space, macs))


def _calibrated(table: LatencyTable, space: Layered, cost: NDArray[np.float64]) -> LatencyModel:
    choices, measured_s = calibration_networks(table, space)
    sums = cost[np.arange(len(cost)), choices].sum(axis=1)
    line = fit_line(sums, measured_s, free_base=len(sums) >= BASE_NETWORKS)
    return LatencyModel(
        device=table.conditions.device.name,
        base_s=line.base_s,
        cost_s=cost * line.slope,
        band=ErrorBand(
            ratios=left_out_ratios(sums, measured_s), speeds_s=tuple(table.speeds_s.values())
        ),
        table_hash=table.hash,
    )


def _matrix(space: Layered, cost: Callable[[OpSpec], float]) -> NDArray[np.float64]:
    """Return a cost for every choice, ``(layers, choices)``; ``inf`` where there is none."""
    matrix = np.full((len(space.layers), max(map(len, space.layers))), np.inf)
    for i, layer in enumerate(space.layers):
        matrix[i, : len(layer)] = [cost(op) for op in layer]
    return matrix


def _choices(chain: Chain, space: Layered) -> tuple[int, ...] | None:
    """Return the choice that a network makes in every layer; None if it is of another space."""
    before, layers, after = space.before, space.layers, space.after
    middle = chain[len(before) : len(chain) - len(after)]
    if (*before, *middle, *after) != chain or len(middle) != len(layers):
        return None
    if any(op not in layer for op, layer in zip(middle, layers, strict=True)):
        return None
    return tuple(layer.index(op) for op, layer in zip(middle, layers, strict=True))
