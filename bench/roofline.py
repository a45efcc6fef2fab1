"""What a spec sheet knows of a GPU: estimates against 90,000 operators that others timed.

For two GPUs (bench/roofline_data.py): rank correlation and error of the roofline as published, of
its textbook form (the larger of operations and bytes, where ours adds them), and of operations and
bytes alone; then all of them calibrated on 10, 30 and 100 rows, drawn again and again, and judged
on all other rows. Operations and bytes alone get a base and a slope. Intervals hold 90 % of the
draws; without calibration nothing is drawn.

    LATKIT_DATA=DIR python bench/roofline.py [--quick] [--json] [--seeds N] [--csv F] [--png F]
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.roofline_data import Rows, read_blocks, read_convolutions
from bench.rows import write_csv
from devices import fitted_slowdown
from lut.calibration import fit_line
from search.metrics import spearman

DRAWS, QUICK_DRAWS = 200, 5
EVERY_QUICK = 20
"""Of the convolutions, the quick form takes one of so many."""
SIZES = (10, 30, 100)
"""Rows that estimates are calibrated on."""
SHARES = np.linspace(0.05, 0.95, 19)
"""Of the ratios that an uncalibrated estimate's interval is made of."""

Values: TypeAlias = NDArray[np.float64]
Estimate: TypeAlias = Callable[[NDArray[np.intp]], Values]
"""From the rows that one may look at to an estimate of all rows."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, help="draws of calibration rows")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    folder = Path(os.environ["LATKIT_DATA"])
    data = [
        read_convolutions(folder, every=EVERY_QUICK if args.quick else 1),
        read_blocks(folder),
    ]
    draws = args.seeds or (QUICK_DRAWS if args.quick else DRAWS)
    rows = [row for each in data for row in judged(each, draws=draws)]
    ratios = usual_ratios(data)
    if args.csv:
        write_csv(args.csv, rows)
    if args.png:
        plot(args.png, data)
    if args.json:
        print(json.dumps({"rows": rows, "usual_ratios": ratios, "draws": draws}))
    else:
        show(rows, ratios)


def judged(data: Rows, *, draws: int, seed: int = 0) -> list[dict[str, Any]]:
    """Judge every estimate of one GPU, as published and calibrated.

    Args:
        data: What was timed.
        draws: Of the rows to calibrate on.
        seed: Of the draws.
    """
    parts_s = data.parts_s
    raw = as_published(data, parts_s)
    rows = [_row(data, name, [_figures(raw[name], data.measured_s)]) for name in raw]
    rng = np.random.default_rng(seed)
    for size in SIZES:
        drawn = [rng.permutation(len(parts_s))[:size] for _ in range(draws)]
        for name, estimate in calibrated(data, parts_s).items():
            found = [_held_out(estimate(index), data.measured_s, index) for index in drawn]
            rows.append(_row(data, name, found, size=size))
    return rows


def as_published(data: Rows, parts_s: Values) -> dict[str, Values]:
    """Return every estimate by the spec sheet alone, seconds of each row.

    Args:
        data: What was timed.
        parts_s: ``(rows, 4)``, see `Rows.parts_s`.
    """
    launch, matrix, vector, memory = parts_s.T
    return {
        "roofline": parts_s.sum(axis=1),
        "larger of both": launch + np.maximum(matrix + vector, memory),
        "operations": matrix + vector,
        "bytes": memory,
    }


def calibrated(data: Rows, parts_s: Values) -> dict[str, Estimate]:
    """Return what makes an estimate from a few measured rows.

    Args:
        data: What was timed.
        parts_s: ``(rows, 4)``, see `Rows.parts_s`.
    """

    def roofline(index: NDArray[np.intp]) -> Values:
        slowdown = fitted_slowdown(parts_s[index], data.measured_s[index])
        return parts_s @ np.array(astuple(slowdown))

    def line(feature: Values) -> Estimate:
        return lambda index: fit_line(feature[index], data.measured_s[index], free_base=True)(
            feature
        )

    return {
        "roofline": roofline,
        "operations": line(data.operations),
        "bytes": line(data.moved),
    }


def usual_ratios(data: Sequence[Rows]) -> list[float]:
    """Return measured over estimated, as published, at `SHARES`; every GPU counts alike."""
    ratios = [each.measured_s / each.parts_s.sum(axis=1) for each in data]
    weights = np.concatenate([np.full(len(each), 1 / len(each)) for each in ratios])
    order = np.argsort(np.concatenate(ratios))
    at = np.searchsorted(np.cumsum(weights[order]), SHARES * len(data))
    return [float(value) for value in np.concatenate(ratios)[order][at]]


def _held_out(estimate_s: Values, measured_s: Values, index: NDArray[np.intp]) -> dict[str, float]:
    others = np.ones(len(measured_s), bool)
    others[index] = False
    return _figures(estimate_s[others], measured_s[others])


def _figures(estimate_s: Values, measured_s: Values) -> dict[str, float]:
    error = np.abs(estimate_s / measured_s - 1)
    ratio = measured_s / np.maximum(estimate_s, 1e-12)
    return {
        "spearman": spearman(estimate_s, measured_s),
        "mape": float(error.mean()),
        "median_error": float(np.median(error)),
        "within_2x": float(((ratio >= 0.5) & (ratio <= 2.0)).mean()),
        "median_ratio": float(np.median(ratio)),
    }


def _row(
    data: Rows, name: str, found: Sequence[Mapping[str, float]], *, size: int = 0
) -> dict[str, Any]:
    """Return means over draws, and where 90 % of them lie."""
    row: dict[str, Any] = {"gpu": data.name, "estimate": name, "calibrated_on": size}
    for key in found[0]:
        values = [each[key] for each in found]
        row[key] = float(np.mean(values))
        if size:
            row[f"{key}_low"], row[f"{key}_high"] = map(float, np.quantile(values, (0.05, 0.95)))
    return row


def show(rows: Sequence[Mapping[str, Any]], ratios: Sequence[float]) -> None:
    """Print the figures for people."""
    view = Table("GPU", "estimate", "rows", "Spearman", "MAPE", "median", "within 2x", box=None)
    for row in rows:
        cells = [_cell(row, key) for key in ("spearman", "mape", "median_error", "within_2x")]
        view.add_row(row["gpu"], row["estimate"], str(row["calibrated_on"]), *cells)
    console = Console(width=130)
    console.print(view)
    console.print("rows: that it was calibrated on; judged on all others. Brackets: 90 % of draws.")
    listed = ", ".join(f"{ratio:.3g}" for ratio in ratios)
    console.print(f"measured over roofline as published, 5 to 95 %: {listed}")


def _cell(row: Mapping[str, Any], key: str) -> str:
    if f"{key}_low" not in row:
        return f"{row[key]:.3f}"
    return f"{row[key]:.3f} [{row[f'{key}_low']:.2f}, {row[f'{key}_high']:.2f}]"


def plot(path: Path, data: Sequence[Rows]) -> None:
    """Draw measured against estimated seconds, as published and calibrated on 30 rows."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(data), figsize=(5 * len(data), 9), squeeze=False)
    for column, each in zip(axes.T, data, strict=True):
        parts_s = each.parts_s
        drawn = np.random.default_rng(0).permutation(len(parts_s))[:30]
        estimates = {
            "as published": parts_s.sum(axis=1),
            "calibrated on 30 rows": calibrated(each, parts_s)["roofline"](drawn),
        }
        for place, (name, estimate_s) in zip(column, estimates.items(), strict=True):
            place.hexbin(
                estimate_s * 1e3,
                each.measured_s * 1e3,
                xscale="log",
                yscale="log",
                bins="log",
                gridsize=60,
                mincnt=1,
            )
            ends = [each.measured_s.min() * 1e3, each.measured_s.max() * 1e3]
            place.plot(ends, ends, color="black", linewidth=0.8)
            place.set(title=f"{each.name}, {name}", xlabel="estimated, ms", ylabel="measured, ms")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
