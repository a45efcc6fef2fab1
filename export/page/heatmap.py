"""A matrix in colours: what every choice of every layer costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from export.page.axis import tick_texts
from export.page.elements import Node, el
from export.page.frame import LEFT, RIGHT, WIDTH, chart, figure, label, pointed

STEPS = 9
"""Shades, from the cheapest to the dearest; classes ``h0`` to ``h8``."""

TALL, HEAD, FOOT = 24.0, 34.0, 34.0
"""Height of a row, and room above and below all rows."""

MOST_TEXTS = 8
"""Columns up to which a cell has room for its figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a choice costs.

    Attributes:
        value: Microseconds.
        says: What it stands for: lines, the first is its name.
    """

    value: float
    says: str


def heat_map(rows: Sequence[Sequence[Cell]], *, says: str, caption: str) -> ET.Element:
    """Draw cells in shades; the darker (in dark mode the lighter) the dearer.

    Args:
        rows: One a layer; a layer may have fewer choices than others.
        says: What the chart shows, for whoever does not see it.
        caption: The same in a sentence for everybody.
    """
    values = [cell.value for row in rows for cell in row]
    low, high = min(0.0, *values), max(values)
    columns = max(map(len, rows))
    width = (WIDTH - LEFT - RIGHT) / columns
    drawn: list[Node] = [label((4, HEAD - 18), "layer", "axis")]
    drawn.append(label((LEFT, HEAD - 18), "choice", "axis"))
    for column in range(columns) if columns <= 2 * MOST_TEXTS else ():
        below = (LEFT + (column + 0.5) * width, HEAD + TALL * len(rows) + 14)
        drawn.append(label(below, str(column), "tick middle"))
    for number, row in enumerate(rows):
        top = HEAD + TALL * number
        drawn.append(label((LEFT - 8, top + TALL / 2), str(number), "tick end"))
        for column, cell in enumerate(row):
            place = (LEFT + column * width, top, width)
            shade = _shade(cell.value, low, high)
            box = _cell(cell, place, shade=shade, written=columns <= MOST_TEXTS)
            drawn.append(pointed(box, cell.says))
    height = HEAD + TALL * len(rows) + FOOT
    return figure(caption, chart(height, says, drawn), legend=_legend(low, high))


def _shade(value: float, low: float, high: float) -> int:
    share = (value - low) / ((high - low) or 1.0)
    return min(STEPS - 1, int(share * STEPS))


def _cell(
    cell: Cell, place: tuple[float, float, float], *, shade: int, written: bool
) -> ET.Element:
    left, top, width = place
    box = {"x": left, "y": top, "width": width - 1.0, "height": TALL - 1.0}
    if not written:
        return el("rect", {"class": f"cell h{shade}", **box})
    text = label((left + width / 2, top + TALL / 2), f"{cell.value:.0f}", "value middle")
    return el("g", {"class": f"cell h{shade}"}, el("rect", box), text)


def _legend(low: float, high: float) -> list[tuple[str, str]]:
    """Return the shades with what they mean, every other one."""
    edges = [low + (high - low) * i / STEPS for i in range(STEPS + 1)]
    digits = tick_texts([round(edge, 1 if high < 20 else 0) for edge in edges[:2]])[1]
    decimals = len(digits.partition(".")[2])
    shown = range(0, STEPS, 2)
    return [(f"h{i}", f"{edges[i]:.{decimals}f} to {edges[i + 1]:.{decimals}f} us") for i in shown]
