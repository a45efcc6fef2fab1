"""The page of a table: can it be trusted, what does everything cost, how was it measured."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from devices import LatkitError
from devices.backend import EMULATED
from export.figures.origin import origin_line, ratios_of
from export.page.bars import Bar, Row, bar_chart
from export.page.document import Page, Section
from export.page.elements import Node, paragraph, rows_of_cells, unfolding
from export.page.frame import figure
from export.page.ink import us
from export.page.space_parts import (
    PricedSpace,
    agreement_parts,
    cost_parts,
    of_each,
    priced_spaces,
)
from export.page.table_parts import (
    MOST_ROWS,
    SLOWEST,
    condition_parts,
    counted,
    doubt_parts,
    operator_parts,
    sample_parts,
    verdict_parts,
)
from lut import ForeignList, LatencyTable, load_foreign, open_table
from lut.agreement import accuracy_among
from lut.intervals import ErrorBand
from lut.model import COVERAGE
from lut.on_paper.estimates import EstimatedTable, any_table
from lut.plans.plan_file import holds_plans
from lut.rows import RowStatus, rows_of
from profiler import Chain

KIND = "Latency table"

NO_SPACE = "The table is of no search space yet: latkit profile --space SPACE"


class NothingToReport(LatkitError):
    """A file or a directory holds nothing that a page could show."""


def table_page(path: Path) -> Page:
    """Make the page of a table.

    Raises:
        InvalidFile: The file is missing, no table, damaged, or made by a newer latkit.
        NothingToReport: Nothing was measured yet.
    """
    if holds_plans(path):
        raise NothingToReport(
            f"{path} holds plans of engines and no latency. Look at it with latkit table {path}"
        )
    table = any_table(path)
    if isinstance(table, EstimatedTable):
        return _estimates_page(path, table)
    if foreign := load_foreign(path):
        return _imported_page(path, foreign)
    if not any((table.chains, table.networks, table.checks)):
        device = table.conditions.device.name
        raise NothingToReport(
            f"nothing was measured into {path} yet. Measure: latkit profile --device {device} "
            f"--space SPACE -o {path}"
        )
    return _measured_page(path, replace(table, name=path.name))  # its errors name no folder


def _measured_page(path: Path, table: LatencyTable) -> Page:
    with open_table(path) as file:
        slices = list(file.slices())
    judged, spaces = rows_of(table), priced_spaces(table)
    statuses: dict[Chain, RowStatus] = {c: judged.chain_status(c) for c in table.chains}
    counts = Counter([EMULATED] * len(statuses) if judged.emulated else statuses.values())
    counts["unsupported"] = len(table.refusals)
    device = table.conditions.device
    agreed = of_each(spaces, agreement_parts) or [paragraph(NO_SPACE)]
    conditions = condition_parts(table.conditions, table_hash=table.hash)
    return Page(
        kind=KIND,
        title=path.name,
        lead=f"What operators and networks take on {device.name}, {device.precision}, "
        f"{counted(device.threads, 'thread')}, batch {device.batch}.",
        warning=origin_line(table.conditions),
        tiles={
            **_accuracy_tiles(spaces),
            "operators": str(len(table)),
            "rows": ", ".join(f"{n} {status}" for status, n in counts.most_common() if n),
            "calibrated on": str(len(table.networks) + len(table.verified)),
            "fresh processes": str(len({s.slice.process for s in slices})),
        },
        sections=(
            Section(name="Predicted against measured", content=agreed),
            Section(name="Cost of every choice", content=of_each(spaces, cost_parts)),
            Section(name="Operators", content=operator_parts(table, judged)),
            Section(name="Samples over time", content=sample_parts(table, slices)),
            Section(name="Doubts", content=doubt_parts(table, statuses)),
            Section(name="Verdicts fed back", content=verdict_parts(table, spaces)),
            Section(name="Conditions", content=conditions),
        ),
    )


def _accuracy_tiles(spaces: Sequence[PricedSpace]) -> dict[str, str]:
    """Return the errors of a table of one space: of checks where there are any."""
    if len(spaces) != 1 or not spaces[0].networks:
        return {}
    found = spaces[0].networks
    checks = [each for each in found if each.why == "check"]
    accuracy = accuracy_among(checks or found)
    what = f"{len(checks)} unseen" if checks else f"{len(found)} left out"
    return {
        f"MAPE, {what}": f"{accuracy.mape:.2%}",
        "within 5 %": f"{accuracy.within_5:.0%}",
        "within 10 %": f"{accuracy.within_10:.0%}",
    }


def _estimates_page(path: Path, table: EstimatedTable) -> Page:
    low, high = ErrorBand(ratios=table.ratios).around(COVERAGE)
    device, spaces = table.conditions.device, priced_spaces(table)
    seconds = {str(op): table[op] for op in table}
    return Page(
        kind=KIND,
        title=path.name,
        lead=f"What operators should take on {device.name}, {device.precision}, batch "
        f"{device.batch}: {COVERAGE:.0%} of {ratios_of(table.conditions)} between {low:.2g} and "
        f"{high:.3g} times what is estimated.",
        warning=origin_line(table.conditions),
        tiles={
            "operators": str(len(table)),
            "measured": str(table.conditions.environment.get("calibrated on", "nothing")),
            "hash": table.hash,
        },
        sections=(
            Section(name="Cost of every choice", content=of_each(spaces, cost_parts)),
            Section(name="Operators", content=_list_parts(seconds, what="estimated")),
            Section(
                name="Conditions",
                content=condition_parts(table.conditions, table_hash=table.hash),
            ),
        ),
    )


def _imported_page(path: Path, foreign: ForeignList) -> Page:
    seconds = {key: row.latency_s for key, row in foreign.items()}
    return Page(
        kind=KIND,
        title=path.name,
        lead="A list that others published: looked up by their keys, it prices no space.",
        warning="Imported: not measured in context, nor under conditions that are known here.",
        tiles={"rows": str(len(foreign)), "operators of ours": str(len(foreign.operators))},
        sections=(
            Section(name="Rows", content=_list_parts(seconds, what="imported")),
            Section(name="Conditions", content=condition_parts(foreign.conditions, table_hash="")),
        ),
    )


def _list_parts(seconds: Mapping[str, float], *, what: str) -> list[Node]:
    """Show named latencies without samples: what was estimated, or what others published."""
    ordered = sorted(seconds.items(), key=lambda pair: -pair[1])
    rows = [
        Row(
            name=name,
            figure=us(each_s),
            bars=(Bar(value=each_s * 1e6, kind="predicted"),),
            says=f"{name}\n{us(each_s)}",
        )
        for name, each_s in ordered[:SLOWEST]
    ]
    cells = [(name, f"{each_s * 1e6:.1f}") for name, each_s in ordered[:MOST_ROWS]]
    shown = f"The {len(rows)} slowest of {len(ordered)} {what} rows"
    return [
        figure(f"{shown}.", bar_chart(rows, unit=f"{what}, us", says=f"{shown}, in microseconds")),
        unfolding(
            f"{len(cells)} rows as a table",
            rows_of_cells(("row", f"{what}, us"), cells, caption="Rows, slowest first"),
        ),
    ]
