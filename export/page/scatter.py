"""Points by two quantities: predicted against measured, accuracy against latency."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from xml.etree import ElementTree as ET

from export.page.axis import Axis, span
from export.page.elements import Node
from export.page.frame import (
    Look,
    Mark,
    chart,
    drawn_marks,
    figure,
    grid,
    label,
    line,
    path,
    plot_axes,
)

BANDS = (0.10, 0.05)
"""Relative errors that are shaded about the diagonal, the wider first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A network on a chart.

    Attributes:
        x: What goes to the right.
        y: What goes up.
        says: What it stands for: lines, the first is its name.
        look: Shape and colour.
        reach: Ends of its interval along x; None: without.
    """

    x: float
    y: float
    says: str
    look: Look = "first"
    reach: tuple[float, float] | None = None


def agreement_chart(points: Sequence[Point], *, names: Sequence[tuple[Look, str]]) -> ET.Element:
    """Draw measured over predicted, with bands of 5 and 10 %.

    Args:
        points: Predicted (x) and measured (y) milliseconds.
        names: The looks that points have, and what they are.
    """
    ends = span([value for point in points for value in (point.x, point.y)])
    low, high = max(ends[0], 0.0), ends[1]
    x, y = plot_axes(520.0, x=(low, high), y=(low, high))
    drawn: list[Node] = [_band(x, y, share) for share in BANDS]
    drawn += grid(x, y, x_label="predicted, ms", y_label="measured, ms")
    drawn.append(line((x.place(low), y.place(low)), (x.place(high), y.place(high)), "equal"))
    says = f"Predicted against measured latency of {len(points)} networks, in milliseconds"
    legend = [
        *names,
        ("band5", "within 5 %"),
        ("band10", "within 10 %"),
        ("equal", "predicted = measured"),
    ]
    return figure(
        "A mark above the diagonal took longer than predicted.",
        chart(520.0, says, [*drawn, *drawn_marks(_marks(points, x, y))]),
        legend=legend,
    )


def error_chart(points: Sequence[Point], *, names: Sequence[tuple[Look, str]]) -> ET.Element:
    """Draw how far measured values are from their predictions, with bands of 5 and 10 %.

    Args:
        points: Predicted (x) and measured (y) milliseconds.
        names: The looks that points have, and what they are.
    """
    off = [replace(point, y=100 * (point.y / point.x - 1)) for point in points]
    reach = max(11.0, *(1.05 * abs(point.y) for point in off))
    ends = span([point.x for point in off])
    x, y = plot_axes(280.0, x=(max(ends[0], 0.0), ends[1]), y=(-reach, reach))
    drawn: list[Node] = [_stripe(x, y, share) for share in BANDS]
    drawn += grid(x, y, x_label="predicted, ms", y_label="measured over predicted, %")
    drawn.append(line((x.start, y.place(0.0)), (x.end, y.place(0.0)), "equal"))
    says = f"How far {len(points)} networks measured from their prediction, in per cent"
    return figure(
        "The same networks by how far they measured from their prediction.",
        chart(280.0, says, [*drawn, *drawn_marks(_marks(off, x, y))]),
        legend=names,
    )


def _stripe(x: Axis, y: Axis, share: float) -> ET.Element:
    """Shade what is within a share of its prediction."""
    top, bottom = (y.place(sign * 100 * share) for sign in (1, -1))
    corners = [(x.start, top), (x.end, top), (x.end, bottom), (x.start, bottom)]
    return path(corners, f"band{share * 100:.0f}", closed=True)


def _band(x: Axis, y: Axis, share: float) -> ET.Element:
    """Shade where a measured value is within a share of its prediction, cut at the plot's edge."""
    steps = [x.low + i / 60 * (x.high - x.low) for i in range(61)]
    above = [(x.place(v), y.place(v * (1 + share))) for v in steps]
    below = [(x.place(v), y.place(v * (1 - share))) for v in reversed(steps)]
    return path([*above, *below], f"band{share * 100:.0f}", closed=True)


def pareto_chart(
    points: Sequence[Point],
    *,
    front: Sequence[tuple[float, float]],
    limits_ms: Sequence[float],
    device: str,
    names: Sequence[tuple[Look, str]],
    by_loss: bool = False,
) -> ET.Element:
    """Draw accuracy over latency, the front, and the limits.

    Args:
        points: Predicted milliseconds (x) and accuracy in per cent (y).
        front: What no network beats in both, by rising latency.
        limits_ms: Drawn where there are not too many to be told apart.
        device: Name of the device.
        names: The looks that points have, and what they are.
        by_loss: Whether the loss ranks, so that accuracy may fall along the front.
    """
    shown_limits = limits_ms if len(limits_ms) <= 12 else ()
    reaches = [end for point in points for end in point.reach or ()]
    x_ends = span([*(point.x for point in points), *shown_limits, *reaches])
    x, y = plot_axes(440.0, x=x_ends, y=span([point.y for point in points], margin=0.08))
    drawn = grid(x, y, x_label=f"predicted latency on {device}, ms", y_label="accuracy, %")
    for limit in shown_limits:
        drawn.append(line((x.place(limit), y.start), (x.place(limit), y.end), "limit"))
        drawn.append(label((x.place(limit), y.end - 8), f"{limit:.4g}", "tick middle above"))
    drawn.append(path(_steps(front, x, y), "front"))
    for point in points:
        if point.reach:
            left, right = ((x.place(end), y.place(point.y)) for end in point.reach)
            drawn.append(line(left, right, "whisker"))
    legend = [*names, ("front", "best so far"), *([("limit", "limit, ms")] if shown_limits else [])]
    says = f"Accuracy against predicted latency of {len(points)} networks on {device}"
    ranked = (
        "loss and latency. The loss on the same images ranks, since it tells networks apart better "
        "than accuracy does; so accuracy may fall along the front. "
        if by_loss
        else "accuracy and latency. "
    )
    return figure(
        f"Each mark is a network; none of the front is beaten in both {ranked}"
        "Whiskers are 90 % intervals of what the device should measure.",
        chart(440.0, says, [*drawn, *drawn_marks(_marks(points, x, y))]),
        legend=legend,
    )


def _steps(front: Sequence[tuple[float, float]], x: Axis, y: Axis) -> list[tuple[float, float]]:
    """Return the corners of the stairs of a front, by rising latency."""
    corners: list[tuple[float, float]] = []
    for latency, accuracy in front:
        if corners:
            corners.append((x.place(latency), corners[-1][1]))
        corners.append((x.place(latency), y.place(accuracy)))
    return [*corners, (x.end, corners[-1][1])]


def _marks(points: Sequence[Point], x: Axis, y: Axis) -> list[Mark]:
    return [
        Mark(x=x.place(point.x), y=y.place(point.y), look=point.look, says=point.says)
        for point in points
    ]
