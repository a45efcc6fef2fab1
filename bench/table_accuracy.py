"""How well tables predict networks that they have never seen, one line a condition.

Every condition gets a table of its own, filled as `latkit profile` fills it, and networks measured
in fresh processes, as `latkit table check` does. The calibration networks are
measured again beside them: `mape` is of operators that are calibrated in the same minutes,
`mape_stored` of the table as it was made. Beside it, counting operations (FLOPs), calibrated on the
same networks. The 90 % intervals are judged by the clock, with the calibration drawn
again and again from more networks than one calibration takes.

    python bench/table_accuracy.py [--quick] [--json] [--only NAME ...] [--load CORES]
                                   [--tables DIR] [--csv F] [--png F]

With --tables the tables stay, and a run that was cut off goes on. With --load the bench itself
keeps that many cores busy meanwhile, on the last CPU, the one that is measured.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.foreign_load import foreign_load
from bench.kept import kept_in, profiled_at_cost
from bench.rows import write_csv
from devices import DeviceSpec, device_named
from lut import (
    CheckReport,
    Effort,
    LatencyTable,
    fill_table,
    latency_model,
    load_table,
    table_for,
)
from lut.calibration import choices_of
from lut.rows import rows_of
from search.pricing.coverage import CALIBRATION_NETWORKS, chains_to_measure
from search.pricing.tables import (
    CHECK_EFFORT,
    calibrated_anew,
    check_space,
    report_on,
)
from search.space import SearchSpace
from search.spaces import space_named

NETS, QUICK_NETS = 50, 12
MORE_NETWORKS = 30
"""Calibration networks measured in all; each calibration is a draw of `CALIBRATION_NETWORKS`."""

DRAWS = 40
BOOTSTRAPS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a table holds for.

    Attributes:
        device: A known device.
        space: A known space.
        resolution: Side of the images in pixels.
        batch: Images per inference.
    """

    device: str
    space: str = "greedynas"
    resolution: int = 224
    batch: int = 1

    @property
    def name(self) -> str:
        """Short name, for files and for --only."""
        return f"{self.device}-{self.space}-{self.resolution}-b{self.batch}"

    @property
    def spec(self) -> DeviceSpec:
        """The device at this batch."""
        device = device_named(self.device)
        return (
            device
            if self.batch == 1
            else replace(device, name=f"{device.name}-b{self.batch}", batch=self.batch)
        )

    @property
    def built(self) -> SearchSpace:
        """The space at this resolution and batch."""
        return space_named(self.space, resolution=self.resolution, batch=self.batch)


CONDITIONS = (
    Condition(device="cpu"),
    Condition(device="cpu-2t"),
    Condition(device="cpu-int8"),
    Condition(device="cpu-2t-int8"),
    Condition(device="cpu", resolution=128),
    Condition(device="cpu", resolution=96, batch=4),
    Condition(device="cpu", space="macro", resolution=32),
)
QUICK = (Condition(device="cpu", space="macro", resolution=32),)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[])
    parser.add_argument("--load", type=float, default=0.0, metavar="CORES")
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    known = QUICK if args.quick else CONDITIONS
    chosen = tuple(each for each in known if not args.only or each.name in args.only)
    if not chosen:
        sys.exit(f"no such condition; there are: {', '.join(c.name for c in CONDITIONS)}")
    nets = QUICK_NETS if args.quick else NETS
    reports, rows = [], []
    with kept_in(args.tables) as tables, foreign_load(args.load):
        for condition in chosen:
            report, row = measure(condition, tables / f"{condition.name}.lut", nets=nets)
            reports.append(report)
            rows.append(row | {"load": args.load})
            if not args.json:
                print(line(row), flush=True)
    if args.json:
        print(json.dumps(rows, indent=2))
    if args.csv:
        write_csv(args.csv, rows)
    if args.png:
        plot(args.png, [condition.name for condition in chosen], reports)


def measure(condition: Condition, path: Path, *, nets: int) -> tuple[CheckReport, dict[str, Any]]:
    """Make a table, check it, and judge its intervals.

    Args:
        condition: What for.
        path: The table; filled up where it is there.
        nets: Unseen networks.
    """
    space, device, effort = condition.built, condition.spec, Effort()
    _, cost = profiled_at_cost(path, space, device, effort=effort)
    with table_for(path, device) as file:
        fill_table(file, chains_to_measure(space, networks=MORE_NETWORKS), effort)
    table = load_table(path)
    checked = {
        chain: choices
        for chain, measurement in table.checks.items()
        if chain not in table.networks and len(measurement.by_process) >= CHECK_EFFORT.processes
        if (choices := choices_of(chain, space)) is not None
    }
    if len(checked) < nets:
        report = check_space(path, space, nets=nets, seed=1, effort=CHECK_EFFORT)
        table = load_table(path)
    else:  # a run that was finished: nothing is measured twice
        report = report_on(table, space, checked, device_s=0.0)
    return report, row_of(condition, report, table, nets=nets, cost=cost)


