"""What a page says of the rows of a table: operators, samples, doubts, conditions."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from export.page.bars import Bar, Row, bar_chart
from export.page.elements import Node, listing, paragraph, rows_of_cells, unfolding
from export.page.frame import figure
from export.page.ink import flat, instant, ms, us, without_paths
from export.page.space_parts import PricedSpace
from export.page.timeline import dot_of, timeline
from lut import Conditions, LatencyTable
from lut.files.storage import StoredSlice
from lut.rows import RowStatus, TableRows
from profiler import Chain, Measurement, OpSpec
from search.space import Architecture

SLOWEST = 20
"""Operators that the chart shows."""

MOST_ROWS = 1_000
"""Operators that the text alternative lists."""

FEW_DOUBTS, MOST_DOUBTS = 8, 60
"""Rows in doubt that are shown at once, and that are listed on demand, each with its reasons."""

PRIVATE = ("config", "folder", "host", "port", "python", "serial")
"""What a transport says of how to reach a device: nobody else's business."""


def operator_parts(table: LatencyTable, judged: TableRows) -> list[Node]:
    """Show the slowest operators with their intervals."""
    ops = sorted(table, key=table.__getitem__, reverse=True)
    if not ops:
        return []
    rows = [_operator_row(op, table, judged) for op in ops[:SLOWEST]]
    cells = [
        (str(op), f"{table[op] * 1e6:.1f}", _interval_text(op, judged), judged.status(op))
        for op in ops[:MOST_ROWS]
    ]
    shown = f"The {len(rows)} slowest of {len(ops)} operators"
    more = f", the {MOST_ROWS} slowest" if len(ops) > MOST_ROWS else ""
    return [
        figure(
            f"{shown}, between usual neighbours; whiskers are 90 % intervals.",
            bar_chart(rows, unit="in context, us", says=f"{shown}, in microseconds"),
        ),
        unfolding(
            f"The {len(ops)} operators as a table{more}",
            rows_of_cells(
                ("operator", "in context, us", "90 % interval, us", "status"),
                cells,
                caption="Operators, slowest first",
                words=(3,),
            ),
        ),
    ]


def _operator_row(op: OpSpec, table: LatencyTable, judged: TableRows) -> Row:
    status, interval_us = judged.status(op), _interval_us(op, judged)
    said = (
        str(op),
        f"{us(table[op])} in context",
        f"90 % interval, us: {_interval_text(op, judged)}",
        status,
    )
    return Row(
        name=str(op) if status == "ok" else f"{op} ({status})",
        figure=us(table[op]),
        bars=(Bar(value=table[op] * 1e6, interval=interval_us),),
        says="\n".join(said),
    )


def _interval_us(op: OpSpec, judged: TableRows) -> tuple[float, float] | None:
    """Return an operator's interval; None where one process says nothing of others."""
    low, high = (end * 1e6 for end in judged.interval_s(op))
    return (low, high) if math.isfinite(high - low) else None


def _interval_text(op: OpSpec, judged: TableRows) -> str:
    interval_us = _interval_us(op, judged)
    return "not known" if interval_us is None else "{:.1f} to {:.1f}".format(*interval_us)


def sample_parts(table: LatencyTable, slices: Sequence[StoredSlice]) -> list[Node]:
    """Show the canary's speed and the slices themselves, as they were taken."""
    if not slices:
        return []
    canaries = [
        dot_of(stored.slice, median(stored.slice.reference_s) / table.reference_s)
        for stored in slices
        if stored.slice.reference_s
    ]
    usual = {**table.checks, **table.verified, **table.networks, **table.chains}
    middle: dict[Chain, float] = {chain: row.median_s for chain, row in usual.items()}
    dots = [
        dot_of(each.slice, median(each.slice.samples_s) / middle[each.chain]) for each in slices
    ]
    first, last = slices[0].taken_at, slices[-1].taken_at
    return [
        paragraph(f"{len(slices):,} slices, taken from {instant(first)} to {instant(last)}."),
        timeline(
            canaries,
            y_label="canary's time, over that of the table",
            says="How fast the device was in every slice, by its canary; above 1 is slower",
            caption="How slow the device was meanwhile: a fixed network, timed beside every "
            "sample. A rise is throttling, or others at work.",
        )
        if canaries
        else None,
        timeline(
            dots,
            y_label="time of the slice, over the median of its graph",
            says="How long every slice took by the clock, over the median of its graph",
            caption="How long each slice took by the clock, over the median of what it timed.",
        ),
    ]


def doubt_parts(table: LatencyTable, statuses: Mapping[Chain, RowStatus]) -> list[Node]:
    """Say which rows are not to be trusted, and why.

    Args:
        table: The table.
        statuses: Of its rows: what was timed, to one word.
    """
    doubtful = [chain for chain in table.chains if statuses[chain] != "ok"]
    rows = [
        (_chain_text(chain), statuses[chain], _why(table.chains[chain]))
        for chain in doubtful[:MOST_DOUBTS]
    ]
    refused = [(_chain_text(chain), "unsupported", why) for chain, why in table.refusals.items()]
    gates = Counter(piece.gate for row in table.chains.values() for piece in row.slices)
    said = ", ".join(f"{count:,} {gate}" for gate, count in gates.most_common())
    if not rows and not refused:
        return [paragraph(f"None: every row is ok. Slices of operators by gate: {said}.")]
    cells = [tuple(map(without_paths, row)) for row in (*rows, *refused[:MOST_DOUBTS])]
    headers = ("what was timed", "status", "why")
    listed = rows_of_cells(headers, cells, caption="Rows in doubt", words=(1, 2))
    return [
        paragraph(
            f"{len(doubtful)} of {len(table.chains)} rows are in doubt, {len(refused)} are not "
            f"supported. Slices by gate: {said}."
        ),
        listed if len(cells) <= FEW_DOUBTS else unfolding(f"{len(cells)} of them", listed),
    ]


def _why(row: Measurement) -> str:
    return "; ".join(row.doubts()) or "beside the other rows its processes differ too much"


def _chain_text(chain: Chain) -> str:
    return " | ".join(map(str, chain))


def verdict_parts(table: LatencyTable, spaces: Sequence[PricedSpace]) -> list[Node]:
    """List the networks that were shipped, measured, and learnt from."""
    if not table.verified:
        return []
    rows = [
        (
            str(Architecture(each.choices)),
            ms(each.predicted_s),
            ms(each.measured_s),
            f"{each.error:+.1%}",
        )
        for space in spaces
        for each in space.networks
        if each.why == "verified"
    ]
    headers = ("architecture", "predicted without itself", "measured", "off")
    return [
        paragraph(f"The calibration has learnt from {counted(table.revision, 'verdict')}."),
        rows_of_cells(headers, rows, caption="Networks that were shipped and verified"),
    ]


def condition_parts(conditions: Conditions, *, table_hash: str) -> list[Node]:
    """List what the latencies depend on."""
    facts = {"hash of the table": table_hash} if table_hash else {}
    return [
        paragraph("Latencies hold under these conditions and no others; rows never mix."),
        listing({**condition_facts(conditions.as_meta()), **facts}),
    ]


def condition_facts(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return conditions as lines, without how to reach the device.

    Args:
        meta: As files keep them, see `Conditions.as_meta`.
    """
    device = dict(meta.get("device", {}))
    if device.get("transport"):
        device["transport"] = {k: v for k, v in device["transport"].items() if k not in PRIVATE}
    return {**flat(device), **flat(meta.get("environment", {}))}


def counted(count: int, what: str) -> str:
    """Return a number of things: ``1 verdict``, ``2 verdicts``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
