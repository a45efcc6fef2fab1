"""What a page says of one space's table: its errors, and what every choice costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import numpy as np

from devices import LatkitError
from export.page.elements import Node, el, paragraph, rows_of_cells, unfolding
from export.page.frame import Look
from export.page.heatmap import Cell, heat_map
from export.page.ink import ms, ms_range, without_paths
from export.page.scatter import Point, agreement_chart, error_chart
from lut import Accuracy, macs_model
from lut.agreement import Agreed, Why, accuracy_among, agreement
from lut.check import accuracy_of
from lut.model import COVERAGE, LatencyModel
from lut.on_paper.estimates import AnyTable, EstimatedTable, any_model
from search.pricing.tables import spaces_of
from search.space import Architecture, SearchSpace

LOOKS: dict[Why, Look] = {"calibration": "first", "verified": "third", "check": "second"}

NAMES: dict[Why, str] = {
    "calibration": "calibrated on, predicted without itself",
    "verified": "shipped and verified, predicted without itself",
    "check": "check, never calibrated on",
}

MOST_CELLS = 4_000
"""Cells of a heat map; a space with more choices is summed up by its operators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedSpace:
    """A space that a table was profiled for, as far as the table can price it.

    Attributes:
        space: The space.
        model: Prices its networks; None where the table cannot yet.
        networks: Whole networks, predicted and measured.
        baseline: How well operations (FLOPs) predict those that were calibrated on.
        lacking: Why there is no model.
    """

    space: SearchSpace
    model: LatencyModel | None = None
    networks: tuple[Agreed, ...] = ()
    baseline: Accuracy | None = None
    lacking: str = ""

    @property
    def heading(self) -> ET.Element:
        """The heading of its part of a section, where a table is of several spaces."""
        size = "x".join(map(str, self.space.input_shape))
        return el("h3", None, f"{self.space.name}, {size}, {self.space.classes} classes")


def priced_spaces(table: AnyTable) -> list[PricedSpace]:
    """Price every space that a table was profiled for, once for all parts of a page."""
    return [_priced(table, space) for space in spaces_of(table)]


def _priced(table: AnyTable, space: SearchSpace) -> PricedSpace:
    try:
        model = any_model(table, space)
        if isinstance(table, EstimatedTable):
            return PricedSpace(space=space, model=model)
        ratios = np.array(macs_model(table, space).band.ratios)
    except LatkitError as error:
        return PricedSpace(space=space, lacking=without_paths(str(error)))
    return PricedSpace(
        space=space,
        model=model,
        networks=tuple(agreement(table, space, model)),
        baseline=accuracy_of(1 / ratios, np.ones_like(ratios)),
    )


def of_each(
    spaces: Sequence[PricedSpace], parts: Callable[[PricedSpace], Sequence[Node]]
) -> list[Node]:
    """Return the parts of each space, under its name where there are several."""
    named = len(spaces) > 1
    return [node for each in spaces for node in ([each.heading] if named else []) + [*parts(each)]]


def agreement_parts(priced: PricedSpace) -> list[Node]:
    """Show predicted against measured latency of every whole network of a space."""
    found, model = priced.networks, priced.model
    if model is None:
        return [paragraph(f"No network can be predicted yet: {priced.lacking}")]
    low, high = model.band.around(COVERAGE)
    kinds = [why for why in LOOKS if any(each.why == why for each in found)]
    accuracies = {NAMES[why]: accuracy_among([e for e in found if e.why == why]) for why in kinds}
    if priced.baseline:
        accuracies["operations (FLOPs), calibrated alike"] = priced.baseline
    names = [(LOOKS[why], NAMES[why]) for why in kinds]
    points = [
        Point(x=each.predicted_s * 1e3, y=each.measured_s * 1e3, says=_says(each), look=look)
        for each in found
        for look in (LOOKS[each.why],)
    ]
    return [
        paragraph(
            f"{COVERAGE:.0%} of new networks should measure within {low - 1:+.1%} and "
            f"{high - 1:+.1%} of their prediction ({model.band.kind} interval). Measured latencies "
            "are brought to the speed of the table by the canary."
        ),
        _accuracy_table(accuracies),
        agreement_chart(points, names=names),
        error_chart(points, names=names),
        _network_table(found),
    ]


def _says(each: Agreed) -> str:
    return "\n".join(
        (
            str(Architecture(each.choices)),
            f"predicted {ms(each.predicted_s)}, {ms_range(each.interval_s)}",
            f"measured {ms(each.measured_s)}",
            f"off by {each.error:+.1%}; {NAMES[each.why]}",
        )
    )


def _accuracy_table(accuracies: dict[str, Accuracy]) -> ET.Element:
    rows = [
        (
            name,
            f"{each.mape:.2%}",
            f"{each.bias:+.2%}",
            f"{each.within_5:.0%}",
            f"{each.within_10:.0%}",
            "-" if np.isnan(each.spearman) else f"{each.spearman:.3f}",
        )
        for name, each in accuracies.items()
    ]
    headers = ("networks", "MAPE", "bias", "within 5 %", "within 10 %", "Spearman")
    return rows_of_cells(headers, rows, caption="Errors of the predictions")


def _network_table(found: Sequence[Agreed]) -> ET.Element:
    rows = [
        (
            str(Architecture(each.choices)),
            f"{each.predicted_s * 1e3:.4g}",
            ms_range(each.interval_s),
            f"{each.measured_s * 1e3:.4g}",
            f"{each.error:+.1%}",
            each.why,
        )
        for each in sorted(found, key=lambda each: each.predicted_s)
    ]
    headers = ("architecture", "predicted, ms", "90 % interval, ms", "measured, ms", "off", "why")
    caption = "Whole networks, by rising prediction"
    table = rows_of_cells(headers, rows, caption=caption, words=(5,))
    return unfolding(f"The {len(rows)} networks as a table", table)


def cost_parts(priced: PricedSpace) -> list[Node]:
    """Show what every choice of every layer costs, where a latency is a sum over layers."""
    model, space = priced.model, priced.space
    if model is None:
        return []
    if model.together:
        said = (
            "A network of this space is priced as a whole, since its latency is no sum over its "
            "layers. The operators below are what it is priced by."
        )
        return [paragraph(said)]
    rows = [_cells(model, space, layer) for layer in range(len(space.layers))]
    if sum(map(len, rows)) > MOST_CELLS:
        return []
    columns = max(map(len, rows))
    matrix = [
        (str(layer), *(f"{cell.value:.1f}" for cell in row), *[""] * (columns - len(row)))
        for layer, row in enumerate(rows)
    ]
    headers = ("layer", *(f"choice {column}" for column in range(columns)))
    table = rows_of_cells(headers, matrix, caption="Cost of every choice, us")
    return [
        heat_map(
            rows,
            says="What every choice of every layer costs, in microseconds",
            caption="Microseconds that a choice adds to a network. Beside them every network has "
            f"{model.base_s * 1e6:.1f} us of stem, head and overhead.",
        ),
        unfolding(f"The {len(rows)} layers as a table", table),
    ]


def _cells(model: LatencyModel, space: SearchSpace, layer: int) -> list[Cell]:
    """Return the distinct operators of a layer with their costs."""
    choices = space.layers[layer]
    firsts = {op: choice for choice, op in reversed(list(enumerate(choices)))}
    return [
        Cell(
            value=float(model.cost_s[layer, firsts[op]]) * 1e6,
            says=f"layer {layer}, choice {firsts[op]}: {op}\n"
            f"{float(model.cost_s[layer, firsts[op]]) * 1e6:.1f} us",
        )
        for op in dict.fromkeys(choices)
    ]
