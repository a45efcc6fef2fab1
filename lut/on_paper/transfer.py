"""From devices that are known to a new one, by a few measurements: a regression with priors.

What a network takes on the new device is a sum of what is known of it: its seconds on each known
device, and counts such as its operations, each times a factor. With ten measurements and as many
factors least squares would follow the noise, so the factors have priors: the new device is like an
average of the known ones, each of them may matter more or less, and counts mend what is left. How
strong the priors are, and how noisy the measurements, is chosen by the evidence.

Errors are relative: a network of 2 ms and one of 20 ms count alike.

Source:
    Bayesian linear regression and evidence: MacKay, Bayesian interpolation, Neural Computation 4,
    1992. Probes that tell most: MacKay, Information-based objective functions for active data
    selection, Neural Computation 4, 1992 (the form that minimises the mean variance). What is
    asked, predicting a device from ten measurements: Lee et al., HELP, NeurIPS 2021; Dudziak et
    al., BRP-NAS, NeurIPS 2020.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Indices = NDArray[np.intp]

FEWEST_PROBES = 4
"""Fewer measurements than this leave no error to learn from when one of them is left out."""

LIKENESS = 10.0
"""Prior deviation of the factor on the average of the known devices, about 1: next to none."""

OWN, COUNTED = 1.0, 0.1
"""Prior deviations of the factors on single devices, and on counts and the constant, before they
are scaled by `SCALES`. Of 1 and .5 with 1, .3 and .1 these and .5 with .1 did best on NAS-Bench-201
(bench/transfer.py), by little."""

SCALES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Strengths of the priors that the evidence chooses from."""

