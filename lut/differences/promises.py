"""What a stored architecture was picked to keep, by one table and by another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lut.calibration import Layered, latency_model
from lut.model import LatencyBudget, LatencyModel
from lut.table import LatencyTable
from lut.target import LatencyTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """An architecture and the limit that it was picked to keep.

    Attributes:
        name: For people.
        space: Its search space.
        choices: One a layer.
        limit_s: Largest acceptable seconds per inference.
        confidence: How sure the limit is to hold, in [0.5, 1).
    """

    name: str
    space: Layered
    choices: tuple[int, ...]
    limit_s: float
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Whether a promise is kept by either of two tables.

    Attributes:
        promise: What is to be kept.
        a_s: Seconds that the first table predicts.
        b_s: Seconds that the second does.
        by_a: Whether the limit holds by the first, with the confidence of the promise.
        by_b: Whether it holds by the second.
    """

    promise: Promise
    a_s: float
    b_s: float
    by_a: bool
    by_b: bool

    @property
    def changed(self) -> bool:
        """Whether the verdict is another."""
        return self.by_a != self.by_b


def kept_promises(
    a: LatencyTable, b: LatencyTable, promises: Iterable[Promise]
) -> tuple[Kept, ...]:
    """Judge stored architectures by two tables.

    Args:
        a: The first.
        b: The second; a limit is in seconds on whichever device a table is of.
        promises: What to judge.

    Raises:
        MissingLatency: A table lacks operators of a space.
        NotCalibrated: A table lacks whole networks of a space.
    """
    models: list[tuple[Layered, Sequence[LatencyModel]]] = []
    kept = []
    for promise in promises:
        pair = next((pair for space, pair in models if space == promise.space), None)
        if pair is None:
            pair = [latency_model(table, promise.space) for table in (a, b)]
            models.append((promise.space, pair))
        (a_s, by_a), (b_s, by_b) = (_judged(model, promise) for model in pair)
        kept.append(Kept(promise=promise, a_s=a_s, b_s=b_s, by_a=by_a, by_b=by_b))
    return tuple(kept)


def _judged(model: LatencyModel, promise: Promise) -> tuple[float, bool]:
    """Return the seconds of a promise's architecture, and whether its limit holds."""
    target = LatencyTarget(
        device=model.device, limit_s=promise.limit_s, confidence=promise.confidence
    )
    choices = np.array([promise.choices])
    held = LatencyBudget(model=model, target=target).excess_s(choices) <= 0.0
    return float(model.latency_s(choices)[0]), bool(held[0])
