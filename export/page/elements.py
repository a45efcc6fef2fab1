"""Elements of a page: a tree that is written as HTML at the end, so every text is escaped."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias
from xml.etree import ElementTree as ET

Node: TypeAlias = ET.Element | str | None
"""What an element may hold; None is left out."""

Attributes: TypeAlias = Mapping[str, str | float | None]
"""Values that are None are left out; floats are written short."""

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""What HTML cannot hold, and names in foreign files may."""


def el(tag: str, attributes: Attributes | None = None, *children: Node) -> ET.Element:
    """Make an element.

    Args:
        tag: Such as ``"p"``, or of SVG ``"circle"``.
        attributes: Names to values.
        *children: Elements and texts, in order.
    """
    given = {name: value for name, value in (attributes or {}).items() if value is not None}
    made = ET.Element(tag, {name: _written(value) for name, value in given.items()})
    return grow(made, children)


def grow(element: ET.Element, children: Iterable[Node]) -> ET.Element:
    """Add children to an element, and return it."""
    for child in children:
        if isinstance(child, ET.Element):
            element.append(child)
        elif child is not None and len(element):
            element[-1].tail = (element[-1].tail or "") + _clean(child)
        elif child is not None:
            element.text = (element.text or "") + _clean(child)
    return element


def to_html(element: ET.Element) -> str:
    """Write an element as HTML."""
    return ET.tostring(element, encoding="unicode", method="html", short_empty_elements=False)


def _written(value: str | float) -> str:
    """Write an attribute; a tenth of a unit of a drawing is less than anybody sees."""
    return _clean(value) if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def _clean(text: str) -> str:
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def paragraph(*children: Node) -> ET.Element:
    """Return a paragraph."""
    return el("p", None, *children)


def bullets(items: Iterable[Node]) -> ET.Element | None:
    """Return a list, or None of nothing."""
    found = [el("li", None, item) for item in items]
    return el("ul", None, *found) if found else None


def rows_of_cells(
    headers: Sequence[str],
    rows: Iterable[Sequence[Node]],
    *,
    caption: str,
    words: Sequence[int] = (),
) -> ET.Element:
    """Return a table that scrolls by itself where it is wider than the screen.

    Args:
        headers: One a column.
        rows: Cells, the first of a row names it.
        caption: What the table holds.
        words: Columns of words, from 0; the first always is, all others are numbers.
    """
    kinds = ["words" if i in (0, *words) else None for i in range(len(headers))]
    head = [
        el("th", {"scope": "col", "class": kind}, header)
        for header, kind in zip(headers, kinds, strict=True)
    ]
    body = [el("tr", None, *_cells(row, kinds)) for row in rows]
    table = el(
        "table",
        None,
        el("caption", None, caption),
        el("thead", None, el("tr", None, *head)),
        el("tbody", None, *body),
    )
    # A box that scrolls must be reachable with the keyboard, and say what it is.
    return el(
        "div", {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": caption}, table
    )


def _cells(row: Sequence[Node], kinds: Sequence[str | None]) -> list[ET.Element]:
    name, *others = row
    cells = [el("td", {"class": kind}, cell) for cell, kind in zip(others, kinds[1:], strict=True)]
    return [el("th", {"scope": "row"}, name), *cells]


def unfolding(summary: str, *children: Node) -> ET.Element:
    """Return what is shown on demand: the text alternative of a chart."""
    return el("details", None, el("summary", None, summary), *children)


def listing(facts: Mapping[str, str]) -> ET.Element:
    """Return names with their values."""
    pairs = [
        el("div", None, el("dt", None, name), el("dd", None, value))
        for name, value in facts.items()
    ]
    return el("dl", {"class": "listing"}, *pairs)
