"""How well plans of operators predict the memory of whole engines.

For each space a table of plans is made as ``latkit profile --device rtx-aot`` makes it, then random
networks that it has not seen are built whole. Compared are weights and activations with their sum,
with what a model of parameters alone would say, and how often a network takes more than predicted.

    python bench/plan_memory.py [--quick] [--json] [--seeds N] [--nets N] [--csv F] [--png F]
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.rows import write_csv
from devices import device_named
from devices.nvidia.engine_plan import plan_engine
from lut.plans.memory import memory_model
from profiler import total_parameters
from profiler.operators.builders import graph_for
from search.metrics import spearman
from search.pricing.coverage import spread_sample
from search.pricing.planning import plan_space
from search.space import SearchSpace, as_choices
from search.spaces import space_named

CAPABILITY = "8.6"
NUMBER_BYTES = 2  # of fp16

SPACES = (("macro", 32), ("greedynas", 64), ("greedynas", 224), ("greedynas-se", 224))
QUICK_SPACES = (("macro", 8),)
"""Spaces with the side of their images."""

NETS, QUICK_NETS = 50, 4

Values: TypeAlias = NDArray[np.float64]


def main() -> None:
    """Build and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=1, help="draws of the networks")
    parser.add_argument("--nets", type=int, help="networks of each space and seed")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    nets = args.nets or (QUICK_NETS if args.quick else NETS)
    networks = [
        row
        for name, side in (QUICK_SPACES if args.quick else SPACES)
        for row in built(space_named(name, resolution=side), nets=nets, seeds=args.seeds)
    ]
    rows = summary(networks)
    if args.csv:
        write_csv(args.csv, networks)
    if args.png:
        plot(args.png, networks)
    if args.json:
        print(json.dumps({"spaces": rows, "capability": CAPABILITY}))
    else:
        show(rows)


def built(space: SearchSpace, *, nets: int, seeds: int) -> list[dict[str, Any]]:
    """Plan a space, build unseen networks of it, and return both figures of each.

    Args:
        space: Whose networks.
        nets: How many for each seed.
        seeds: Draws, from 1 on; the table's own networks are those of seed 0.
    """
    device = device_named("rtx-aot")
    with TemporaryDirectory() as folder:
        table = plan_space(Path(folder) / "bench.plan", space, device, [CAPABILITY])
    model = memory_model(table, space, CAPABILITY)
    rows = []
    for seed in range(1, seeds + 1):
        known = table.networks(CAPABILITY)
        for arch in spread_sample(space, nets, np.random.default_rng(seed), avoid=known):
            plan = plan_engine(graph_for(space.chain(arch), device), capability=CAPABILITY)
            rows.append(
                {
                    "space": f"{space.name} {space.input_shape[2]} px",
                    "arch": str(arch),
                    "predicted_mb": float(model.total_bytes(as_choices([arch]))[0]) / 1e6,
                    "built_mb": plan.total_bytes / 1e6,
                    "weight_mb": plan.weight_bytes / 1e6,
                    "parameters_mb": total_parameters(space.chain(arch)) * NUMBER_BYTES / 1e6,
                    "kernels": len(plan.kernels),
                }
            )
    return rows


def summary(networks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the errors of each space, relative to what was built."""
    rows = []
    for space in dict.fromkeys(each["space"] for each in networks):
        mine = [each for each in networks if each["space"] == space]
        predicted, real, parameters = (
            np.array([each[key] for each in mine])
            for key in ("predicted_mb", "built_mb", "parameters_mb")
        )
        error = predicted / real - 1
        rows.append(
            {
                "space": space,
                "networks": len(mine),
                "built_mb": [float(real.min()), float(real.max())],
                "mape": float(np.abs(error).mean()),
                "worst": float(np.abs(error).max()),
                "too_small": float((error < 0.0).mean()),
                "worst_too_small": float(max(-error.min(), 0.0)),
                "spearman": spearman(predicted, real),
                "parameters_spearman": spearman(parameters, real),
                "parameters_mape": float(np.abs(parameters / real - 1).mean()),
            }
        )
    return rows


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the errors for people."""
    view = Table(box=None)
    for title in (
        *("space", "networks", "built, MB", "MAPE", "worst", "built larger", "by at most"),
        *("Spearman", "parameters: MAPE", "Spearman"),
    ):
        view.add_column(title)
    for row in rows:
        low, high = row["built_mb"]
        view.add_row(
            row["space"],
            str(row["networks"]),
            f"{low:.4g} to {high:.4g}",
            *(f"{row[key]:.2%}" for key in ("mape", "worst", "too_small", "worst_too_small")),
            f"{row['spearman']:.4f}",
            f"{row['parameters_mape']:.0%}",
            f"{row['parameters_spearman']:.4f}",
        )
    Console(width=140).print(view)


def plot(path: Path, networks: Sequence[dict[str, Any]]) -> None:
    """Draw built against predicted megabytes of every network."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, place = plt.subplots(figsize=(6, 6))
    for space in dict.fromkeys(each["space"] for each in networks):
        mine = [each for each in networks if each["space"] == space]
        place.scatter(
            [each["predicted_mb"] for each in mine],
            [each["built_mb"] for each in mine],
            s=12,
            label=space,
        )
    ends = [min(each["built_mb"] for each in networks), max(each["built_mb"] for each in networks)]
    place.plot(ends, ends, color="black", linewidth=0.8)
    place.set(xlabel="predicted from plans of operators, MB", ylabel="engine built whole, MB")
    place.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
