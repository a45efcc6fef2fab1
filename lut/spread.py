"""How far the rows of a table would lie elsewhere if it was measured again.

A latency differs from process to process in two ways. What a process does to all rows alike (the
speed of the device meanwhile) is its effect; what is left is the row's own. Effects matter for how
fast the device is, the rest for how an operator compares with the others::

    log seconds[row, process] = level[row] + effect[process] + rest[row, process]
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lut.table import LatencyTable
from profiler import Chain, Measurement, student_t_quantile

SWEEPS = 50
"""Alternations between levels and effects; one is enough where every row has every process."""

MANY = 1000
"""Degrees of freedom from which on Student's t is the normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertain:
    """A value that would be another if it was measured again.

    Attributes:
        value: What was found.
        variance: Of what would be found again; infinite where nothing is known of that.
        degrees: Degrees of freedom behind the variance; infinite where it is certain.
    """

    value: float
    variance: float
    degrees: float

    def __sub__(self, other: "Uncertain") -> "Uncertain":
        return total(self.value - other.value, [self, other])

    def times(self, factor: float) -> "Uncertain":
        """Return so many times the value."""
        variance = self.variance * factor**2 if factor else 0.0
        return replace(self, value=self.value * factor, variance=variance)

    def half_width(self, false_positives: float) -> float:
        """Return how far the truth may be from the value, but for that probability.

        Args:
            false_positives: Probability that the truth is farther away, on either side.
        """
        if not self.variance:
            return 0.0
        share = 1 - false_positives / 2
        if self.degrees >= MANY:
            return NormalDist().inv_cdf(share) * math.sqrt(self.variance)
        return student_t_quantile(share, max(1, int(self.degrees))) * math.sqrt(self.variance)


