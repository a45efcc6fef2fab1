"""What changed between two tables, operator by operator, with a stated rate of false alarms.

Two tables of one device never agree exactly, and a list of a hundred differences is mostly chance.
So a change is called only where it is beyond a margin that matters, and certain. The change of an
operator has two parts::

    log(b / a) = shift + own

The shift is what all operators share: the device is 4 % slower today. It is as uncertain as few
processes are. What is an operator's own is known far better, for it is compared with the others in
the same processes. A shift that may be chance is not held against any operator: verdicts are on the
own parts. A shift that is called itself is part of what happened to each, and verdicts are on the
sum. Either way the shift is reported beside.

Half of the false alarms are allowed to the shift, half to all operators and networks together, by
Bonferroni's inequality: it needs no independence, which operators that share a context do not
have, and it gives intervals, which a rate of false discoveries does not.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lut.exchange.foreign import ForeignList, load_foreign
from lut.spread import Spread, Uncertain, spread_of, total
from lut.table import Conditions, LatencyTable, load_table
from profiler import Chain, Conv, MBConv, OpSpec, contexts, in_context, terms

Verdict = Literal["SAME", "FASTER", "SLOWER", "UNDECIDED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What can be said of a change.

    Attributes:
        change: Relative: 0.05 is 5 % slower; None where nothing can be said.
        interval: Where it lies, as certain as the rule asks; None where that is unknown.
        verdict: What to call it.
    """

    change: float | None
    interval: tuple[float, float] | None
    verdict: Verdict


