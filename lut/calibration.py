"""From a table of operators to a model of networks: base and slope from measured networks.

The sum of a network's operators ranks networks well and misses their total: the carriers leave a
constant behind, and what every network has in common is no operator of the space. Two numbers
mend it, fitted to whole networks that were measured: ``latency = base + slope * sum``, with a
bend where large networks ask for one. Networks that were verified later join them, so a table
learns from every promise that was checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias, TypedDict, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from devices import LatkitError
from devices.backend import EMULATED
from lut.intervals import ErrorBand
from lut.model import Bend, LatencyModel
from lut.spread import build_ratios
from lut.sums import joined
from lut.table import LatencyTable, is_emulated
from profiler import Chain, Measurement, OpSpec, macs

FEWEST_NETWORKS = 4
"""Fewer calibration networks than this say nothing of the error."""

BASE_NETWORKS = 8
"""From so many networks on a base is fitted beside the slope."""


BEND_NETWORKS = 16
"""From so many networks on a bend is tried."""

KNOTS = (0.3, 0.5, 0.7)
"""Quantiles of the sums where it may lie: not so far out that two networks decide it."""

Times: TypeAlias = NDArray[np.float64]


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

    @property
    def operators(self) -> tuple[OpSpec, ...]:
        """The operators that are measured to price every network."""
        ...


@runtime_checkable
class Joined(Protocol):
    """What a space looks like whose latency is no sum over its layers."""

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Layers that each row of `totals` looks at, see `lut.model.LatencyModel.groups`."""
        ...

    def totals(self, cost: Callable[[OpSpec], float]) -> Times:
        """Return what every architecture costs, see `lut.model.LatencyModel.together`.

        Args:
            cost: Of one of the space's `operators`.

        Returns:
            One number for each, ``inf`` where a network has none; at least one is finite. Of a
            space with groups ``(groups, entries)``.
        """
        ...

    def choices_of(self, chain: Chain) -> tuple[int, ...] | None:
        """Return the choices that a network makes; None if it is of another space."""
        ...


class Together(TypedDict):
    """Layers that are priced together, as `lut.model.LatencyModel` takes them.

    Attributes:
        together: Choices of each.
        groups: Those that each row of prices looks at.
    """

    together: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]


class Fit(Protocol):
    """Makes a curve from features and measured seconds, ``(networks,)`` each."""

    def __call__(self, feature: Times, measured_s: Times) -> Curve:
        """Return the curve."""
        ...