def total(value: float, parts: Sequence[Uncertain]) -> Uncertain:
    """Return a value that is as uncertain as a sum of independent parts.

    Source:
        Welch, The generalization of Student's problem, Biometrika 1947: the degrees of freedom of
        a sum of variances.
    """
    variance = sum(part.variance for part in parts)
    if not 0.0 < variance < math.inf:
        return Uncertain(value=value, variance=variance, degrees=1.0)
    inverse = sum((part.variance / variance) ** 2 / part.degrees for part in parts)
    return Uncertain(value=value, variance=variance, degrees=1 / inverse if inverse else math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The rows of a table as uncertain values.

    Attributes:
        log_s: Row to the logarithm of its seconds, the mean over processes.
        speed: Logarithm of how slow the device was, the mean over processes, from 0.
    """

    log_s: Mapping[Chain, Uncertain]
    speed: Uncertain


def spread_of(table: LatencyTable) -> Spread:
    """Learn from its processes how far the rows of a table are from the truth.

    Few processes say next to nothing of the variance of one row: from six, it is found between a
    third and three times the true one, and an interval that allows for it is useless. So the
    variances of all rows are taken together, see `moderated`: a row keeps as much of its own as the
    rows differ beyond chance.

    Args:
        table: Its operators, contexts and calibration networks are used; they were interleaved in
            the same processes. With one process nothing is known and all variances are infinite.
    """
    rows = {**table.chains, **table.networks}
    if not rows:
        nothing = Uncertain(value=0.0, variance=math.inf, degrees=1.0)
        return Spread(log_s={}, speed=nothing)
    logs = _by_process(table, rows.values())
    levels, effects = _two_ways(logs)
    squares, known = _own_variances(logs - levels[:, None] - effects)
    variances, degrees = moderated(squares, known)
    counts = np.isfinite(logs).sum(axis=1)
    estimates = zip(levels, variances / counts, degrees, strict=True)
    processes = len(effects)
    build = build_spread(table, squares, known)
    return Spread(
        log_s={
            chain: total(
                float(level),
                (Uncertain(value=0.0, variance=float(variance), degrees=float(sure)), build),
            )
            for chain, (level, variance, sure) in zip(rows, estimates, strict=True)
        },
        speed=Uncertain(
            value=0.0,
            variance=float(effects.var(ddof=1)) / processes if processes > 1 else math.inf,
            degrees=max(1.0, processes - 1.0),
        ),
    )


def build_spread(
    table: LatencyTable, squares: NDArray[np.float64], degrees: NDArray[np.float64]
) -> Uncertain:
    """Return how far the logarithm of a row would lie elsewhere with another build of its engine.

    All processes of a table build alike, by one timing cache. A sample of rows was built anew by
    each process: what their processes differ by more than those of the table is the builds'. It is
    common to all processes of a row, so more of them do not make it less.

    Args:
        table: Its ``rebuilt`` rows; without two of them nothing is added.
        squares: ``(rows,)`` variances between the processes of the table's rows.
        degrees: ``(rows,)`` degrees of freedom behind each.
    """
    certain = Uncertain(value=0.0, variance=0.0, degrees=math.inf)
    if len(table.rebuilt) < 2 or not degrees.any():
        return certain
    ours, known = _own_variances(_rest_of_builds(table))
    if not known.any():
        return certain
    variance = float(np.average(ours, weights=known) - np.average(squares, weights=degrees))
    return Uncertain(value=0.0, variance=max(0.0, variance), degrees=float(known.sum()))


def build_ratios(table: LatencyTable) -> tuple[float, ...]:
    """Return what whole networks take in each build over their mean of all; none of no builds.

    What a process does to all rows alike is taken out: its canary is built anew, too.
    """
    if len(table.rebuilt) < 2:
        return ()
    rest = _rest_of_builds(table)[[chain in table.networks for chain in table.rebuilt]]
    return tuple(np.exp(rest[np.isfinite(rest)]).tolist())


def _rest_of_builds(table: LatencyTable) -> NDArray[np.float64]:
    """Return each rebuilt row's own part in each process, ``(rows, processes)``; nan: not there."""
    anew = replace(table, chains=table.rebuilt, networks={}, rebuilt={})
    logs = _by_process(anew, table.rebuilt.values())
    levels, effects = _two_ways(logs)
    rest: NDArray[np.float64] = logs - levels[:, None] - effects
    return rest


def moderated(
    squares: NDArray[np.float64], degrees: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shrink variances towards each other, as far as they do not differ beyond chance.

    If the true variances scatter as a scaled inverse chi-square, those observed follow a scaled F
    distribution; its first two moments give how many degrees of freedom the common variance is
    worth. All alike: as many as all rows have, and the variances are pooled.

    Source:
        Smyth, Linear models and empirical Bayes methods for assessing differential expression,
        Statistical Applications in Genetics and Molecular Biology 2004, section 6. We match the
        moments of the variances instead of those of their logarithms: closed, and never below four
        degrees, however wild a row is.

    Args:
        squares: ``(rows,)`` observed variances; any number where there are no degrees.
        degrees: ``(rows,)`` degrees of freedom behind each, 0 or more.

    Returns:
        ``(rows,)`` variances and ``(rows,)`` degrees of freedom; infinite variances where no row
        has any degrees.
    """
    known = degrees > 0
    if not known.any():
        return np.full(len(squares), np.inf), np.ones(len(squares))
    common = float(np.average(squares[known], weights=degrees[known]))
    usual = float(degrees[known].mean())
    scatter = float((squares[known] / common).var()) * usual if common else 0.0
    if scatter <= 2:  # what chance alone gives is 2
        return np.full(len(squares), common), np.full(len(squares), degrees.sum())
    prior = 4 + (2 * usual + 4) / (scatter - 2)
    own = np.where(known, degrees * squares, 0.0)
    variances = (own + (prior - 2) * common) / (prior + degrees)
    return variances, np.minimum(prior + degrees, degrees.sum())


def _by_process(table: LatencyTable, measurements: Collection[Measurement]) -> NDArray[np.float64]:
    """Return the logarithm of the seconds by the clock, ``(rows, processes)``; nan: not there."""
    rows = [measurement.by_process for measurement in measurements]
    columns = {process: i for i, process in enumerate(sorted({p for row in rows for p in row}))}
    logs = np.full((len(rows), len(columns)), np.nan)
    for i, (measurement, row) in enumerate(zip(measurements, rows, strict=True)):
        reference_s = measurement.reference_s
        for process, seconds in row.items():
            speed_s = table.speeds_s[process] if measurement.paired else 1.0
            logs[i, columns[process]] = math.log(seconds / reference_s * speed_s)
    return logs


def _two_ways(logs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the levels of rows and the effects of processes, which add up to about nothing."""
    effects = np.zeros(logs.shape[1])
    for _ in range(SWEEPS):
        levels = np.nanmean(logs - effects, axis=1)
        effects = np.nanmean(logs - levels[:, None], axis=0)
        effects -= effects.mean()
    return np.nanmean(logs - effects, axis=1), effects


def _own_variances(
    rest: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the variance of each row's own part, and the degrees of freedom behind it."""
    rows = len(rest)
    degrees = (np.isfinite(rest).sum(axis=1) - 1) * (rows - 1) / rows
    squares = np.nansum(rest**2, axis=1) / np.where(degrees > 0, degrees, 1.0)
    return squares, degrees
