"""Whether a table's rows are right or say that they are not: quiet, and beside other work.

A reference table gets twice the usual effort on the quiet machine. Then tables are made
as `latkit profile` makes them: quiet, and while the bench itself keeps a part of the measured CPU
busy. A row is wrong if it is off the reference by more than `WRONG`, at one speed of the device. It
is silently wrong if it is not flagged either; it is a false alarm if it is flagged and not wrong.

    python bench/noise_gate.py [--quick] [--json] [--loads CORES ...] [--tables DIR] [--csv F]

With --tables the tables stay, and a run that was cut off goes on; what tables took is counted over
all runs.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.foreign_load import foreign_load
from bench.kept import kept_in, profiled_at_cost
from bench.rows import write_csv
from devices import device_named
from lut import Effort, LatencyTable
from lut.rows import WIDE_ROW, rows_of
from search.pricing.tables import profile_space
from search.space import SearchSpace
from search.spaces import space_named

WRONG = WIDE_ROW / 2
"""How far a row that is called ok may be off: half of the width that is still called ok."""

LOADS = (0.0, 0.5, 1.0)
"""Cores that others take."""

REFERENCE = 2
"""How many times the usual processes the reference takes."""


def main() -> None:
    """Make tables, compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--loads", type=float, nargs="+", metavar="CORES", default=LOADS)
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    space = space_named("macro", resolution=32) if args.quick else space_named("greedynas")
    rows = []
    with kept_in(args.tables) as folder:
        effort = replace(Effort(), processes=REFERENCE * Effort().processes, first_process=1000)
        reference, _ = profile_space(
            folder / "reference.lut", space, device_named("cpu"), effort=effort
        )
        for load in args.loads:
            rows.append(row_of(space, folder, reference, load))
            if not args.json:
                print(line(rows[-1]), flush=True)
    if args.json:
        print(json.dumps(rows, indent=2))
    if args.csv:
        write_csv(args.csv, rows)


def row_of(
    space: SearchSpace, folder: Path, reference: LatencyTable, load: float
) -> dict[str, Any]:
    """Make a table beside so much other work, and judge its rows.

    Args:
        space: What to measure.
        folder: Where tables are kept.
        reference: What is taken for true.
        load: Cores that others take.
    """
    with foreign_load(load):
        table, cost = profiled_at_cost(
            folder / f"load-{load:g}.lut", space, device_named("cpu"), effort=Effort()
        )
    off = errors(table, reference)
    rows = rows_of(table)
    flagged = np.array([rows.chain_status(chain) != "ok" for chain in table.chains])
    wrong = np.abs(off) > WRONG
    return {
        "load": load,
        "rows": len(off),
        "statuses": " ".join(f"{n} {name}" for name, n in rows.chain_statuses().items()),
        "flagged": float(flagged.mean()),
        "wrong": float(wrong.mean()),
        "silently_wrong": float((wrong & ~flagged).mean()),
        "false_alarms": float((flagged & ~wrong).mean()),
        "median_error": float(np.median(np.abs(off))),
        **cost,
    }


def errors(table: LatencyTable, reference: LatencyTable) -> NDArray[np.float64]:
    """Return by which share each row is off, at the speed at which most are not."""
    ratios = [
        table.seconds(measured) / reference.seconds(reference.chains[chain])
        for chain, measured in table.chains.items()
    ]
    return np.array(ratios) / median(ratios) - 1


def line(row: dict[str, Any]) -> str:
    """Return a row for people."""
    return (
        f"load {row['load']:.1f}: {row['rows']} rows, {row['statuses']}; off by more than "
        f"{WRONG:.0%}: {row['wrong']:.1%}, silently {row['silently_wrong']:.1%}; false alarms "
        f"{row['false_alarms']:.1%}; median error {row['median_error']:.1%}; {row['redone']} "
        f"slices taken again, {row['device_s']:.0f} s"
    )


if __name__ == "__main__":
    main()
