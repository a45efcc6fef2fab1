"""Tables and reports for people, as rich renderables; the command line prints them."""

from collections import Counter
from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table

from lut.check import Accuracy, CheckReport
from lut.exchange.foreign import ForeignList
from lut.files.engines import engines_said
from lut.intervals import ErrorBand
from lut.on_paper.estimates import EstimatedTable
from lut.rows import COVERAGE, RowStatus, rows_of
from lut.table import ESTIMATED, LatencyTable

SLOWEST = 8
"""Operators that a summary lists."""


def table_view(table: LatencyTable, facts: Mapping[str, object]) -> RenderableType:
    """Show the summary of a table, see `summary`, and its slowest operators."""
    judged = rows_of(table)
    rows = sorted(((table[op], op) for op in table), key=lambda pair: -pair[0])
    slowest = Table("operator", "in context, us", "90 % interval, us", "status", box=None)
    for latency_s, op in rows[:SLOWEST]:
        low, high = (end * 1e6 for end in judged.interval_s(op))
        slowest.add_row(
            str(op), f"{latency_s * 1e6:.1f}", f"{low:.1f} to {high:.1f}", judged.status(op)
        )
    title = f"The {min(SLOWEST, len(rows))} slowest operators"
    return Group(_listing(facts), "", title, slowest)


def _spaces(labels: Mapping[str, object]) -> str:
    """Return the spaces among the labels of a table."""
    found = (key.removeprefix("space ") for key in labels if key.startswith("space "))
    return ", ".join(found) or "none"


def summary(table: LatencyTable) -> dict[str, object]:
    """Return the figures of a table for people and machines."""
    statuses: Counter[RowStatus] = Counter(rows_of(table).chain_statuses())
    statuses["unsupported"] = len(table.refusals)
    gates = Counter(s.gate for m in table.chains.values() for s in m.slices)
    processes = {s.process for m in table.chains.values() for s in m.slices}
    gpu = table.conditions.device.gpu
    engines = engines_said(table.engines, cuda_graph=gpu is not None and gpu.cuda_graph)
    return {
        "device": table.conditions.device.name,
        "conditions": ", ".join(f"{k} {v}" for k, v in table.conditions.environment.items()),
        "spaces": _spaces(table.labels),
        "operators": len(table),
        "calibration networks": len(table.networks),
        "calibration revision": table.revision,
        "checked networks": len(table.checks),
        "processes": len(processes),
        "speed": _speed(table),
        "rows": ", ".join(f"{n} {status}" for status, n in statuses.most_common() if n),
        "slices": ", ".join(f"{count} {gate}" for gate, count in gates.most_common()),
        **({"engines": engines} if engines else {}),
        "hash": table.hash,
    }


def foreign_facts(foreign: ForeignList) -> dict[str, object]:
    """Return the figures of what others published; none where a table was measured."""
    if not foreign:
        return {}
    return {"imported rows": len(foreign), "of these operators of ours": len(foreign.operators)}


def foreign_view(foreign: ForeignList, facts: Mapping[str, object]) -> RenderableType:
    """Show the summary of what others published, and its slowest rows."""
    rows = sorted(foreign.values(), key=lambda row: -row.latency_s)[:SLOWEST]
    slowest = Table("us", "standard deviation, us", "measurements", "imported row", box=None)
    slowest.columns[-1].overflow = "fold"  # a key is nothing without its end
    for row in rows:
        spread = "" if row.spread_s is None else f"{row.spread_s * 1e6:.1f}"
        count = "" if row.count is None else str(row.count)
        slowest.add_row(f"{row.latency_s * 1e6:.1f}", spread, count, row.key)
    return Group(
        _listing(facts),
        "",
        f"The {len(rows)} slowest of {len(foreign)} imported rows. They were not measured in "
        "context and price no space.",
        slowest,
    )


