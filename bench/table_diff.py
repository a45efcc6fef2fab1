"""Whether `latkit table diff` calls what changed, and only that.

Tables of a simulated device are compared with their repetitions, and with repetitions in which some
operators were made 5 % slower. With --device the same space is profiled twice on a real device as
well: nothing changed between the two but the minutes.

    python bench/table_diff.py [--quick] [--json] [--csv F] [--device D] [--tables DIR]
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from bench.kept import kept_in
from bench.rows import write_csv
from devices import device_named
from lut import Effort, LatencyTable, diff_tables
from lut.differences.diff import Rule
from profiler import Chain, Measurement, OpSpec, in_context
from search.pricing.tables import profile_space
from search.space import SearchSpace
from search.spaces import space_named

TABLES, QUICK_TABLES = 6, 3
SLOWER = 1.05
SHARE = 0.2
"""Share of the operators that are made slower."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", help="Profile this device twice, too.")
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    with kept_in(args.tables) as folder:
        space = space_named("greedynas", resolution=224)
        count = QUICK_TABLES if args.quick else TABLES
        tables = [profiled(folder / f"sim-{i}.lut", "sim", space, number=i) for i in range(count)]
        rows = [{"device": "sim", **figures(tables, space)}]
        if args.device:
            small = space_named("macro", resolution=32)
            pair = [
                profiled(folder / f"{args.device}-{i}.lut", args.device, small, number=i)
                for i in range(2)
            ]
            rows.append({"device": args.device, **figures(pair, small)})
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(line(row))
    if args.csv:
        write_csv(args.csv, rows)


def profiled(path: Path, device: str, space: SearchSpace, *, number: int) -> LatencyTable:
    """Profile a space in processes that no other table has."""
    effort = replace(Effort(), first_process=100 * number, seed=number)
    table, _ = profile_space(path, space, device_named(device), effort=effort)
    return table


def figures(tables: list[LatencyTable], space: SearchSpace) -> dict[str, Any]:
    """Compare every two tables, as they are and with some operators made slower."""
    rng = np.random.default_rng(0)
    called = compared = found = slowed = 0
    for a, b in combinations(tables, 2):
        verdicts = verdicts_of(a, b)
        called += sum(verdict in ("FASTER", "SLOWER") for verdict in verdicts.values())
        compared += len(verdicts)
        changed = changeable(space, b)
        some = rng.choice(len(changed), max(1, round(SHARE * len(changed))), replace=False)
        picked = [changed[i] for i in some]
        verdicts = verdicts_of(a, slower(b, picked))
        found += sum(verdicts[str(op)] == "SLOWER" for op in picked)
        slowed += len(picked)
    return {
        "tables": len(tables),
        "margin": Rule().margin,
        "compared": compared,
        "called_share": called / compared,
        "slowed": slowed,
        "found_share": found / slowed,
    }


def verdicts_of(a: LatencyTable, b: LatencyTable) -> Mapping[str, str]:
    """Return the verdict on every operator."""
    return {change.name: change.found.verdict for change in diff_tables(a, b).operators}


def changeable(space: SearchSpace, table: LatencyTable) -> list[OpSpec]:
    """Return the operators of a space that a table can price."""
    return [op for op in space.operators if op in table]


def slower(table: LatencyTable, ops: list[OpSpec]) -> LatencyTable:
    """Return a table in which operators take `SLOWER` times as long as they do."""
    chains: dict[Chain, Measurement] = dict(table.chains)
    for op in ops:
        chain = in_context(op)
        whole = table.seconds(chains[chain])
        factor = 1 + (SLOWER - 1) * table[op] / whole
        chains[chain] = Measurement(
            slices=tuple(
                replace(piece, samples_s=tuple(factor * s for s in piece.samples_s))
                for piece in chains[chain].slices
            )
        )
    return replace(table, chains=chains)


def line(row: dict[str, Any]) -> str:
    """Return a row for people."""
    return (
        f"{row['device']:4} {row['tables']} tables: {row['called_share']:.2%} of "
        f"{row['compared']} unchanged operators called FASTER or SLOWER at a margin of "
        f"{row['margin']:.0%}; {row['found_share']:.1%} of {row['slowed']} made 5 % slower found"
    )


if __name__ == "__main__":
    main()
