"""What `bench.econas` shows: lines, factors of cost, a plot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.econas_problems import Rows, interval
from search.econas.hierarchy import METHOD


def factors(rows: Rows) -> Iterator[str]:
    """Say at which share of a rival's cost the hierarchical search is as good, on average."""
    methods = [m for m in dict.fromkeys(row["method"] for row in rows) if m != METHOD]
    for method in methods:
        mine, theirs = by_seed(rows, METHOD), by_seed(rows, method)
        total = max(theirs[0], default=0)
        if not total or len(mine) < 2:
            continue

        def factor(
            seeds: NDArray[np.intp],
            mine: list[dict[int, float]] = mine,
            theirs: list[dict[int, float]] = theirs,
            total: int = total,
        ) -> float:
            goal = np.mean([theirs[seed][total] for seed in seeds])
            costs = sorted(set.intersection(*(set(mine[seed]) for seed in seeds)))
            reached = [c for c in costs if np.mean([mine[seed][c] for seed in seeds]) <= goal]
            return total / reached[0] if reached else 0.0

        low, high = interval(factor, len(mine))
        yield (
            f"{rows[0]['part']}: as good as {method!r} at 1/{factor(np.arange(len(mine))):.1f} of "
            f"its cost, 95 % of draws of the seeds 1/{low:.1f} to 1/{high:.1f} (1/0.0: not reached)"
        )


def by_seed(rows: Rows, method: str) -> list[dict[int, float]]:
    """Return the curves of a method, epochs to regret, one for each seed."""
    seeds = sorted({row["seed"] for row in rows})
    return [
        {r["epochs"]: r["regret"] for r in rows if r["method"] == method and r["seed"] == seed}
        for seed in seeds
    ]


def proxy_line(row: dict[str, Any]) -> str:
    """Return a row of the proxies for people."""
    low, high = row["interval"]
    seconds = f", {row['train_s']:.3g} s a network" if "train_s" in row else ""
    return (
        f"{row['name']:9} cost {row['cost_share']:.4f}: Spearman {row['spearman']:.2f} "
        f"[{low:.2f}, {high:.2f}]{seconds}"
    )


def search_lines(rows: Rows) -> Iterator[str]:
    """Return the searches for people: the mean over seeds, method by method."""
    keys = dict.fromkeys((row["part"], row["method"], row["epochs"]) for row in rows)
    for part, method, epochs in keys:
        values = [
            row["regret"]
            for row in rows
            if (row["part"], row["method"], row["epochs"]) == (part, method, epochs)
        ]
        spread = f" +- {np.std(values, ddof=1) / len(values) ** 0.5:.2f}" if values[1:] else ""
        yield (
            f"{part:8} {method:16} {epochs:6} epochs: regret {np.mean(values):.2f}{spread} points, "
            f"{len(values)} seeds"
        )


def plot(path: Path, rows: Rows) -> None:
    """Draw mean regret against cost."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts = list(dict.fromkeys(row["part"] for row in rows))
    figure = Figure((5.5 * max(1, len(parts)), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    for place, part in enumerate(parts, start=1):
        axes = figure.add_subplot(1, len(parts), place)
        mine = [row for row in rows if row["part"] == part]
        for method in dict.fromkeys(row["method"] for row in mine):
            found = [row for row in mine if row["method"] == method]
            costs = sorted({row["epochs"] for row in found})
            means = [np.mean([r["regret"] for r in found if r["epochs"] == c]) for c in costs]
            if costs == [0]:
                axes.axhline(float(means[0]), ls=":", label=method, color="#8a8a8a")
            else:
                axes.plot(costs, means, "o-", ms=4, label=method)
        axes.set(title=part, xlabel="epochs", xscale="log", ylabel="regret, points")
        axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=100)
