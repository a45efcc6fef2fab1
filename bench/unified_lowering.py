"""Which lowering of a unified block is faster: parts side by side, or one padded convolution.

Blocks with kernels of several sizes, in the layers of SGNAS's released space, are timed in context
both ways, interleaved in the same fresh processes. Where all kernels are of one size both ways are
one. What is printed is how long the padded one takes, as a share of the other: below 1 it is
faster.

    python bench/unified_lowering.py [--quick] [--json] [--device D] [--seeds N] [--csv F]
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.hardware_steps import CONFIDENCE
from bench.rows import write_csv
from devices import DeviceSpec, device_named
from profiler import Chain, Measurement, Unified, contexts, in_context, measure_together, terms
from profiler.intervals import mean_ratio
from search.spaces import space_named

KERNELS = ((3, 5), (3, 7), (5, 7), (3, 3, 5), (3, 5, 7), (3, 3, 3, 7), (3, 3, 5, 5, 7, 7))
"""Kernels of the blocks: two sizes and three, small blocks and large."""

QUICK_KERNELS, QUICK_LAYERS = ((3, 3, 5), (3, 5, 7)), (1, 7, 15)
PROCESSES, QUICK_PROCESSES = 6, 3
ROUNDS = 2
"""Slices of a chain in each process."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=1, help="campaigns, each in another order")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    device = device_named(args.device)
    blocks = drawn_blocks(device, quick=args.quick)
    processes = QUICK_PROCESSES if args.quick else PROCESSES
    rows: list[dict[str, Any]] = []
    device_s = 0.0
    for seed in range(args.seeds):
        found, spent_s = compare(blocks, device, processes=processes, seed=seed)
        rows += [{"seed": seed, **row} for row in found]
        device_s += spent_s
    figures = summary(rows) | {"device_s": device_s}
    if args.json:
        print(json.dumps(figures, indent=2))
    else:
        print("\n".join(map(row_line, rows)))
        print(json.dumps(figures, indent=2))
    if args.csv:
        write_csv(args.csv, rows)


def drawn_blocks(device: DeviceSpec, *, quick: bool) -> list[Unified]:
    """Return blocks of the released space, one of each shape of layer and kernels."""
    layers = space_named("unified", batch=device.batch).layers
    chosen = [layers[i] for i in QUICK_LAYERS] if quick else list(layers)
    shapes = dict.fromkeys(layer[0] for layer in chosen)  # equal layers share their operators
    return [
        replace(op, kernels=kernels)
        for op in shapes
        for kernels in (QUICK_KERNELS if quick else KERNELS)
        if isinstance(op, Unified)
    ]


def compare(
    blocks: Sequence[Unified], device: DeviceSpec, *, processes: int, seed: int
) -> tuple[list[dict[str, Any]], float]:
    """Time every block both ways.

    Args:
        blocks: What to time.
        device: Where.
        processes: Fresh processes.
        seed: Of the order of the slices.

    Returns:
        A row for each block, and the seconds of device time.
    """
    pairs = [(replace(op, lowering="padded"), replace(op, lowering="split")) for op in blocks]
    chains: dict[Chain, None] = {}
    for pair in pairs:
        for op in pair:
            chains |= dict.fromkeys((in_context(op), *contexts(op)))
    found = measure_together(list(chains), device, processes=processes, rounds=ROUNDS, seed=seed)
    rows = []
    for padded, split in pairs:
        mine, theirs = (by_process(op, found.measured) for op in (padded, split))
        logs = [
            math.log(mine[p] / theirs[p]) for p in mine if min(mine[p], theirs.get(p, 0.0)) > 0.0
        ]
        ratio, low, high = mean_ratio(logs, CONFIDENCE) if logs else (math.nan,) * 3
        rows.append(
            {
                "block": str(padded),
                "padded_ms": float(np.median(list(mine.values()))) * 1e3,
                "split_ms": float(np.median(list(theirs.values()))) * 1e3,
                "ratio": ratio,
                "low": low,
                "high": high,
                "status": found.measured[in_context(padded)].status,
            }
        )
    return rows, found.device_s


def by_process(op: Unified, measured: Mapping[Chain, Measurement]) -> dict[int, float]:
    """Return an operator's seconds in each process, what its neighbours cost subtracted."""
    counted = [(count, measured[chain].by_process) for chain, count in terms(op).items()]
    shared = set.intersection(*(set(each) for _, each in counted))
    return {p: sum(count * each[p] for count, each in counted) for p in sorted(shared)}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of all blocks together."""
    ratios = np.array([row["ratio"] for row in rows])
    ratios = ratios[np.isfinite(ratios)]
    return {
        "blocks": len(rows),
        "ratio": float(np.exp(np.log(ratios).mean())),
        "smallest_ratio": float(ratios.min()),
        "largest_ratio": float(ratios.max()),
        "padded_faster": float((ratios < 1.0).mean()),
        "padded_surely_faster": float(np.mean([row["high"] < 1.0 for row in rows])),
        "split_surely_faster": float(np.mean([row["low"] > 1.0 for row in rows])),
    }


def row_line(row: dict[str, Any]) -> str:
    """Return a row for people."""
    return (
        f"{row['block']:52} padded {row['padded_ms']:.3f} ms, split {row['split_ms']:.3f} ms: "
        f"{row['ratio']:.3f} ({row['low']:.3f} to {row['high']:.3f}) {row['status']}"
    )


if __name__ == "__main__":
    main()