UNKNOWN = Finding(change=None, interval=None, verdict="UNDECIDED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a change is called.

    ``SAME`` if its interval lies within the margin; ``FASTER`` or ``SLOWER`` if the change lies
    beyond the margin and its interval does not hold zero; else ``UNDECIDED``.

    Attributes:
        margin: Changes up to this, relative, do not matter.
        false_positives: Probability that of everything unchanged in a table anything is called.
    """

    margin: float = 0.02
    false_positives: float = 0.05

    def __post_init__(self) -> None:
        if not self.margin >= 0.0:
            raise ValueError(f"a margin is not negative, got {self.margin}")
        if not 0.0 < self.false_positives <= 0.5:
            raise ValueError(f"a false-positive rate is in (0, 0.5], got {self.false_positives}")

    def find(self, log_change: float, half_width: float) -> Finding:
        """Judge a change by the logarithm of the ratio, and how far that may be off."""
        edge = math.log1p(self.margin)
        verdict: Verdict = "UNDECIDED"
        if abs(log_change) + half_width <= edge:
            verdict = "SAME"
        elif abs(log_change) > max(edge, half_width):
            verdict = "SLOWER" if log_change > 0 else "FASTER"
        ends = math.expm1(log_change - half_width), math.expm1(min(log_change + half_width, 700.0))
        return Finding(
            change=math.expm1(log_change),
            interval=ends if math.isfinite(half_width) else None,
            verdict=verdict,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How one thing differs between two tables.

    Attributes:
        name: The operator, the network, or the key of a list that others published.
        a_s: Seconds in the first table, the mean over its processes.
        b_s: Seconds in the second.
        found: What can be said of it; beyond what all operators share, unless that was called.
    """

    name: str
    a_s: float
    b_s: float
    found: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDiff:
    """The differences of two tables.

    Attributes:
        a: Name of the first.
        b: Name of the second.
        rule: When a change was called.
        conditions: What they were made under and differ in: condition to both values.
        shift: What all operators share.
        operators: Those that both price.
        networks: Calibration networks that both measured.
        only_a: Operators that only the first prices.
        only_b: Operators that only the second prices.
        imported: Where a side is a list that others published: no samples, so no verdicts.
    """

    a: str
    b: str
    rule: Rule
    conditions: Mapping[str, tuple[str, str]]
    shift: Finding
    operators: tuple[Change, ...]
    networks: tuple[Change, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    imported: tuple[Change, ...] = ()

    @property
    def counts(self) -> Counter[Verdict]:
        """How many operators got which verdict."""
        return Counter(change.found.verdict for change in self.operators)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """What two tables both timed.

    Attributes:
        a: The first table's rows.
        b: The second's.
        ratios: Row to the logarithm of the second over the first.
        middle: What they share, and how far their noise may have moved that.
        shift: The same, and how far another set of processes would.
        counted: Share of a context's own change that counts, see `_counted`.
    """

    a: Spread
    b: Spread
    ratios: Mapping[Chain, Uncertain]
    middle: Uncertain
    shift: Uncertain
    counted: float


def diff_tables(a: LatencyTable, b: LatencyTable, *, rule: Rule | None = None) -> TableDiff:
    """Compare what two tables measured.

    Args:
        a: The table to compare with.
        b: The table in question; ``SLOWER`` is slower than in ``a``. Their conditions may differ.
        rule: When a change is called; the usual one if left out.
    """
    rule = rule or Rule()
    operators = [op for op in a if op in b]
    networks = [chain for chain in a.networks if chain in b.networks]
    rows = _rows(a, b, {chain for op in operators for chain in contexts(op)})
    sums: list[tuple[str, Chain, Mapping[Chain, float]]] = [
        (str(op), in_context(op), terms(op)) for op in operators
    ]
    sums += [(" | ".join(map(str, chain)), chain, {chain: 1.0}) for chain in networks]
    changes = _changes(rows, sums, rule)
    return TableDiff(
        a=a.name,
        b=b.name,
        rule=rule,
        conditions=conditions_apart(a.conditions, b.conditions),
        shift=_found_shift(rows.shift, rule),
        operators=changes[: len(operators)],
        networks=changes[len(operators) :],
        only_a=tuple(str(op) for op in a if op not in b),
        only_b=tuple(str(op) for op in b if op not in a),
    )


def diff_files(a: Path, b: Path, *, rule: Rule | None = None) -> TableDiff:
    """Compare two files: what was measured by `diff_tables`, what was imported by its names.

    Args:
        a: The file to compare with.
        b: The file in question.
        rule: When a change is called; the usual one if left out.

    Raises:
        InvalidFile: A file is missing, no table, damaged, or made by a newer latkit.
    """
    tables, lists = (load_table(a), load_table(b)), (load_foreign(a), load_foreign(b))
    found = diff_tables(*tables, rule=rule)
    if not any(lists):
        return found
    by_key = all(lists)
    mine, theirs = (_seconds(*side, by_key=by_key) for side in zip(tables, lists, strict=True))
    imported = (
        Change(name=name, a_s=seconds, b_s=theirs[name], found=UNKNOWN)
        for name, seconds in mine.items()
        if name in theirs
    )
    return replace(
        found,
        imported=tuple(imported),
        only_a=tuple(name for name in mine if name not in theirs),
        only_b=tuple(name for name in theirs if name not in mine),
    )


def _seconds(table: LatencyTable, foreign: ForeignList, *, by_key: bool) -> dict[str, float]:
    """Return what a file says of operators, or of keys."""
    if by_key:
        return {key: row.latency_s for key, row in foreign.items()}
    if foreign:
        return {_plainly(op): row.latency_s for op, row in foreign.operators.items()}
    return {_plainly(op): seconds for op, seconds in table.items()}


def _plainly(op: OpSpec) -> str:
    """Name an operator as published keys do: they do not tell relu6 from relu, nor do devices."""
    if isinstance(op, Conv | MBConv) and op.activation == "relu6":
        return str(replace(op, activation="relu"))
    return str(op)


def conditions_apart(a: Conditions, b: Conditions) -> dict[str, tuple[str, str]]:
    """Return the conditions that differ, each with both values."""
    names = [phrase.partition(": ")[0] for phrase in a.differences(b)]
    mine, theirs = ({**m["device"], **m["environment"]} for m in (a.as_meta(), b.as_meta()))
    return {name: (str(mine.get(name)), str(theirs.get(name))) for name in names}


def _changes(
    rows: _Rows, sums: Sequence[tuple[str, Chain, Mapping[Chain, float]]], rule: Rule
) -> tuple[Change, ...]:
    """Judge sums of rows by their own part, or with the shift where that is called."""
    called = _found_shift(rows.shift, rule).verdict in ("FASTER", "SLOWER")
    shift = rows.shift.value if called else 0.0
    width = rows.shift.half_width(rule.false_positives / 2) if called else 0.0
    alarms = rule.false_positives / 2 / max(1, len(sums))
    changes = []
    for name, own, parts in sums:
        change = _own_change(rows, own, parts)
        found = UNKNOWN
        if change:
            found = rule.find(change.value + shift, math.hypot(change.half_width(alarms), width))
        a_s, b_s = (sum(_terms(side, parts).values()) for side in (rows.a, rows.b))
        changes.append(Change(name=name, a_s=a_s, b_s=b_s, found=found))
    return tuple(changes)


def _rows(a: LatencyTable, b: LatencyTable, contexts_of_both: Collection[Chain]) -> _Rows:
    rows_a, rows_b = spread_of(a), spread_of(b)
    ratios = {c: rows_b.log_s[c] - rows_a.log_s[c] for c in rows_a.log_s if c in rows_b.log_s}
    middle = _middle(sorted(ratios.values(), key=lambda ratio: ratio.value))
    shift = replace(rows_b.speed - rows_a.speed, value=middle.value)
    counted = _counted([ratios[chain] for chain in contexts_of_both], middle.value)
    return _Rows(a=rows_a, b=rows_b, ratios=ratios, middle=middle, shift=shift, counted=counted)


def _middle(ratios: Sequence[Uncertain]) -> Uncertain:
    """Return the median of sorted values, the better known the heavier.

    It is right as long as less than half of them changed. Of normal values a median has pi / 2
    times the variance of a mean.
    """
    weights = [1 / math.sqrt(ratio.variance) if ratio.variance else 1.0 for ratio in ratios]
    weights = weights if any(weights) else [1.0] * len(ratios)  # nothing is known of any
    half, below, value = sum(weights) / 2, 0.0, 0.0
    for ratio, weight in zip(ratios, weights, strict=True):
        below, value = below + weight, ratio.value
        if below >= half:
            break
    known = sum(1 / ratio.variance for ratio in ratios if ratio.variance)
    return Uncertain(value=value, variance=math.pi / 2 / known if known else 0.0, degrees=math.inf)


def _counted(ratios: Sequence[Uncertain], shift: float) -> float:
    """Return the share of their own changes that contexts have not by chance.

    An operator's latency is what up to four context rows leave of one, and their noise with it.
    Contexts rarely change on their own. So their changes are shrunk towards the shift by what
    chance explains of them: to nothing where they differ by no more than that.

    Source:
        James and Stein, Estimation with quadratic loss, Berkeley Symposium 1961: the positive part.
    """
    scores = []
    for ratio in ratios:
        square = (ratio.value - shift) ** 2
        certain = math.inf if square else 0.0
        scores.append(square / ratio.variance if ratio.variance else certain)
    mean = sum(scores) / max(1, len(scores))  # 1 by chance alone
    return max(0.0, 1 - 1 / mean) if mean else 0.0


def _found_shift(shift: Uncertain, rule: Rule) -> Finding:
    return rule.find(shift.value, shift.half_width(rule.false_positives / 2))


def _own_change(rows: _Rows, own: Chain, parts: Mapping[Chain, float]) -> Uncertain | None:
    """Return the logarithm of the second over the first of a sum of rows, beyond what all share.

    There is none where a sum is not positive: what is cheaper in company than alone cannot be
    compared by ratios.

    Args:
        rows: Of both tables.
        own: The row that has the operator itself; the others are its contexts.
        parts: The rows, and how often each counts.
    """
    counted = {chain: 1.0 if chain == own else rows.counted for chain in parts}
    shift = rows.shift.value
    before = _terms(rows.a, parts)
    after = {
        chain: term_s * math.exp(shift + counted[chain] * (rows.ratios[chain].value - shift))
        for chain, term_s in before.items()
    }
    a_s, b_s = sum(before.values()), sum(after.values())
    if min(a_s, b_s) <= 0.0:
        return None
    fixed = sum(term_s * (1 - counted[chain]) for chain, term_s in after.items()) / b_s
    errors = [rows.middle.times(fixed - 1)]
    for chain, count in counted.items():
        share_a, share_b = before[chain] / a_s, after[chain] / b_s
        errors.append(rows.a.log_s[chain].times(share_b * (1 - count) - share_a))
        errors.append(rows.b.log_s[chain].times(share_b * count))
    return total(math.log(b_s / a_s) - shift, errors)


def _terms(spread: Spread, parts: Mapping[Chain, float]) -> dict[Chain, float]:
    return {chain: n * math.exp(spread.log_s[chain].value) for chain, n in parts.items()}
