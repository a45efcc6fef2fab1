"""The figures that an explanation is made of; `lut.explanations.explain` has the equations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lut.calibration import fit_line
from lut.explanations.counterfactuals import Case, Scene
from lut.spread import Uncertain, total
from profiler import Measurement

Series: TypeAlias = NDArray[np.float64]
"""Of all processes together, then of each alone: ``(1 + processes,)``."""

CURVE, USUAL, THEN = "the curve", "usual errors", "networks then"
"""Names of the terms that rest on the table alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of the equations in one scene: seconds, or else ratios to the table.

    Attributes:
        rows: ``S'``.
        rows_elsewhere: What the operators of the nearest networks changed by, a ratio: ``s``.
        networks: What those networks changed by, a ratio.
        cold: What its operators take side by side to what they take each for itself.
        cold_elsewhere: The same for the nearest networks.
        line: ``g(S')``.
        cold_line: ``g(C)``.
        network: ``M``.
        clock: The network by the clock.
    """

    rows: Series
    rows_elsewhere: Series
    networks: Series
    cold: Series
    cold_elsewhere: Series
    line: Series
    cold_line: Series
    network: Series
    clock: Series

    @property
    def own(self) -> Series:
        """What the network has more than others, cold weights aside."""
        return self.network - self.cold_line


def terms_of_table(case: Case, *, predicted_s: float) -> dict[str, Uncertain]:
    """Return how far the curve is off here, one prediction is, and what the others took then.

    Args:
        case: What is explained.
        predicted_s: Seconds that relative errors are brought to.
    """
    off = np.array(case.neighbours_off)
    curve = uncertain(predicted_s * np.array([off.mean(), *off]))
    usual = replace(curve, value=0.0, variance=curve.variance * len(off))
    then = [uncertain(_relative(case.measured[each])) for each in case.near]
    share = predicted_s / len(then)
    return {CURVE: curve, USUAL: usual, THEN: total(0.0, [each.times(share) for each in then])}


def terms_away(
    case: Case, scenes: Mapping[str, Scene | str], *, network_s: float
) -> dict[str, Uncertain]:
    """Return what the network has more than others in each counterfactual.

    Args:
        case: What is explained.
        scenes: Counterfactual to what was timed; those that were not are left out.
        network_s: Seconds that a share of the network's latency there is brought to.
    """
    found = {}
    for name, scene in scenes.items():
        if isinstance(scene, Scene):
            there = terms_in(case, scene, speed_s=_canary_s(case, scene))
            found[name] = uncertain(there.own * network_s / there.network[0])
    return found


def _relative(measurement: Measurement) -> Series:
    """Return how far each process is off all of them together, relative."""
    return np.array(
        [0.0, *(s / measurement.latency_s - 1 for s in measurement.by_process.values())]
    )


def terms_in(case: Case, scene: Scene, *, speed_s: float) -> Terms:
    """Return the terms of a scene, in all processes together and in each alone.

    Args:
        case: What is explained.
        scene: What was timed.
        speed_s: Seconds of the canary at the speed that is asked for.
    """
    scenes = [scene, *(scene.alone(process) for process in scene.processes)]
    columns = zip(*(_terms_once(case, each, speed_s) for each in scenes), strict=True)
    names = [each.name for each in fields(Terms)]
    return Terms(**{name: np.array(column) for name, column in zip(names, columns, strict=True)})


def _terms_once(case: Case, scene: Scene, speed_s: float) -> tuple[float, ...]:
    """Return the fields of `Terms`, in their order."""
    table, rows = case.table, replace(case.table, chains=scene.chains)
    sums_s = [case.sum_s(rows, each, speed_s) for each in case.networks]
    cold_s = [scene.cold_sum_s(each, speed_s) for each in case.networks]
    took_s = [scene.networks[each].at(speed_s) for each in case.networks]
    near = range(1, 1 + len(case.near))
    then_s = [table.seconds(case.measured[each]) for each in case.near]
    then_sums_s = [case.sum_s(table, each, table.reference_s) for each in case.near]
    return (
        sums_s[0],
        median(change(sums_s[i], then) for i, then in zip(near, then_sums_s, strict=True)),
        median(took_s[i] / then for i, then in zip(near, then_s, strict=True)),
        change(cold_s[0], sums_s[0]),
        median(change(cold_s[i], sums_s[i]) for i in near),
        _line_s(sums_s, took_s),
        _line_s(cold_s, took_s),
        took_s[0],
        scene.networks[case.network].median_s,
    )


def change(now_s: float, then_s: float) -> float:
    """Return a ratio; 1 for networks that are nothing but skips."""
    return now_s / then_s if then_s else 1.0


def _line_s(sums_s: Sequence[float], took_s: Sequence[float]) -> float:
    """Return what a line through the other networks says of the first sum."""
    line = fit_line(np.array(sums_s[1:]), np.array(took_s[1:]), free_base=True)
    return float(line(np.array(sums_s[:1]))[0])


def _canary_s(case: Case, scene: Scene) -> float:
    """Return the canary's seconds while a scene was timed."""
    return replace(case.table, chains=scene.chains).reference_s


def speed_of(case: Case, base: Scene) -> float:
    """Return the canary's seconds at the table's speed; at that of now where none was timed."""
    timed = case.table.speeds_s and all(row.paired for row in base.chains.values())
    return case.table.reference_s if timed else _canary_s(case, base)


def uncertain(series: Series) -> Uncertain:
    """Return what all processes together say, as uncertain as they differ."""
    together, processes = float(series[0]), series[1:]
    if len(processes) < 2:
        return Uncertain(value=together, variance=math.inf, degrees=1.0)
    variance = float(processes.var(ddof=1)) / len(processes)
    return Uncertain(value=together, variance=variance, degrees=len(processes) - 1.0)
