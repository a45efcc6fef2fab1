"""Predicted against measured, network by network: what a table already knows of its own errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lut.calibration import Layered, calibration_networks, choices_of
from lut.check import Accuracy, accuracy_of
from lut.model import COVERAGE, LatencyModel
from lut.table import LatencyTable

Why = Literal["calibration", "verified", "check"]
"""Why a network was measured: to calibrate on, for a verdict that was fed back, or for a check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """One whole network, predicted and measured.

    Attributes:
        choices: One a layer.
        why: Why it was measured; of several reasons, that it was verified. Networks that were
            calibrated on are predicted without themselves.
        predicted_s: Seconds that the table predicts.
        interval_s: Where the measured seconds should lie, see `lut.model.COVERAGE`.
        measured_s: Seconds at the speed of the table, see `LatencyTable.seconds`.
    """

    choices: tuple[int, ...]
    why: Why
    predicted_s: float
    interval_s: tuple[float, float]
    measured_s: float

    @property
    def error(self) -> float:
        """How much longer it was predicted to take than it took, relative."""
        return self.predicted_s / self.measured_s - 1


def agreement(table: LatencyTable, space: Layered, model: LatencyModel) -> list[Agreed]:
    """Return every whole network of a space that a table holds, predicted as if it was unseen.

    Args:
        table: Holds them.
        space: Their space.
        model: Of the table and the space.
    """
    return [*_calibrated_on(table, space, model), *_checked(table, space, model)]


def _calibrated_on(table: LatencyTable, space: Layered, model: LatencyModel) -> list[Agreed]:
    """Return those of the calibration; the ratios are of predictions without the network itself."""
    choices, measured_s = calibration_networks(table, space)
    low, high = model.band.around(COVERAGE)
    verified = {choices_of(chain, space) for chain in table.verified}
    return [
        Agreed(
            choices=row,
            why="verified" if row in verified else "calibration",
            predicted_s=seconds / ratio,
            interval_s=(seconds / ratio * low, seconds / ratio * high),
            measured_s=seconds,
        )
        for row, seconds, ratio in zip(
            map(tuple, choices.tolist()), measured_s.tolist(), model.band.ratios, strict=True
        )
    ]


def _checked(table: LatencyTable, space: Layered, model: LatencyModel) -> list[Agreed]:
    """Return those of checks that the calibration has not seen."""
    known = table.networks.keys() | table.verified.keys()
    found = {
        choices: table.seconds(measurement)
        for chain, measurement in table.checks.items()
        if chain not in known and (choices := choices_of(chain, space)) is not None
    }
    if not found:
        return []
    prices = model.price(np.array(list(found)), coverage=COVERAGE)
    figures = (each.tolist() for each in (prices.latency_s, prices.low_s, prices.high_s))
    return [
        Agreed(
            choices=choices,
            why="check",
            predicted_s=predicted_s,
            interval_s=(low_s, high_s),
            measured_s=measured_s,
        )
        for (choices, measured_s), predicted_s, low_s, high_s in zip(
            found.items(), *figures, strict=True
        )
    ]


def accuracy_among(networks: Sequence[Agreed]) -> Accuracy:
    """Return how well predictions of networks agree with what was measured."""
    predicted_s, measured_s = (
        np.array([getattr(network, key) for network in networks])
        for key in ("predicted_s", "measured_s")
    )
    return accuracy_of(predicted_s, measured_s)
