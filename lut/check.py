"""Whether a table can be trusted: its predictions against networks it has never seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lut.model import COVERAGE, LatencyModel
from lut.rows import RowStatus, rows_of
from lut.table import LatencyTable
from profiler import Chain, Measurement

GOOD_MAPE, GOOD_WITHIN_5 = 0.02, 0.9
"""A table in order: mean error at most this, at least this share within 5 %, all within 10 %."""

BOOTSTRAPS = 2000
LOSES = 0.95
"""Share of bootstrap draws in which operations must predict better to refuse a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How well predictions agree with measurements.

    Attributes:
        mape: Mean absolute error over the measured value.
        bias: Mean error over the measured value, signed.
        within_5: Share within 5 % of the measured value.
        within_10: Share within 10 %.
        spearman: Rank correlation, in [-1, 1].
    """

    mape: float
    bias: float
    within_5: float
    within_10: float
    spearman: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The verdict on a table.

    Attributes:
        predicted_s: ``(nets,)`` by the table.
        measured_s: ``(nets,)`` in fresh processes, at the speed of the table, see
            `LatencyTable.seconds`.
        table: Agreement of predicted and measured.
        by_clock: Agreement of the predictions with the clock.
        slowdown: How much slower the device was in the check than in the table, relative.
        macs: Agreement of operations, calibrated on the same networks: the baseline.
        anew: Agreement of the table's operators when its calibration networks are measured again
            beside the others: what the operators are worth, whatever state the device is in now.
        macs_anew: Agreement of operations, calibrated like that.
        anew_s: ``(nets,)`` by the table's operators, calibrated anew.
        baseline_anew_s: ``(nets,)`` by operations, calibrated anew.
        floor: Median relative difference between two processes that time the same network;
            nobody can predict better than that.
        coverage_90: Share of networks whose 90 % interval held what the clock said.
        device_s: Device time that the check took.
        status: ``ok``; ``doubtful`` with the reasons; ``refused`` where operations predict better.
        doubts: What explains a status that is not ``ok``.
    """

    predicted_s: NDArray[np.float64]
    measured_s: NDArray[np.float64]
    table: Accuracy
    by_clock: Accuracy
    slowdown: float
    macs: Accuracy
    anew: Accuracy
    macs_anew: Accuracy
    anew_s: NDArray[np.float64]
    baseline_anew_s: NDArray[np.float64]
    floor: float
    coverage_90: float
    device_s: float
    status: Literal["ok", "doubtful", "refused"]
    doubts: tuple[str, ...]


def accuracy_of(predicted_s: NDArray[np.float64], measured_s: NDArray[np.float64]) -> Accuracy:
    """Compare predictions with measurements, ``(nets,)`` each."""
    import pandas as pd  # half a second that only checks need

    error = predicted_s / measured_s - 1
    ranks = pd.DataFrame({"predicted": predicted_s, "measured": measured_s}).rank()
    return Accuracy(
        mape=float(np.abs(error).mean()),
        bias=float(error.mean()),
        within_5=float((np.abs(error) <= 0.05).mean()),
        within_10=float((np.abs(error) <= 0.10).mean()),
        spearman=float(ranks["predicted"].corr(ranks["measured"])),
    )


