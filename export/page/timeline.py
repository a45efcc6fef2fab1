"""Samples in the order in which they were taken: where a device wandered, and who disturbed it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from xml.etree import ElementTree as ET

from export.page.axis import Axis
from export.page.elements import Node, el
from export.page.frame import chart, figure, grid, line, plot_axes
from profiler import Slice

HEIGHT = 300.0

MOST_DOTS = 12_000
"""Dots on one chart; of more only every nth is drawn, and that is said."""

MOST_PROCESSES = 40
"""Processes whose borders can be told apart."""

FAR = 1.25
"""How far above its most usual values an axis ends, at least; what is above stands at the edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One slice of measuring.

    Attributes:
        ratio: How long it took, over what is usual for the same thing.
        process: The fresh process that took it.
        bad: What disturbed it, in one word; empty: nothing.
    """

    ratio: float
    process: int
    bad: str = ""


def dot_of(piece: Slice, ratio: float) -> Dot:
    """Return a slice as a dot, with what disturbed it."""
    return Dot(ratio=ratio, process=piece.process, bad="" if piece.trusted else piece.gate)


def timeline(
    dots: Sequence[Dot],
    *,
    y_label: str,
    says: str,
    caption: str,
    x_label: str = "slice, in the order taken",
) -> ET.Element:
    """Draw dots from left to right as they were taken; disturbed ones as crosses.

    Args:
        dots: In the order in which they were taken.
        y_label: What the ratio is of.
        says: What the chart shows, for whoever does not see it.
        caption: The same in a sentence for everybody.
        x_label: What stands side by side.
    """
    nth = -(-len(dots) // MOST_DOTS)
    low, high = _ends([dot.ratio for dot in dots])
    x, y = plot_axes(HEIGHT, x=(0.0, float(max(1, len(dots) - 1))), y=(low, high))
    drawn: list[Node] = grid(x, y, x_label=x_label, y_label=y_label)
    drawn += _borders(dots, x, y)
    drawn.append(line((x.start, y.place(1.0)), (x.end, y.place(1.0)), "equal"))
    places = [
        (x.place(i), y.place(dots[i].ratio), bool(dots[i].bad)) for i in range(0, len(dots), nth)
    ]
    drawn.append(_dots([(left, top) for left, top, bad in places if not bad], "dots"))
    drawn.append(_crosses([(left, top) for left, top, bad in places if bad]))
    beyond = sum(dot.ratio > high for dot in dots)
    notes = [
        *([f"One dot of {nth} is drawn."] if nth > 1 else []),
        *([f"{beyond} lie above {high:.2f} and stand at the edge."] if beyond else []),
    ]
    return figure(
        " ".join([caption, *notes]),
        chart(HEIGHT, says, drawn),
        legend=_legend(dots),
    )


def _ends(ratios: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the axis: a few slices far above all others must not flatten them."""
    usual = quantiles(ratios, n=50)[-1] if len(ratios) > 1 else ratios[0]
    high = min(max(ratios) * 1.02, max(FAR, 1.3 * usual))
    return min(0.95, min(ratios) * 0.98), max(1.05, high)


def _borders(dots: Sequence[Dot], x: Axis, y: Axis) -> list[Node]:
    """Draw where another process begins."""
    starts = [i for i in range(1, len(dots)) if dots[i].process != dots[i - 1].process]
    if len(starts) > MOST_PROCESSES:
        return []
    return [line((x.place(i - 0.5), y.start), (x.place(i - 0.5), y.end), "border") for i in starts]


def _dots(places: Sequence[tuple[float, float]], kind: str) -> ET.Element | None:
    """Draw many dots as one path: strokes without length, with round ends."""
    text = "".join(f"M{left:.1f} {top:.1f}h0" for left, top in places)
    return el("path", {"class": kind, "d": text}) if places else None


def _crosses(places: Sequence[tuple[float, float]]) -> ET.Element | None:
    text = "".join(f"M{left - 3:.1f} {top - 3:.1f}l6 6m0 -6l-6 6" for left, top in places)
    return el("path", {"class": "bad", "d": text}) if places else None


def _legend(dots: Sequence[Dot]) -> list[tuple[str, str]]:
    """Return what is drawn, with counts by what disturbed."""
    causes: dict[str, int] = {}
    for dot in dots:
        if dot.bad:
            causes[dot.bad] = causes.get(dot.bad, 0) + 1
    good = len(dots) - sum(causes.values())
    said = ", ".join(f"{count:,} {cause}" for cause, count in causes.items())
    entries = [("dots", f"{good:,} that count")]
    entries += [("bad", f"disturbed: {said}")] if causes else []
    several = len({dot.process for dot in dots}) > 1
    return [*entries, *([("border", "another process begins")] if several else [])]