def row_of(
    condition: Condition,
    report: CheckReport,
    table: LatencyTable,
    *,
    nets: int,
    cost: Mapping[str, float],
) -> dict[str, Any]:
    """Return the figures of a table that was checked.

    Args:
        condition: What it holds for.
        report: How well it predicts.
        table: The table.
        nets: Unseen networks.
        cost: What profiling took.
    """
    return {
        "device": condition.device,
        "threads": condition.spec.threads,
        "precision": condition.spec.precision,
        "space": condition.space,
        "resolution": condition.resolution,
        "batch": condition.batch,
        "nets": nets,
        "mape": report.anew.mape,
        "bias": report.anew.bias,
        "within_5": report.anew.within_5,
        "within_10": report.anew.within_10,
        "spearman": report.anew.spearman,
        "floor": report.floor,
        "floor_ratio": report.anew.mape / report.floor,
        "coverage_90": coverage(table, condition.built),
        **cost,
        "flops_mape": report.macs_anew.mape,
        "mape_stored": report.table.mape,
        "flops_mape_stored": report.macs.mape,
        "beats_flops": beats(report),
        "by_clock_mape": report.by_clock.mape,
        "slowdown": report.slowdown,
        "rows_flagged": 1 - rows_of(table).chain_statuses()["ok"] / len(table.chains),
        "status": report.status,
    }


def coverage(table: LatencyTable, space: SearchSpace) -> float:
    """Return the share of 90 % intervals that hold the clock, over draws of the calibration."""
    rng = np.random.default_rng(0)
    table = calibrated_anew(table)
    unseen = {chain: m for chain, m in table.checks.items() if chain not in table.networks}
    checks = np.array([choices_of(chain, space) for chain in unseen])
    clock_s = np.array([measurement.median_s for measurement in unseen.values()])
    chains = list(table.networks)
    held = []
    for _ in range(DRAWS):
        drawn = rng.choice(len(chains), CALIBRATION_NETWORKS, replace=False)
        networks = {chains[i]: table.networks[chains[i]] for i in drawn}
        prices = latency_model(replace(table, networks=networks), space).price(checks)
        held.append(((prices.low_s <= clock_s) & (clock_s <= prices.high_s)).mean())
    return float(np.mean(held))


def beats(report: CheckReport) -> float:
    """Return the share of paired bootstrap draws in which the table's error is the smaller one."""
    errors = [np.abs(s / report.measured_s - 1) for s in (report.baseline_anew_s, report.anew_s)]
    gain = errors[0] - errors[1]
    draws = np.random.default_rng(0).choice(gain, (BOOTSTRAPS, len(gain))).mean(axis=1)
    return float((draws > 0).mean())


def line(row: dict[str, Any]) -> str:
    """Return a row for people."""
    return (
        f"{row['device']:12} {row['space']:9} {row['resolution']:4} b{row['batch']} "
        f"MAPE {row['mape']:.2%} within 5/10 % {row['within_5']:.0%}/{row['within_10']:.0%} "
        f"rho {row['spearman']:.3f} floor x{row['floor_ratio']:.2f} "
        f"FLOPs {row['flops_mape']:.2%} (beaten in {row['beats_flops']:.1%} of draws) "
        f"as stored {row['mape_stored']:.2%}, FLOPs {row['flops_mape_stored']:.2%}, "
        f"90 % held {row['coverage_90']:.0%}, by clock {row['by_clock_mape']:.2%}, "
        f"slower by {row['slowdown']:+.1%}, flagged {row['rows_flagged']:.0%}, "
        f"device {row['device_s']:.0f} s, {row['redone']} redone, {row['status']}"
    )


def plot(path: Path, names: Sequence[str], reports: Sequence[CheckReport]) -> None:
    """Draw predicted against measured, one panel a condition."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure((4.2 * columns, 3.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for i, (name, report) in enumerate(zip(names, reports, strict=True)):
        axes = figure.add_subplot(rows, columns, i + 1)
        measured_ms = report.measured_s * 1e3
        ends = np.array([measured_ms.min() * 0.95, measured_ms.max() * 1.05])
        axes.plot(ends, ends, color="#8a8a8a", lw=1)
        axes.fill_between(ends, ends * 0.95, ends * 1.05, color="#8a8a8a", alpha=0.15, lw=0)
        axes.plot(
            report.baseline_anew_s * 1e3, measured_ms, "x", ms=4, color="#d9730d", label="FLOPs"
        )
        axes.plot(report.anew_s * 1e3, measured_ms, "o", ms=4, color="#1f5fa8", label="table")
        axes.set(title=name, xlabel="predicted, ms", ylabel="measured, ms")
        axes.legend(frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