def check_report(
    table: LatencyTable,
    model: LatencyModel,
    baseline: LatencyModel,
    networks: Mapping[Chain, tuple[int, ...]],
    *,
    anew: tuple[LatencyModel, LatencyModel],
    device_s: float,
) -> CheckReport:
    """Judge a table by networks that were measured for the purpose.

    Args:
        table: Holds them among its ``checks``.
        model: Made from the table.
        baseline: Operations, calibrated on the same networks as the model.
        networks: The chains to judge by, with their choices.
        anew: The first two, calibrated on measurements of the check.
        device_s: Device time that they took.
    """
    choices = np.array(list(networks.values()))
    measurements = [table.checks[chain] for chain in networks]
    measured_s = np.array([table.seconds(measurement) for measurement in measurements])
    clock_s = np.array([measurement.median_s for measurement in measurements])
    slowdown = median(m.reference_s for m in measurements) / table.reference_s - 1
    prices = model.price(choices, coverage=COVERAGE)
    anew_s, baseline_anew_s = (each.latency_s(choices) for each in anew)
    held = (prices.low_s <= clock_s) & (clock_s <= prices.high_s)
    accuracy = accuracy_of(prices.latency_s, measured_s)
    floor = repeatability(measurements)
    loses = _loses(anew_s, baseline_anew_s, measured_s)
    doubts = _doubts(table, measurements, accuracy, floor, slowdown)
    accuracy_anew = accuracy_of(anew_s, measured_s)
    good = _good(accuracy)
    if _good(accuracy_anew) and not good:
        doubts.insert(
            0,
            "calibrated anew the operators are right: the device is in another state than when it "
            "was profiled, and small networks have changed otherwise than large ones",
        )
    if loses:
        doubts.insert(0, "operations predict better than the table does: measure it again")
    return CheckReport(
        predicted_s=prices.latency_s,
        measured_s=measured_s,
        table=accuracy,
        by_clock=accuracy_of(prices.latency_s, clock_s),
        slowdown=slowdown,
        macs=accuracy_of(baseline.latency_s(choices), measured_s),
        anew=accuracy_anew,
        macs_anew=accuracy_of(baseline_anew_s, measured_s),
        anew_s=anew_s,
        baseline_anew_s=baseline_anew_s,
        floor=floor,
        coverage_90=float(held.mean()),
        device_s=device_s,
        status="refused" if loses else "ok" if good else "doubtful",
        doubts=() if good and not loses else tuple(doubts),
    )


def _good(accuracy: Accuracy) -> bool:
    return (
        accuracy.mape <= GOOD_MAPE
        and accuracy.within_5 >= GOOD_WITHIN_5
        and accuracy.within_10 == 1.0
    )


def repeatability(measurements: Sequence[Measurement]) -> float:
    """Return the median over networks of the relative difference between two fresh processes."""
    gaps = []
    for measurement in measurements:
        processes = np.array(list(measurement.by_process.values()))
        pairs = np.abs(processes[:, None] - processes)[np.triu_indices(len(processes), 1)]
        if pairs.size:
            gaps.append(float(np.median(pairs)) / measurement.latency_s)
    return median(gaps) if gaps else 0.0


def _loses(
    table_s: NDArray[np.float64], baseline_s: NDArray[np.float64], measured_s: NDArray[np.float64]
) -> bool:
    """Say whether the baseline's error is smaller beyond doubt: a paired bootstrap."""
    gain = np.abs(baseline_s / measured_s - 1) - np.abs(table_s / measured_s - 1)
    draws = np.random.default_rng(0).choice(gain, (BOOTSTRAPS, len(gain))).mean(axis=1)
    return bool((draws < 0).mean() >= LOSES)


def _doubts(
    table: LatencyTable,
    checked: Sequence[Measurement],
    accuracy: Accuracy,
    floor: float,
    slowdown: float,
) -> list[str]:
    """Return what may explain a poor agreement, most telling first."""
    doubts = []
    if floor > GOOD_MAPE:
        doubts.append(
            f"two processes that time the same network differ by {floor:.1%}: the machine is not "
            "quiet enough for less than that"
        )
    rows = rows_of(table)
    groups: dict[str, list[RowStatus]] = {
        "operators": [rows.chain_status(chain) for chain in table.chains],
        "calibration networks": [rows.chain_status(chain) for chain in table.networks],
        "checked networks": [measurement.status for measurement in checked],
    }
    for what, statuses in groups.items():
        strays = statuses.count("other precision")
        if strays:
            doubts.append(f"{strays} of {len(statuses)} {what} compute in another precision")
        bad = len(statuses) - statuses.count("ok") - strays
        if bad:
            doubts.append(f"{bad} of {len(statuses)} {what} are noisy, bimodal or throttled")
    if abs(accuracy.bias) > GOOD_MAPE:
        doubts.append(
            f"predictions are off by {accuracy.bias:+.1%} on average, at the same speed: the "
            "device is in another state than when the table was measured"
        )
    if abs(slowdown) > GOOD_MAPE:
        how = "slower" if slowdown > 0 else "faster"
        doubts.append(f"the device is {abs(slowdown):.1%} {how} now than the table says")
    return doubts or ["no single cause: measure the table again, with more processes"]