class NotCalibrated(LatkitError):
    """A table holds too few whole networks to predict totals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """``latency = line + steepening * max(0, line - knot)`` with ``line = base_s + slope * sum``.

    Never falls: a network of larger sum is never predicted to be faster, so whoever searches by
    sums searches by latencies.

    Attributes:
        base_s: Seconds of what the operators' sum leaves out.
        slope: Calibrated seconds per second of the sum; positive.
        bend: Where a second slope begins; None for a line.
    """

    base_s: float
    slope: float
    bend: Bend | None = None

    def __call__(self, feature: Times) -> Times:
        """Return seconds for each value."""
        line_s = self.base_s + self.slope * feature
        return line_s if self.bend is None else self.bend(line_s)


def fit_line(feature: Times, measured_s: Times, *, free_base: bool) -> Curve:
    """Fit base and slope by least squares of the relative error.

    Where the slope would be negative the base is given up.

    Args:
        feature: ``(networks,)``, positive.
        measured_s: ``(networks,)`` seconds.
        free_base: Whether to fit a base; with few points it would follow the noise.
    """
    if free_base:
        base_s, slope = _least_squares([np.ones_like(feature), feature], measured_s)
        if slope > 0.0:
            return Curve(base_s=base_s, slope=slope)
    return Curve(base_s=0.0, slope=float(np.median(measured_s / feature)))


def curve_fit(networks: int) -> Fit:
    """Return how a curve is fitted to so many networks.

    Fewer than `BASE_NETWORKS` get a slope, more a line, from `BEND_NETWORKS` on with a bend where
    that pays.
    """
    if networks >= BEND_NETWORKS:
        return fit_bend_if_it_pays
    return partial(fit_line, free_base=networks >= BASE_NETWORKS)


def fit_bend_if_it_pays(feature: Times, measured_s: Times) -> Curve:
    """Fit a line, or a line with a bend where that predicts better by more than chance.

    Large networks may be slower than their operators say, for instance once their weights leave a
    cache. A bend is taken only if it predicts left-out networks better by more than a standard
    error of the paired difference.

    Args:
        feature: ``(networks,)``, positive.
        measured_s: ``(networks,)`` seconds.

    Source:
        The one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984,
        section 3.4.3, on paired differences.
    """
    line = partial(fit_line, free_base=True)
    errors = [
        np.abs(_left_out(fit, feature, measured_s) / measured_s - 1) for fit in (line, _fit_bent)
    ]
    gain = errors[0] - errors[1]
    pays = gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain))
    return (_fit_bent if pays else line)(feature, measured_s)


def _fit_bent(feature: Times, measured_s: Times) -> Curve:
    """Return the best curve with a knot at one of a few quantiles; a line where none rises."""
    best, least = fit_line(feature, measured_s, free_base=True), np.inf
    for knot in np.quantile(feature, KNOTS):
        beyond = np.maximum(0.0, feature - knot)
        base_s, slope, more = _least_squares([np.ones_like(feature), feature, beyond], measured_s)
        if slope <= 0.0 or slope + more <= 0.0:
            continue
        bend = Bend(knot_s=base_s + slope * float(knot), steepening=more / slope)
        curve = Curve(base_s=base_s, slope=slope, bend=bend)
        error = float(np.square(curve(feature) / measured_s - 1).sum())
        best, least = (curve, error) if error < least else (best, least)
    return best


def _least_squares(columns: list[Times], measured_s: Times) -> list[float]:
    """Return the coefficients that minimise the relative error."""
    weighted = np.column_stack(columns) / measured_s[:, None]
    return [float(value) for value in np.linalg.lstsq(weighted, np.ones_like(measured_s))[0]]


def _left_out(fit: Fit, feature: Times, measured_s: Times) -> Times:
    """Return the prediction of each network by a fit to all the others."""
    predicted_s = np.empty_like(measured_s)
    for i in range(len(feature)):
        others = np.arange(len(feature)) != i
        predicted_s[i] = fit(feature[others], measured_s[others])(feature[i : i + 1])[0]
    return predicted_s


def left_out_ratios(feature: Times, measured_s: Times) -> tuple[float, ...]:
    """Return measured over predicted for each network, fitted on all the others.

    Raises:
        NotCalibrated: A prediction is not positive: the operators explain nothing.
    """
    predicted_s = _left_out(curve_fit(len(feature)), feature, measured_s)
    if predicted_s.min() <= 0.0:
        raise NotCalibrated(
            "the operators of the table do not explain its whole networks (one is predicted "
            "to take no time at all). Profile again into a new file, on a quieter machine"
        )
    return tuple((measured_s / predicted_s).tolist())


def operator_costs(table: LatencyTable, space: Layered) -> Times:
    """Return uncalibrated seconds, ``(layers, choices)``; ``inf`` where there is no choice.

    Of a space whose layers are priced together, one row or one a group, see
    `lut.model.LatencyModel.together`.

    Raises:
        MissingLatency: Operators are not in the table; names the first and counts the others.
    """
    lacking = [op for op in space.operators if op not in table]
    if lacking:
        raise table.missing(lacking)
    return operator_matrix(space, table.__getitem__)


def calibration_networks(table: LatencyTable, space: Layered) -> tuple[NDArray[np.intp], Times]:
    """Return choices ``(networks, layers)`` and measured seconds of a space's whole networks.

    Those of the campaign, and those that were verified since; a network that is both counts once.

    Raises:
        NotCalibrated: There are fewer than `FEWEST_NETWORKS`.
    """
    found: dict[tuple[int, ...], list[Measurement]] = {}
    choices_in = _choices_reader(space)
    for chain, measurement in (*table.networks.items(), *table.verified.items()):
        choices = choices_in(chain)
        if choices is not None:
            found.setdefault(choices, []).append(measurement)
    if len(found) < FEWEST_NETWORKS:
        raise NotCalibrated(
            f"{table.name} holds {len(found)} whole networks of this space; predicting totals "
            f"takes {FEWEST_NETWORKS}, intervals 20. Measure them, with the same --resolution and "
            f"--classes: latkit profile --device {table.conditions.device.name} --space SPACE "
            f"-o {table.name}"
        )
    return np.array(list(found)), np.array([_united_s(table, each) for each in found.values()])


def _united_s(table: LatencyTable, measurements: Sequence[Measurement]) -> float:
    """Return the seconds of one network: the mean, every process behind it counts alike."""
    processes = [len({piece.process for piece in each.used}) for each in measurements]
    return sum(
        table.seconds(each) * (count / sum(processes))
        for each, count in zip(measurements, processes, strict=True)
    )


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
    return _calibrated(table, space, operator_matrix(space, macs))


def _calibrated(table: LatencyTable, space: Layered, cost: Times) -> LatencyModel:
    sums, measured_s = _sums_and_seconds(table, space, cost)
    curve = curve_fit(len(sums))(sums, measured_s)
    return LatencyModel(
        device=table.conditions.device.name,
        base_s=curve.base_s,
        cost_s=cost * curve.slope,
        **layers_together(space),
        bend=curve.bend,
        band=ErrorBand(
            ratios=left_out_ratios(sums, measured_s),
            speeds_s=tuple(table.speeds_s.values()),
            builds=build_ratios(table),
        ),
        table_hash=table.hash,
        revision=table.revision,
        origin=EMULATED if is_emulated(table.conditions) else "measured",
    )


def calibration_curve(table: LatencyTable, space: Layered) -> Curve:
    """Return what a space's whole networks make of the sums of a table's operators.

    Raises:
        MissingLatency: The table lacks operators.
        NotCalibrated: It lacks whole networks of this space.
    """
    sums, measured_s = _sums_and_seconds(table, space, operator_costs(table, space))
    return curve_fit(len(sums))(sums, measured_s)


def _sums_and_seconds(table: LatencyTable, space: Layered, cost: Times) -> tuple[Times, Times]:
    choices, measured_s = calibration_networks(table, space)
    return network_sums(space, choices, cost), measured_s


def network_sums(space: Layered, choices: NDArray[np.integer], cost: Times) -> Times:
    """Return the sums of networks, ``(networks,)``.

    Args:
        space: Theirs.
        choices: ``(networks, layers)``.
        cost: Of each choice, see `operator_matrix`.
    """
    layers = layers_together(space)
    priced = joined(choices, layers["together"], layers["groups"])
    return np.asarray(cost[np.arange(len(cost)), priced].sum(axis=1))


def layers_together(space: Layered) -> Together:
    """Return which layers are priced together; none where each has its price."""
    if not isinstance(space, Joined):
        return Together(together=(), groups=())
    return Together(together=tuple(map(len, space.layers)), groups=space.groups)


def operator_matrix(space: Layered, cost: Callable[[OpSpec], float]) -> Times:
    """Return a cost for every choice, ``(layers, choices)``; ``inf`` where there is none.

    Of a space whose layers are priced together, one row or one a group, see
    `lut.model.LatencyModel.together`.
    """
    if isinstance(space, Joined):
        return np.atleast_2d(space.totals(cost))
    matrix = np.full((len(space.layers), max(map(len, space.layers))), np.inf)
    known = {op: cost(op) for op in {op for layer in space.layers for op in layer}}
    for i, layer in enumerate(space.layers):
        matrix[i, : len(layer)] = [known[op] for op in layer]
    return matrix


def choices_of(chain: Chain, space: Layered) -> tuple[int, ...] | None:
    """Return the choice that a network makes in every layer; None if it is of another space.

    Of choices that are one operator it is the first.
    """
    return _choices_reader(space)(chain)


def _choices_reader(space: Layered) -> Callable[[Chain], tuple[int, ...] | None]:
    """Return `choices_of` for many networks: thousands of choices are indexed once."""
    if isinstance(space, Joined):
        return space.choices_of
    before, layers, after = space.before, space.layers, space.after
    backwards = {
        id(layer): {op: len(layer) - 1 - j for j, op in enumerate(reversed(layer))}
        for layer in layers
    }

    def read(chain: Chain) -> tuple[int, ...] | None:
        middle = chain[len(before) : len(chain) - len(after)]
        if (*before, *middle, *after) != chain or len(middle) != len(layers):
            return None
        pairs = zip(middle, layers, strict=True)
        found = [backwards[id(layer)].get(op) for op, layer in pairs]
        return None if None in found else tuple(choice for choice in found if choice is not None)

    return read
