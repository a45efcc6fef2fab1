"""Does TensorRT for RTX build every operator of every space, for two GPUs that are not here?

    python -m bench.tensorrt_builds --quick

Each operator is built between its neighbours, in each precision, as a table would time it. No
latency: what is shown is how many were built, how long that took, and what was refused.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from bench.rows import write_csv
from devices import DeviceSpec, Precision, UnsupportedGraph
from devices.nvidia.tensorrt_build import build_engine
from profiler import OpSpec, in_context
from profiler.operators.builders import graph_for
from search.spaces import SPACES, space_named

QUICK = 4
"""Operators of each space in a quick run, spread over all of them."""

CAPABILITIES = ("7.5", "12.0")


def main(argv: Sequence[str] | None = None) -> None:
    """Build, and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few operators of each space")
    parser.add_argument("--spaces", nargs="+", default=list(SPACES))
    parser.add_argument("--json", action="store_true", help="figures only")
    parser.add_argument("--csv", type=Path, help="where to write the rows")
    args = parser.parse_args(argv)
    rows = [
        row(space, precision, quick=args.quick)
        for space in args.spaces
        for precision in get_args(Precision)
    ]
    if args.csv is not None:
        write_csv(args.csv, rows)
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        Console().print(view(rows))


def row(name: str, precision: Precision, *, quick: bool) -> dict[str, Any]:
    """Build operators of a space in one precision; return the figures."""
    device = DeviceSpec(name="gpu", backend="tensorrt", precision=precision)
    operators = space_named(name).operators
    chosen = operators[:: -(-len(operators) // QUICK)] if quick else operators
    seconds = list(build_all(chosen, device))
    built = [each for each in seconds if isinstance(each, float)]
    refused = [each for each in seconds if isinstance(each, str)]
    return {
        "space": name,
        "precision": precision,
        "operators": len(chosen),
        "built": len(built),
        "median_s": median(built),
        "total_s": sum(built),
        "refused": refused[0] if refused else "",
    }


def build_all(operators: Sequence[OpSpec], device: DeviceSpec) -> Iterator[float | str]:
    """Yield for each operator the seconds that it took, or why it was refused."""
    for op in operators:
        start = perf_counter()
        try:
            build_engine(graph_for(in_context(op), device), compute_capabilities=CAPABILITIES)
            yield perf_counter() - start
        except UnsupportedGraph as error:
            yield f"{op}: {error}"


def view(rows: Sequence[dict[str, Any]]) -> Table:
    """Show the figures."""
    table = Table("space", "precision", "operators", "built", "median, s", "total, s", "refused")
    for each in rows:
        table.add_row(
            each["space"],
            each["precision"],
            str(each["operators"]),
            str(each["built"]),
            f"{each['median_s']:.3f}",
            f"{each['total_s']:.1f}",
            each["refused"],
        )
    return table


if __name__ == "__main__":
    main()
