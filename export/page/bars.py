"""Rows one below the other: how long something takes, with its interval, beside a limit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from xml.etree import ElementTree as ET

from export.page.axis import Axis, span, tick_texts
from export.page.elements import Node, el
from export.page.frame import BOTTOM, RIGHT, WIDTH, chart, label, line, pointed
from export.page.ink import short

NAME, BAR, GAP, HEAD = 26.0, 13.0, 12.0, 8.0
"""Heights: of a row's name, of each bar below it, between rows, and above the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A value within a row.

    Attributes:
        value: Where it ends, or where its dot is.
        interval: Where the value would lie if it was measured again; None: not known.
        kind: Its colour.
    """

    value: float
    interval: tuple[float, float] | None = None
    kind: Literal["predicted", "measured"] = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a chart.

    Attributes:
        name: Written above its bars.
        figure: Written at the right end of that line.
        bars: One, or predicted and measured.
        says: What it stands for: lines, the first is its name.
        limit: Marked across the row; None: none.
    """

    name: str
    figure: str
    bars: tuple[Bar, ...]
    says: str
    limit: float | None = None

    @property
    def height(self) -> float:
        """Units from its name to the next row."""
        return NAME + BAR * len(self.bars) + GAP


Shape: TypeAlias = Callable[[Bar, Axis, float], ET.Element]
"""Draws a value at a height."""


def bar_chart(rows: Sequence[Row], *, unit: str, says: str) -> ET.Element:
    """Draw lengths from 0 on, with intervals.

    Args:
        rows: From top to bottom.
        unit: What the axis is, with its unit.
        says: What the chart shows, for whoever does not see it.
    """
    x = _axis(span(_values(rows), zero=True))
    return _drawing(rows, x, _length, unit=unit, says=says)


def interval_chart(
    rows: Sequence[Row], *, unit: str, says: str, about: float | None = None
) -> ET.Element:
    """Draw dots with intervals, on an axis that need not begin at 0.

    Args:
        rows: From top to bottom.
        unit: What the axis is, with its unit.
        says: What the chart shows, for whoever does not see it.
        about: A prediction; what lies within 5 and 10 % of it is shaded. None: without.
    """
    shades = () if about is None else (about * 0.9, about * 0.95, about * 1.05, about * 1.1)
    x = _axis(span([*_values(rows), *shades]))
    bottom = HEAD + sum(row.height for row in rows)
    below = [_shade(x, ends, kind, bottom) for ends, kind in _pairs(shades)]
    return _drawing(rows, x, _dot, unit=unit, says=says, below=below)


def _pairs(shades: Sequence[float]) -> list[tuple[tuple[float, float], str]]:
    if not shades:
        return []
    far_low, low, high, far_high = shades
    return [((far_low, far_high), "band10"), ((low, high), "band5")]


def _shade(x: Axis, ends: tuple[float, float], kind: str, bottom: float) -> ET.Element:
    left, right = map(x.place, ends)
    place = {"x": left, "y": HEAD, "width": right - left, "height": bottom - HEAD}
    return el("rect", {"class": kind, **place})


def _values(rows: Sequence[Row]) -> list[float]:
    bars = [bar for row in rows for bar in row.bars]
    ends = [end for bar in bars for end in bar.interval or ()]
    limits = [row.limit for row in rows if row.limit is not None]
    return [*(bar.value for bar in bars), *ends, *limits]


def _axis(ends: tuple[float, float]) -> Axis:
    return Axis(low=ends[0], high=ends[1], start=14.0, end=WIDTH - RIGHT)


def _drawing(
    rows: Sequence[Row],
    x: Axis,
    shape: Shape,
    *,
    unit: str,
    says: str,
    below: Sequence[Node] = (),
) -> ET.Element:
    bottom = HEAD + sum(row.height for row in rows)
    drawn: list[Node] = [*below]
    ticks = x.ticks()
    for tick, text in zip(ticks, tick_texts(ticks), strict=True):
        drawn.append(line((x.place(tick), HEAD), (x.place(tick), bottom), "grid"))
        drawn.append(label((x.place(tick), bottom + 16), text, "tick middle"))
    drawn.append(label(((x.start + x.end) / 2, bottom + 40), unit, "axis middle"))
    top = HEAD
    for row in rows:
        drawn.append(pointed(_row(row, x, shape, top=top), row.says))
        top += row.height
    return chart(bottom + BOTTOM, says, drawn)


def _row(row: Row, x: Axis, shape: Shape, *, top: float) -> ET.Element:
    """Draw a row: name and figure in one line, its bars below."""
    frame = {"x": 2.0, "y": top, "width": WIDTH - 4.0, "height": row.height - 2.0}
    parts: list[Node] = [
        el("rect", {"class": "row", **frame}),
        label((14.0, top + 14.0), short(row.name), "name"),
        label((WIDTH - RIGHT, top + 14.0), row.figure, "name end figure"),
    ]
    for number, bar in enumerate(row.bars):
        middle = top + NAME + BAR * (number + 0.5)
        parts.append(shape(bar, x, middle))
        if bar.interval:
            low, high = map(x.place, bar.interval)
            parts.append(line((low, middle), (high, middle), "whisker"))
    if row.limit is not None:
        at = x.place(row.limit)
        parts.append(line((at, top + NAME - 4.0), (at, top + row.height - GAP + 4.0), "limit"))
    return el("g", None, *parts)


def _length(bar: Bar, x: Axis, middle: float) -> ET.Element:
    zero, end = x.place(0.0), x.place(bar.value)
    left, width = min(zero, end), max(abs(end - zero), 0.5)
    place = {"x": left, "y": middle - BAR / 2 + 1.5, "width": width, "height": BAR - 3.0}
    return el("rect", {"class": f"bar {bar.kind}", **place})


def _dot(bar: Bar, x: Axis, middle: float) -> ET.Element:
    return el(
        "circle", {"class": f"dot {bar.kind}", "cx": x.place(bar.value), "cy": middle, "r": 5.0}
    )
