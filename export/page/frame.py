"""What charts have in common: a drawing with axes, marks that can be pointed at, a legend."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

from export.page.axis import Axis, tick_texts
from export.page.elements import Node, el, grow

WIDTH = 640.0
"""Units of a drawing from left to right, whatever its width on a screen."""

LEFT, RIGHT, TOP, BOTTOM = 70.0, 14.0, 42.0, 56.0
"""Room about the plot for ticks and labels; enough for the larger letters of a phone."""

Look = Literal["first", "second", "third", "bad", "faint"]
"""Shape and colour of a mark together, so that nobody needs the colour: a dot, a diamond, a square,
a cross, a ring."""

SHAPES: dict[Look, str] = {
    "first": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
    "second": "M0 -6.5L6.5 0L0 6.5L-6.5 0z",
    "third": "M-4.5 -4.5h9v9h-9z",
    "bad": "M-4.5 -4.5L4.5 4.5M-4.5 4.5L4.5 -4.5",
    "faint": "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something on a chart that can be pointed at.

    Attributes:
        x: Place on the drawing.
        y: Place on the drawing.
        look: Shape and colour.
        says: What it stands for: lines, the first is its name.
    """

    x: float
    y: float
    look: Look
    says: str


def drawn_marks(marks: Iterable[Mark]) -> list[ET.Element]:
    """Draw marks from left to right, the order in which arrow keys go through them."""
    return [
        pointed(
            el(
                "path",
                {
                    "d": SHAPES[mark.look],
                    "class": mark.look,
                    "transform": f"translate({mark.x:.1f} {mark.y:.1f})",
                },
            ),
            mark.says,
        )
        for mark in sorted(marks, key=lambda mark: (mark.x, mark.y))
    ]


def pointed(shape: ET.Element, says: str) -> ET.Element:
    """Let a shape be pointed at, and reached with the keyboard; the page's script does that.

    Args:
        shape: Part of a drawing.
        says: What it stands for: lines, the first is its name.
    """
    shape.set("class", f"mark {shape.get('class', '')}".strip())
    shape.set("data-says", says)
    return shape


def chart(height: float, says: str, children: Iterable[Node]) -> ET.Element:
    """Return a drawing.

    Args:
        height: In its units, of which `WIDTH` go from left to right.
        says: What it shows, for whoever does not see it.
        children: What is drawn, in order.
    """
    drawing = el(
        "svg",
        {
            "class": "chart",
            "viewBox": f"0 0 {WIDTH:.0f} {height:.0f}",
            "role": "group",
            "aria-roledescription": "chart",
            "aria-label": says,
        },
    )
    return grow(drawing, children)


def plot_axes(
    height: float, *, x: tuple[float, float], y: tuple[float, float]
) -> tuple[Axis, Axis]:
    """Return the axes of a plot that fills a drawing but for the room about it.

    Args:
        height: Of the drawing.
        x: First and last value from left to right.
        y: First and last value from bottom to top.
    """
    return (
        Axis(low=x[0], high=x[1], start=LEFT, end=WIDTH - RIGHT),
        Axis(low=y[0], high=y[1], start=height - BOTTOM, end=TOP),
    )


def grid(x: Axis, y: Axis, *, x_label: str, y_label: str) -> list[Node]:
    """Draw ticks, faint lines at them, and what the axes are, with their units."""
    drawn: list[Node] = []
    x_ticks, y_ticks = x.ticks(), y.ticks()
    for tick, text in zip(y_ticks, tick_texts(y_ticks), strict=True):
        at = y.place(tick)
        drawn.append(line((x.start, at), (x.end, at), "grid"))
        drawn.append(label((x.start - 8, at), text, "tick end"))
    for tick, text in zip(x_ticks, tick_texts(x_ticks), strict=True):
        at = x.place(tick)
        drawn.append(line((at, y.start), (at, y.end), "grid"))
        drawn.append(label((at, y.start + 18), text, "tick middle"))
    drawn.append(label((4, 12), y_label, "axis"))
    drawn.append(label(((x.start + x.end) / 2, y.start + 42), x_label, "axis middle"))
    return drawn


def line(start: tuple[float, float], end: tuple[float, float], kind: str) -> ET.Element:
    """Draw a straight line."""
    ends = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
    return el("line", {"class": kind, **ends})


def label(place: tuple[float, float], text: str, kind: str) -> ET.Element:
    """Write a text on a drawing; its middle is as high as the place."""
    return el("text", {"class": kind, "x": place[0], "y": place[1]}, text)


def path(points: Sequence[tuple[float, float]], kind: str, *, closed: bool = False) -> ET.Element:
    """Draw straight lines from point to point."""
    text = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return el("path", {"class": kind, "d": f"M{text}{'z' if closed else ''}"})


def figure(caption: str, *children: Node, legend: Sequence[tuple[str, str]] = ()) -> ET.Element:
    """Return a chart with its caption and legend.

    Args:
        caption: What is seen, in a sentence or two.
        *children: The drawing, and its text alternative.
        legend: Class of a mark or a line, and what it is.
    """
    entries = [el("li", None, _swatch(kind), text) for kind, text in legend]
    return el(
        "figure",
        None,
        el("figcaption", None, caption),
        el("ul", {"class": "legend"}, *entries) if entries else None,
        *children,
    )


def _swatch(kind: str) -> ET.Element:
    """Draw what a class looks like: a mark, a surface or a line."""
    shape = {**_SWATCHES, **{str(look): d for look, d in SHAPES.items()}}.get(kind)
    box = {"x": -9.0, "y": -5.0, "width": 18.0, "height": 10.0}
    if shape:
        drawn = el("path", {"class": kind, "d": shape})
    elif kind.startswith(("band", "bar ", "h")):
        drawn = el("rect", {"class": kind, **box})
    else:
        drawn = line((-9, 0), (9, 0), kind)
    return el("svg", {"class": "swatch", "viewBox": "-10 -8 20 16", "aria-hidden": "true"}, drawn)


_SWATCHES = {
    "dots": "M0 0h0",
    "dot predicted": SHAPES["first"],
    "dot measured": SHAPES["first"],
}
"""Shapes of classes that are no marks."""
