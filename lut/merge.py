"""Two tables of one device as one."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from lut.differences.diff import conditions_apart
from lut.exchange.content import Content, read_content, write_content
from lut.files.engines import renumbered
from lut.files.storage import StoredSlice
from lut.fill import CAMPAIGN
from lut.table import REVISION, WrongConditions, conditions_from_meta
from profiler import Gate

_Process = tuple[str, int]
"""A campaign, and the number of one of its processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge did.

    Attributes:
        slices: In the new file.
        added: Of those, not in the first file.
        shared: In both files, and in the new one once.
        renumbered: Processes of the second file that have another number in the new one.
    """

    slices: int
    added: int
    shared: int
    renumbered: int


def merge_tables(a: Path, b: Path, output: Path) -> Merged:
    """Write what two files hold into a new one.

    Raises:
        WrongConditions: They were made under different conditions; names them.
        InvalidFile: A file is no table, or ``output`` exists.
        StorageFull: The disk is full.
    """
    first, second = read_content(a), read_content(b)
    here, there = conditions_from_meta(first.meta), conditions_from_meta(second.meta)
    if apart := conditions_apart(here, there):
        found = "; ".join(f"{name}: {x} and {y}" for name, (x, y) in list(apart.items())[:4])
        raise WrongConditions(
            f"{a} and {b} were made under different conditions ({found}), and rows of different "
            f"ones never mix. See what differs: latkit table diff {a} {b}"
        )
    merged, numbers = merge(first, second)
    write_content(output, merged)
    return Merged(
        slices=len(merged.slices),
        added=len(merged.slices) - len(first.slices),
        shared=len(first.slices) + len(second.slices) - len(merged.slices),
        renumbered=sum(1 for (_, old), new in numbers.items() if old != new),
    )


def merge(a: Content, b: Content) -> tuple[Content, dict[_Process, int]]:
    """Unite what two files of equal conditions hold.

    Every file counts its processes from 0, so equal numbers say nothing. A process of both files is
    one whose slices they share, as copies of one file do; every other process of ``b`` keeps its
    number where that is free, and else gets the next one that is. No slice is lost, and none that
    both files hold is doubled.

    Returns:
        The union, and each process of ``b`` with its number there.
    """
    numbers = _numbers(_by_process(a.slices), _by_process(b.slices))
    moved = [
        replace(row, slice=replace(row.slice, process=numbers[_process(row)])) for row in b.slices
    ]
    slices = sorted(_union(a.slices, moved), key=lambda row: row.taken_at)
    timed = {(row.slice.process, row.chain): numbers[_process(row)] for row in b.slices}
    labels = {**renumbered(b.labels, timed), **a.labels, **_revision(a, b, slices)}
    labels.pop(CAMPAIGN, None)  # a name that only one file has
    union = Content(
        meta=a.meta,
        labels=labels,
        roles=tuple(dict.fromkeys((*a.roles, *b.roles))),
        refusals={**b.refusals, **a.refusals},
        slices=tuple(slices),
        foreign=tuple({row.key: row for row in (*b.foreign, *a.foreign)}.values()),
    )
    return union, numbers


def _revision(a: Content, b: Content, slices: Sequence[StoredSlice]) -> dict[str, int]:
    """Return the revision of the calibration: another one where neither file has all verdicts."""
    whole = _verified(slices) in [_verified(side.slices) for side in (a, b)]
    revisions = [int(side.labels.get(REVISION, 0)) for side in (a, b)]
    revision = max(revisions) if whole else sum(revisions)
    return {REVISION: revision} if revision else {}


def _verified(slices: Sequence[StoredSlice]) -> int:
    return sum(row.role == "verified" for row in slices)


def _process(row: StoredSlice) -> _Process:
    """Return the campaign of a slice, and which of its processes took it.

    A check and each verdict have processes of their own, whatever their numbers.
    """
    campaign = row.role if row.role in ("check", "verified") else "table"
    return campaign, row.slice.process


def _identity(row: StoredSlice) -> Hashable:
    """Return what two copies of a slice have in common; a gate may be judged later."""
    piece = row.slice
    return (
        *(row.chain, row.role, row.taken_at),
        *(piece.round, piece.repeats, piece.samples_s, piece.reference_s),
    )


def _by_process(rows: Iterable[StoredSlice]) -> dict[_Process, Counter[Hashable]]:
    processes: dict[_Process, Counter[Hashable]] = defaultdict(Counter)
    for row in rows:
        processes[_process(row)][_identity(row)] += 1
    return processes


def _numbers(
    a: Mapping[_Process, Counter[Hashable]], b: Mapping[_Process, Counter[Hashable]]
) -> dict[_Process, int]:
    """Return a number in the union for each process of ``b``."""
    numbers = _same_processes(a, b)
    taken = {*a, *((campaign, number) for (campaign, _), number in numbers.items())}
    others = sorted(set(b) - set(numbers))
    for process in sorted(others, key=lambda process: process in taken):  # the free ones first
        campaign, number = process
        while (campaign, number) in taken:  # ends: there are finitely many
            number += 1
        numbers[process] = number
        taken.add((campaign, number))
    return numbers


def _same_processes(
    a: Mapping[_Process, Counter[Hashable]], b: Mapping[_Process, Counter[Hashable]]
) -> dict[_Process, int]:
    """Return the processes of ``b`` that are in ``a``: those that share most slices first."""
    homes: dict[tuple[str, Hashable], list[int]] = defaultdict(list)
    for (campaign, number), pieces in a.items():
        for piece in pieces:
            homes[campaign, piece].append(number)
    shared: Counter[tuple[str, int, int]] = Counter()
    for (campaign, number), pieces in b.items():
        for piece, count in pieces.items():
            for home in homes.get((campaign, piece), ()):
                shared[campaign, home, number] += min(count, a[campaign, home][piece])
    found: dict[_Process, int] = {}
    settled: set[_Process] = set()
    # The order of ties does not depend on which file is called a.
    for pair in sorted(shared, key=lambda p: (-shared[p], p[1] != p[2], sorted(p[1:]))):
        campaign, home, number = pair
        if (campaign, number) not in found and (campaign, home) not in settled:
            found[campaign, number] = home
            settled.add((campaign, home))
    return found


def _union(a: Sequence[StoredSlice], b: Sequence[StoredSlice]) -> list[StoredSlice]:
    """Return every slice as often as the file that has it oftener does."""
    mine, theirs = _alike(a), _alike(b)
    union = []
    for key in dict.fromkeys((*mine, *theirs)):
        for left, right in zip_longest(mine.get(key, ()), theirs.get(key, ())):
            row = left or right
            gates = [each.slice.gate for each in (left, right) if each]
            union.append(replace(row, slice=row.slice.judged(max(gates, key=_certainty))))
    return union


def _alike(rows: Iterable[StoredSlice]) -> dict[Hashable, list[StoredSlice]]:
    """Return slices by what copies have in common, the most certain verdicts first."""
    groups: dict[Hashable, list[StoredSlice]] = defaultdict(list)
    for row in rows:
        groups[_process(row), _identity(row)].append(row)
    return {
        key: sorted(group, key=lambda row: _certainty(row.slice.gate), reverse=True)
        for key, group in groups.items()
    }


def _certainty(gate: Gate) -> tuple[bool, bool, str]:
    """Order verdicts: a judged slice over one that was not yet, a disturbed over a clean one."""
    return gate != "open", gate != "clean", gate
