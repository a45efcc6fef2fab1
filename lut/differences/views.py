"""The differences of two tables, for people and machines."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from rich.console import Group, RenderableType
from rich.table import Table

from lut.differences.diff import Change, Finding, TableDiff, Verdict
from lut.differences.promises import Kept

MOST = 20
"""Rows of each kind that people see; machines get all."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


def diff_json(diff: TableDiff, kept: Sequence[Kept]) -> dict[str, Any]:
    """Return the figures of ``latkit table diff --json``."""
    return {
        "a": diff.a,
        "b": diff.b,
        "margin": diff.rule.margin,
        "false_positives": diff.rule.false_positives,
        "conditions": {name: list(values) for name, values in diff.conditions.items()},
        "shift": _finding(diff.shift),
        "counts": {verdict: diff.counts[verdict] for verdict in VERDICTS},
        "operators": [_change(change) for change in diff.operators],
        "networks": [_change(change) for change in diff.networks],
        "imported": [_change(change) for change in diff.imported],
        "only_a": list(diff.only_a),
        "only_b": list(diff.only_b),
        "archs": [
            {
                "arch": each.promise.name,
                "limit_ms": each.promise.limit_s * 1e3,
                "a_ms": each.a_s * 1e3,
                "b_ms": each.b_s * 1e3,
                "met_a": each.by_a,
                "met_b": each.by_b,
                "changed": each.changed,
            }
            for each in kept
        ],
    }


def diff_view(diff: TableDiff, kept: Sequence[Kept]) -> RenderableType:
    """Show what changed, and what that means for stored architectures."""
    parts: list[RenderableType] = [f"{diff.a} (a) and {diff.b} (b)"]
    apart = [f"{name}: {a} and {b}" for name, (a, b) in diff.conditions.items()]
    parts.append(f"conditions: {'; '.join(apart) or 'the same'}")
    if diff.operators or diff.networks:
        parts += _measured(diff)
    for names, side in ((diff.only_a, "a"), (diff.only_b, "b")):
        if names:
            parts.append(f"only in {side}: {len(names)}, such as {names[0]}")
    if diff.imported:
        usual = sorted(diff.imported, key=lambda change: -abs(change.b_s - change.a_s))
        parts += ["", f"{len(usual)} rows where a side was imported: no samples, no verdict"]
        parts.append(_changes(usual, unit="row"))
    if kept:
        parts += ["", _promises(kept)]
    return Group(*parts)


def _measured(diff: TableDiff) -> list[RenderableType]:
    rule, shift = diff.rule, diff.shift
    certain = 1 - rule.false_positives / 2
    parts: list[RenderableType] = [
        f"all together: {shift.verdict}, b is {_percent(shift.change)}"
        + (f" ({_interval(shift)}, {certain:.1%} certain)" if shift.interval else ""),
        f"operators: {_counts(diff.operators)}; networks: {_counts(diff.networks)}",
        f"A change is called beyond {rule.margin:.1%} and when it is certain: the probability that "
        f"anything unchanged is called is {rule.false_positives:.1%} at most.",
    ]
    if shift.verdict in ("SAME", "UNDECIDED"):
        parts.append("What all have in common may be chance and is left out of each change.")
    called = [c for c in diff.operators if c.found.verdict in ("FASTER", "SLOWER")]
    others = [c for c in diff.operators if c.found.verdict == "UNDECIDED"]
    for title, changes in (("called", called), ("undecided", others)):
        if changes:
            largest = sorted(changes, key=lambda change: -abs(change.found.change or 0.0))
            parts += ["", f"{len(changes)} operators {title}", _changes(largest, unit="operator")]
    return parts


def _changes(changes: Sequence[Change], *, unit: str) -> Table:
    view = Table(unit, "a, us", "b, us", "change", "interval", "verdict", box=None)
    for change in changes[:MOST]:
        view.add_row(
            change.name,
            f"{change.a_s * 1e6:.1f}",
            f"{change.b_s * 1e6:.1f}",
            _percent(change.found.change),
            _interval(change.found),
            change.found.verdict,
        )
    if len(changes) > MOST:
        view.add_row(f"and {len(changes) - MOST} more: --json", "", "", "", "", "")
    return view


def _promises(kept: Sequence[Kept]) -> RenderableType:
    changed = [each for each in kept if each.changed]
    view = Table("architecture", "limit, ms", "a, ms", "b, ms", "by a", "by b", box=None)
    for each in changed[:MOST]:
        view.add_row(
            each.promise.name,
            f"{each.promise.limit_s * 1e3:.4g}",
            f"{each.a_s * 1e3:.4g}",
            f"{each.b_s * 1e3:.4g}",
            "met" if each.by_a else "missed",
            "met" if each.by_b else "missed",
        )
    title = f"{len(changed)} of {len(kept)} stored architectures change their verdict"
    return Group(title, view) if changed else title


def _counts(changes: Iterable[Change]) -> str:
    verdicts = [change.found.verdict for change in changes]
    counted = [f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS]
    return ", ".join(text for text in counted if not text.startswith("0 ")) or "none in both"


def _percent(change: float | None) -> str:
    return "" if change is None else f"{change:+.1%}"


def _interval(found: Finding) -> str:
    return f"{found.interval[0]:+.1%} to {found.interval[1]:+.1%}" if found.interval else "unknown"


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "change": found.change,
        "interval": list(found.interval) if found.interval else None,
        "verdict": found.verdict,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "name": change.name,
        "a_ms": change.a_s * 1e3,
        "b_ms": change.b_s * 1e3,
        **_finding(change.found),
    }