NOISES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Relative errors of what a sum cannot say, to choose from."""

USUAL_NOISE = 0.05
"""The same where nothing was measured yet, and probes are chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of some networks before the new device is asked.

    Attributes:
        latency_s: ``(networks, devices)`` seconds on known devices, positive; one device or more.
        counts: ``(networks, kinds)``, 0 or more; kinds that no network has tell nothing.
    """

    latency_s: Times
    counts: Times

    def __post_init__(self) -> None:
        if self.latency_s.ndim != 2 or not self.latency_s.size or self.latency_s.min() <= 0.0:
            raise ValueError("known latencies are positive, (networks, devices), and not none")
        if self.counts.shape[:1] != self.latency_s.shape[:1] or self.counts.ndim != 2:
            raise ValueError(
                f"counts are ({len(self.latency_s)}, kinds), got shape {self.counts.shape}"
            )

    def some(self, rows: Indices) -> "Known":
        """Return what is known of some of the networks."""
        return Known(latency_s=self.latency_s[rows], counts=self.counts[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A sum that says what the new device takes.

    Attributes:
        base_s: Seconds whatever the network.
        per_device: ``(devices,)`` seconds for a second on each known device.
        per_count: ``(kinds,)`` seconds for one of each kind.
        ratios: Measured over predicted for every probe, predicted by the others alone.
    """

    base_s: float
    per_device: tuple[float, ...]
    per_count: tuple[float, ...]
    ratios: tuple[float, ...]

    def latency_s(self, known: Known) -> Times:
        """Return seconds on the new device, ``(networks,)``; not necessarily positive."""
        sums = known.latency_s @ np.array(self.per_device) + known.counts @ np.array(self.per_count)
        return np.asarray(self.base_s + sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scaling:
    """Units in which all columns are about 1, so that one prior suits all of them.

    Attributes:
        devices: ``(devices,)`` mean seconds.
        kinds: ``(kinds,)`` mean counts; 1 where there is none.
    """

    devices: Times
    kinds: Times

    def columns(self, known: Known) -> tuple[Times, Times]:
        """Return ``(networks, columns)``, relative to a network's size, and the sizes.

        The columns are each device, each kind, the constant, and last the average of the devices.
        """
        devices = known.latency_s / self.devices
        ones = np.ones((len(devices), 1))
        mean = devices.mean(axis=1, keepdims=True)
        every = np.concatenate([devices, known.counts / self.kinds, ones, mean], axis=1)
        size = np.exp(np.log(devices).mean(axis=1))
        return every / size[:, None], size

    def variances(self, scale: float) -> Times:
        """Return the prior variance of each column's factor."""
        counted = np.full(len(self.kinds) + 1, COUNTED * scale)
        own = np.full(len(self.devices), OWN * scale)
        return np.square(np.concatenate([own, counted, [LIKENESS]]))


def most_telling(pool: Known, count: int) -> Indices:
    """Choose networks to measure: those that together leave the least doubt about all the others.

    Args:
        pool: What may be measured.
        count: How many, 1 to as many as there are.

    Returns:
        ``(count,)`` rows, the most telling first. No latency of the new device is looked at.
    """
    if not 1 <= count <= len(pool.latency_s):
        raise ValueError(f"of {len(pool.latency_s)} networks 1 or more can be chosen, got {count}")
    scaling = _scaling_of(pool)
    columns, _ = scaling.columns(pool)
    covariance = np.diag(scaling.variances(1.0))
    chosen: list[int] = []
    for _ in range(count):
        seen = columns @ covariance  # (networks, columns)
        variance = (seen * columns).sum(axis=1) + USUAL_NOISE**2
        gain = np.square(seen @ columns.T).sum(axis=1) / variance
        gain[chosen] = -np.inf
        best = int(gain.argmax())
        chosen.append(best)
        covariance = covariance - np.outer(seen[best], seen[best]) / variance[best]
    return np.array(chosen)


def fit_transfer(pool: Known, probes: Indices, measured_s: Times) -> Transfer:
    """Fit the sum to measurements on the new device.

    Args:
        pool: All networks of interest: their means are the units of the priors.
        probes: ``(n,)`` rows of it that were measured, `FEWEST_PROBES` or more.
        measured_s: ``(n,)`` their seconds there, positive.

    Raises:
        ValueError: There are too few probes, or a latency is not positive.
    """
    if len(probes) < FEWEST_PROBES or measured_s.shape != (len(probes),):
        raise ValueError(f"a transfer takes {FEWEST_PROBES} probes or more, got {len(probes)}")
    if not measured_s.min() > 0.0:
        raise ValueError("measured latencies are positive")
    scaling, known = _scaling_of(pool), pool.some(probes)
    base_s, per_device, per_count = _fitted(scaling, known, measured_s)
    ratios = []
    for row in range(len(probes)):
        others = np.arange(len(probes)) != row
        without = _fitted(scaling, known.some(np.flatnonzero(others)), measured_s[others])
        one = known.some(np.array([row]))
        predicted_s = without[0] + float((one.latency_s @ without[1] + one.counts @ without[2])[0])
        ratios.append(float(measured_s[row] / max(predicted_s, 1e-3 * measured_s[row])))
    return Transfer(
        base_s=base_s,
        per_device=tuple(per_device.tolist()),
        per_count=tuple(per_count.tolist()),
        ratios=tuple(ratios),
    )


def _scaling_of(pool: Known) -> _Scaling:
    kinds = pool.counts.mean(axis=0)
    return _Scaling(devices=pool.latency_s.mean(axis=0), kinds=np.where(kinds > 0.0, kinds, 1.0))


def _fitted(scaling: _Scaling, known: Known, measured_s: Times) -> tuple[float, Times, Times]:
    """Return the constant, the factor of each device, and that of each kind."""
    columns, size = scaling.columns(known)
    relative = measured_s / size
    unit = float(relative.mean())
    relative = relative / unit
    scale, noise = max(
        product(SCALES, NOISES),
        key=lambda pair: _evidence(columns, relative, scaling.variances(pair[0]), pair[1]),
    )
    variances = scaling.variances(scale)
    covariance = _covariance(columns, variances, noise)
    factors = unit * variances * (columns.T @ np.linalg.solve(covariance, relative))
    devices = len(scaling.devices)
    own, counted, constant, alike = np.split(factors, [devices, -2, -1])
    per_device = (own + alike / devices) / scaling.devices
    return float(constant[0]), per_device, counted / scaling.kinds


def _covariance(columns: Times, variances: Times, noise: float) -> Times:
    """Return that of measurements by the priors, ``(n, n)``, relative."""
    return np.asarray((columns * variances) @ columns.T + noise**2 * np.eye(len(columns)))


def _evidence(columns: Times, relative: Times, variances: Times, noise: float) -> float:
    """Return the logarithm of the probability of measurements by the priors, up to a constant."""
    root = np.linalg.cholesky(_covariance(columns, variances, noise))
    white = np.linalg.solve(root, relative)
    return float(-0.5 * white @ white - np.log(np.diag(root)).sum())
