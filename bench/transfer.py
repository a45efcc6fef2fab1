"""What a few probes say of a new device, from the tables of others: published and our own.

Published: six devices on which the cells of NAS-Bench-201 were timed. Each in turn is new, the
other five are known, with the counts of operations on each cell's edges, as written and without
dead ones; probes are chosen among 400 random cells, and all other cells judge. HELP and BRP-NAS
ask the same of ten probes (Spearman .932 and .805), of other devices, so they stand beside and are
no rivals here.

Own, with --tables: tables of this machine, say with other threads, precisions or levels of
optimisation, all of one space. Each in turn is new, the others are known together and one by one;
the whole networks that its table has measured are probes or judges.

    LATKIT_DATA=DIR python bench/transfer.py [--quick] [--json] [--seeds N] [--tables T.lut ...]
                                             [--csv F] [--png F]

Beside them what needs no known device: counting operations, with a line fitted to as many probes.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.rows import write_csv
from lut import ErrorBand, LatencyTable, calibration_networks, load_table
from lut.calibration import fit_line, network_sums, operator_matrix
from lut.on_paper.transfer import Known, fit_transfer, most_telling
from lut.on_paper.transferred import known_of
from profiler import macs
from profiler.operators.cells import OPERATIONS, pruned
from search.metrics import spearman
from search.pricing.tables import space_of
from search.spaces.nasbench201 import has_path
from search.truths.nasbench201 import read_nas_bench_201

PROBES = (5, 10, 20)

POOL = 400
"""Cells that probes are chosen among."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A device that is new, and what is known.

    Attributes:
        device: The new one.
        sources: The known ones.
        known: What they say of all networks.
        latency_s: ``(networks,)`` the truth on the new device.
        operations: ``(networks,)`` for the baseline.
    """

    device: str
    sources: str
    known: Known
    latency_s: NDArray[np.float64]
    operations: NDArray[np.float64]

    def row(self, pool: NDArray[np.intp], *, probes: int, seed: int) -> dict[str, Any]:
        """Return the figures of one transfer, probes being chosen among some networks."""
        chosen = pool[most_telling(self.known.some(pool), probes)]
        rest = np.setdiff1d(np.arange(len(self.latency_s)), chosen)
        among = np.concatenate([chosen, pool])  # the units of the priors are the pool's
        transfer = fit_transfer(self.known.some(among), np.arange(probes), self.latency_s[chosen])
        predicted_s, truth_s = transfer.latency_s(self.known.some(rest)), self.latency_s[rest]
        low, high = ErrorBand(ratios=transfer.ratios).around(0.9)
        line = fit_line(self.operations[chosen], self.latency_s[chosen], free_base=True)
        held = (truth_s >= low * predicted_s) & (truth_s <= high * predicted_s)
        return {
            "device": self.device,
            "known": self.sources,
            "probes": probes,
            "seed": seed,
            **_errors(predicted_s, truth_s),
            "coverage_90": float(held.mean()),
            "flops": _errors(line(self.operations[rest]), truth_s),
        }


def _errors(predicted_s: NDArray[np.float64], truth_s: NDArray[np.float64]) -> dict[str, float]:
    off = np.abs(predicted_s / truth_s - 1)
    return {
        "spearman": spearman(predicted_s, truth_s),
        "mape": float(off.mean()),
        "within_10": float((off <= 0.1).mean()),
    }


def main() -> None:
    """Ask, and print."""
    args = _arguments()
    seeds = args.seeds or (2 if args.quick else 20)
    rows = [*_own_rows([load_table(path) for path in args.tables])]
    if folder := os.environ.get("LATKIT_DATA"):
        rows += _published_rows(Path(folder) / "nas_bench_201", seeds)
    elif not args.tables:
        sys.exit("LATKIT_DATA is unset, and there are no --tables: nothing to ask")
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print(*map(line_of, summary(rows)), sep="\n")
    if args.csv:
        write_csv(args.csv, summary(rows))
    if args.png:
        plot(args.png, rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=0, help="Draws of the pool of probes.")
    parser.add_argument("--tables", type=Path, nargs="*", default=[])
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--png", type=Path)
    return parser.parse_args()


def _published_rows(folder: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Return a row for each new device, number of probes and seed."""
    bench = read_nas_bench_201(folder / "accuracy.csv.gz")
    cells = [index for index, arch in enumerate(bench.archs) if has_path(arch)]
    table = pd.read_csv(folder / "latency_ms.csv.gz").set_index("idx")
    seconds = table.loc[cells].to_numpy() * 1e-3
    written = np.array([bench.archs[index].choices for index in cells])
    live = np.array([pruned(tuple(choices)) for choices in written.tolist()])
    counts = np.stack(
        [(each == op).sum(axis=1) for each in (live, written) for op in range(1, len(OPERATIONS))],
        axis=1,
    ).astype(float)
    operations = bench.columns["mflops_c10"][cells]
    for new, device in enumerate(table.columns):
        others = [i for i in range(len(table.columns)) if i != new]
        question = Question(
            device=device,
            sources="the other five",
            known=Known(latency_s=seconds[:, others], counts=counts),
            latency_s=seconds[:, new],
            operations=operations,
        )
        for seed in range(seeds):
            pool = np.random.default_rng(seed).choice(len(cells), POOL, replace=False)
            for probes in PROBES:
                yield question.row(pool, probes=probes, seed=seed)


