"""From values to places on a drawing, with ticks at numbers that people count in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
"""What ticks may be apart, times a power of ten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A linear scale.

    Attributes:
        low: Value at the start.
        high: Value at the end; above ``low``.
        start: Place of ``low`` on the drawing.
        end: Place of ``high``; before ``start`` where values grow upwards.
    """

    low: float
    high: float
    start: float
    end: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"an axis goes from low to high, got {self.low} to {self.high}")

    def place(self, value: float) -> float:
        """Return where a value lies, within the ends."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, most: int = 8) -> list[float]:
        """Return round values between the ends, ``most`` or fewer."""
        step = nice_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def nice_step(least: float) -> float:
    """Return the smallest round distance that is ``least`` or more, positive."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in STEPS if step * power >= least * (1 - 1e-9))


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Write ticks with as many decimals as tell them apart, all with the same."""
    if len(ticks) < 2:
        return [f"{tick:.4g}" for tick in ticks]
    step = min(after - before for before, after in pairwise(ticks))
    decimals = next((n for n in range(12) if abs(step * 10**n - round(step * 10**n)) < 1e-6), 12)
    return [f"{tick + 0.0:,.{decimals}f}" for tick in ticks]  # no minus before a 0


def span(
    values: Sequence[float], *, margin: float = 0.05, zero: bool = False
) -> tuple[float, float]:
    """Return ends of an axis that hold all values.

    Args:
        values: One or more.
        margin: Share of their range to leave free at each end.
        zero: Whether the axis begins at 0: lengths mean nothing otherwise.
    """
    low, high = min(values), max(values)
    if zero:
        low = min(0.0, low)
    room = margin * (high - low) or 0.05 * abs(high) or 1.0
    return (low - room if low < 0.0 or not zero else 0.0), high + room