def estimates_facts(table: EstimatedTable) -> dict[str, object]:
    """Return the figures of a table of estimates for people and machines."""
    low, high = ErrorBand(ratios=table.ratios).around(COVERAGE)
    environment = table.conditions.environment
    sheet = table.conditions.device.sheet
    return {
        "status": ESTIMATED,
        "device": table.conditions.device.name,
        **({"spec sheet": sheet.source} if sheet else {}),
        "conditions": ", ".join(f"{key} {value}" for key, value in environment.items()),
        "spaces": _spaces(table.labels),
        "operators": len(table),
        "90 % interval": f"{low:.2g} to {high:.3g} times the estimate",
        "hash": table.hash,
    }


def estimates_view(table: EstimatedTable, facts: Mapping[str, object]) -> RenderableType:
    """Show the summary of a table of estimates, and its slowest operators."""
    slowest = Table("operator", "estimated, us", "status", box=None)
    for op in sorted(table, key=table.__getitem__, reverse=True)[:SLOWEST]:
        slowest.add_row(str(op), f"{table[op] * 1e6:.1f}", ESTIMATED)
    title = f"The {min(SLOWEST, len(table))} slowest of operators that nobody measured"
    return Group(_listing(facts), "", title, slowest)


def _speed(table: LatencyTable) -> str:
    """Say at which speed of the device the latencies are, and how much it varied."""
    if not table.speeds_s:
        return "not known: no canary was timed"
    low, high = (end(table.speeds_s.values()) * 1e6 for end in (min, max))
    middle = table.reference_s * 1e6
    return f"the canary takes {middle:.4g} us, {low:.4g} to {high:.4g} between processes"


def check_view(report: CheckReport) -> RenderableType:
    """Show how predictions agree with measurements, beside the baseline."""
    view = Table("", "MAPE", "bias", "within 5 %", "within 10 %", "Spearman", box=None)
    view.add_row("table", *_columns(report.table))
    view.add_row("operations (FLOPs)", *_columns(report.macs))
    view.add_row("table, by the clock", *_columns(report.by_clock))
    view.add_row("table, calibrated anew", *_columns(report.anew))
    view.add_row("operations, calibrated anew", *_columns(report.macs_anew))
    lines = [
        f"{len(report.measured_s)} unseen networks, "
        f"{report.measured_s.min() * 1e3:.3g} to {report.measured_s.max() * 1e3:.3g} ms; "
        f"two processes differ by {report.floor:.1%} (the floor)",
        f"the device is {abs(report.slowdown):.1%} "
        f"{'slower' if report.slowdown > 0 else 'faster'} now than in the table; all lines but the "
        "third are at the table's speed; anew: on calibration networks measured beside these",
        f"intervals: 90 % nominal, {report.coverage_90:.0%} actual, by the clock",
        f"status: {report.status}",
        *(f"  {doubt}" for doubt in report.doubts),
    ]
    return Group(view, *lines)


def check_json(report: CheckReport) -> dict[str, object]:
    """Return the promised keys of ``latkit table check --json``."""
    baseline, by_clock = _plain(report.macs), _plain(report.by_clock)
    del baseline["bias"]
    return {
        "nets": len(report.measured_s),
        **_plain(report.table),
        "floor": report.floor,
        "coverage_90": report.coverage_90,
        "flops": baseline,
        "by_clock": by_clock,
        "anew": _plain(report.anew),
        "flops_anew": _plain(report.macs_anew),
        "slowdown": report.slowdown,
        "device_s": report.device_s,
        "status": report.status,
        "doubts": list(report.doubts),
    }


def _listing(facts: Mapping[str, object]) -> Table:
    listing = Table.grid(padding=(0, 2))
    for key, value in facts.items():
        listing.add_row(key, str(value))
    return listing


def _columns(accuracy: Accuracy) -> list[str]:
    return [
        f"{accuracy.mape:.2%}",
        f"{accuracy.bias:+.2%}",
        f"{accuracy.within_5:.0%}",
        f"{accuracy.within_10:.0%}",
        f"{accuracy.spearman:.3f}",
    ]


def _plain(accuracy: Accuracy) -> dict[str, float]:
    return {
        "mape": accuracy.mape,
        "bias": accuracy.bias,
        "within_5": accuracy.within_5,
        "within_10": accuracy.within_10,
        "spearman": accuracy.spearman,
    }