def _own_rows(tables: Sequence[LatencyTable]) -> Iterator[dict[str, Any]]:
    """Return a row for each new device, set of known ones and number of probes."""
    for new in tables:
        others = [table for table in tables if table is not new]
        known = [others, *([table] for table in others)] if len(others) > 1 else [others]
        space = space_of(new)
        everything = replace(new, networks={**new.networks, **new.checks})
        choices, latency_s = calibration_networks(everything, space)
        operations = network_sums(space, choices, operator_matrix(space, macs))
        for sources in known:
            question = Question(
                device=new.conditions.device.name,
                sources=" + ".join(table.conditions.device.name for table in sources),
                known=known_of(sources, space, choices),
                latency_s=latency_s,
                operations=operations,
            )
            for probes in PROBES:
                yield question.row(np.arange(len(choices)), probes=probes, seed=0)


FIGURES = ("spearman", "mape", "within_10", "coverage_90")


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return means over seeds, one row for each device, set of known ones and number of probes."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["device"], row["known"], row["probes"]), []).append(row)
    return [
        {
            "device": device,
            "known": known,
            "probes": probes,
            "seeds": len(group),
            **{name: float(np.mean([row[name] for row in group])) for name in FIGURES},
            **{
                f"flops_{name}": float(np.mean([row["flops"][name] for row in group]))
                for name in FIGURES[:3]
            },
        }
        for (device, known, probes), group in groups.items()
    ]


def line_of(row: dict[str, Any]) -> str:
    """Say a row of the summary."""
    return (
        f"{row['device']:>12} from {row['known']:<32} {row['probes']:>3} probes: Spearman "
        f"{row['spearman']:.3f} (operations {row['flops_spearman']:.3f}), MAPE {row['mape']:.1%} "
        f"({row['flops_mape']:.1%}), within 10 % {row['within_10']:.0%} "
        f"({row['flops_within_10']:.0%}), 90 % intervals hold {row['coverage_90']:.0%}"
    )


def plot(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw Spearman against probes for the published devices."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    drawn = [row for row in summary(rows) if row["known"] == "the other five"]
    for device in dict.fromkeys(row["device"] for row in drawn):
        mine = [row for row in drawn if row["device"] == device]
        axes.plot(
            [row["probes"] for row in mine], [row["spearman"] for row in mine], "o-", label=device
        )
    axes.axhline(0.932, color="grey", linestyle="--", linewidth=1)
    axes.annotate("HELP, 10 probes, other devices", (10, 0.9325), fontsize=8, color="grey")
    axes.set(
        xlabel="networks measured on the new device",
        ylabel="Spearman, all other cells",
        xticks=PROBES,
    )
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
