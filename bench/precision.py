"""What int8 costs in accuracy and gains in latency, by every rule for ranges.

Networks are trained alone for some minutes on small real images, quantised as `latkit export` does,
and compared on the test split, image by image. Rules are compared there; which one an export takes
is decided on the validation split, and so is which layers stay in floats. Latency is that of whole
networks, in fp32 and int8 side by side in the same fresh processes; there a network at 224 pixels,
whose weights nobody trained, stands beside them.

    LATKIT_DATA=DIR python bench/precision.py [--quick] [--json] [--seeds N] [--runs DIR]
        [--no-latency] [--csv F] [--png F]

Trained networks are kept in --runs, and not trained again.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench.arguments import bench_parser
from bench.kept import kept_in
from bench.rows import write_csv
from devices import Graph, device_named
from devices.onnx_runtime.quantization import quantized
from devices.onnx_runtime.quantization_ranges import RULES
from export.bundle.onnx_file import network_graph
from export.logits import arithmetic_of, predictions
from export.precision.against_floats import Agreement, agreement
from export.precision.calibration import CalibrationAsked, calibration_of
from export.precision.quantize import MAX_DROP_POINTS, Quantized, quantize
from profiler.operators.builders import chain_graph
from profiler.whole_models.side_by_side import side_by_side
from search.final.settings import RECIPES, SMALL
from search.final.training import train_final
from search.images.data import ImageData, load_data
from search.space import Architecture
from search.spaces import space_named
from search.spaces.published import network_from_text

DEVICE = device_named("cpu-int8")
TARGET_SPEEDUP = 1.5
LARGE_NETWORK, LARGE_SIDE = "greedynas-b", 224
CHOSEN = "chosen"
"""What is called so that an export would take, with --max-drop at its usual value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network of the macro space, and what it is trained on.

    Attributes:
        data: ``"digits"``, or ``"cifar"`` for the JPEGs under LATKIT_DATA.
        side: Of the images, in pixels.
        arch: Digits of the architecture.
        epochs: Of training, by the recipe for small data.
        batch: Images a step.
    """

    data: str
    side: int
    arch: str
    epochs: int
    batch: int = 64

    @property
    def name(self) -> str:
        """What rows are called by."""
        return f"{self.data} {self.side} px {self.arch}"


SUBJECTS = (
    Subject(data="digits", side=16, arch="22212220", epochs=15, batch=32),
    Subject(data="cifar", side=16, arch="12101100", epochs=3),
)
QUICK = (Subject(data="digits", side=16, arch="11001000", epochs=3, batch=32),)

Row = dict[str, Any]


def main() -> None:
    """Train, quantise, compare, time and print."""
    parser = bench_parser(__doc__)
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where trained networks stay")
    parser.add_argument("--no-latency", action="store_true", help="accuracies alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    graphs: dict[str, tuple[Graph, Graph]] = {}
    with kept_in(args.runs) as runs:
        for subject in QUICK if args.quick else SUBJECTS:
            for seed in range(args.seeds or (1 if args.quick else 3)):
                found, pair = compared(subject, runs, seed=seed)
                rows += found
                graphs.setdefault(subject.name, pair)
    latencies = [] if args.no_latency else timed(graphs, quick=args.quick)
    report(args, rows, latencies)


def compared(subject: Subject, runs: Path, *, seed: int) -> tuple[list[Row], tuple[Graph, Graph]]:
    """Train a network, and quantise it by every rule and as an export would.

    Returns:
        A row for each, on the test split; and the network in fp32 and as an export would have it.
    """
    data = data_of(subject)
    space = space_named("macro", resolution=subject.side, classes=len(data.class_names))
    arch = Architecture(tuple(map(int, subject.arch)))
    settings = replace(
        RECIPES[SMALL], epochs=subject.epochs, batch=subject.batch, seed=seed, device="cpu"
    )
    folder = runs / f"{subject.data}-{subject.side}-{subject.arch}-{subject.epochs}-{seed}"
    trained = train_final(space, arch, data, settings, folder)
    floats = network_graph(trained.network, space.input_shape)
    before = predictions(floats, device_named("cpu"), data.test)
    images = calibration_of(CalibrationAsked(), data, space.input_shape).images
    versions: dict[str, Quantized] = {
        rule: quantize(
            floats,
            DEVICE,
            calibration=images,
            validation=data.validation,
            max_drop_points=math.inf,
            rules=(rule,),
        )
        for rule in RULES
    }
    versions[CHOSEN] = quantize(floats, DEVICE, calibration=images, validation=data.validation)
    rows = []
    for name, version in versions.items():
        after = predictions(version.graph, arithmetic_of(DEVICE), data.test)
        found = agreement(before, after, data.test.labels)
        rows.append(row_of(subject, seed, name, version, found) | sizes(floats, version.graph))
    return rows, (floats, versions[CHOSEN].graph)


def data_of(subject: Subject) -> ImageData:
    """Return the images of a subject; end where there are none."""
    if subject.data == "digits":
        return load_data("digits", resolution=subject.side)
    folder = os.environ.get("LATKIT_DATA")
    if folder is None:
        sys.exit("LATKIT_DATA is unset: this bench needs its CIFAR-10; --quick does without")
    return load_data(str(Path(folder) / "images"), resolution=subject.side)


def row_of(subject: Subject, seed: int, name: str, version: Quantized, found: Agreement) -> Row:
    """Return figures of one version of a network, in points and shares."""
    low, high = found.drop_interval_points
    return {
        "network": subject.name,
        "seed": seed,
        "ranges": name,
        "rule": version.chosen.rule,
        "kept_float": " ".join(version.chosen.floats),
        "accuracy_fp32": found.accuracy_fp32,
        "accuracy": found.accuracy,
        "drop_points": found.drop_points,
        "drop_low": low,
        "drop_high": high,
        "agreement": found.agreement,
        "validation_drop_points": version.chosen.held_out.drop_points,
        "met": version.met,
        "images": found.images,
    }


def sizes(floats: Graph, other: Graph) -> Row:
    """Return sizes of the files, in 10^6 bytes."""
    return {"mb_fp32": len(floats.onnx) / 1e6, "mb": len(other.onnx) / 1e6}


def timed(graphs: dict[str, tuple[Graph, Graph]], *, quick: bool) -> list[Row]:
    """Time whole networks in fp32 and int8, each pair side by side."""
    arch, name = network_from_text(LARGE_NETWORK, among=["greedynas", "greedynas-se"])
    chain = space_named(name or "greedynas", resolution=32 if quick else LARGE_SIDE).chain(arch)
    assert DEVICE.quantization is not None
    large = chain_graph(chain)
    named = f"{LARGE_NETWORK} {chain[0].input_shape[2]} px, untrained"
    every = {**graphs, named: (large, quantized(large, DEVICE.quantization))}
    rows = []
    for name, (floats, integers) in every.items():
        found = side_by_side(floats, integers, DEVICE, processes=3 if quick else 7)
        low, high = found.ratio_interval
        rows.append(
            {
                "network": name,
                "speedup": 1 / found.ratio,
                "speedup_low": 1 / high,
                "speedup_high": 1 / low,
                "fp32_ms": found.floats.median_s * 1e3,
                "int8_ms": found.other.median_s * 1e3,
                "status": found.status,
            }
        )
    return rows


def report(args: argparse.Namespace, rows: Sequence[Row], latencies: Sequence[Row]) -> None:
    """Print and write what was asked for."""
    means = mean_rows(rows)
    if args.csv:
        write_csv(args.csv, [*rows, *latencies])
    if args.png:
        plot(args.png, rows)
    if args.json:
        print(json.dumps(summary(means, latencies) | {"rows": means, "latency": latencies}))
        return
    show(means, latencies)


def mean_rows(rows: Sequence[Row]) -> list[Row]:
    """Return means over seeds: points that were lost, with the worst seed, and agreement."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["ranges"]), []).append(row)
    means = []
    for (network, ranges), mine in groups.items():
        drops = [row["drop_points"] for row in mine]
        means.append(
            {
                "network": network,
                "ranges": ranges,
                "seeds": len(mine),
                "accuracy_fp32": _mean(mine, "accuracy_fp32"),
                "drop_points": sum(drops) / len(drops),
                "worst_drop_points": max(drops),
                "agreement": _mean(mine, "agreement"),
                "mb_fp32": _mean(mine, "mb_fp32"),
                "mb": _mean(mine, "mb"),
                "rules": sorted({row["rule"] for row in mine}),
                "kept_float": sorted({row["kept_float"] for row in mine if row["kept_float"]}),
            }
        )
    return means


def _mean(rows: Sequence[Row], key: str) -> float:
    return float(sum(row[key] for row in rows) / len(rows))


def summary(means: Sequence[Row], latencies: Sequence[Row]) -> Row:
    """Return the figures that were promised: points lost at most, speed-up at least."""
    chosen = [row["worst_drop_points"] for row in means if row["ranges"] == CHOSEN]
    speedups = [row["speedup_low"] for row in latencies]
    return {
        "worst_drop_points": max(chosen),
        "max_drop_points": MAX_DROP_POINTS,
        "least_speedup": min(speedups, default=None),
        "target_speedup": TARGET_SPEEDUP,
    }


def show(means: Sequence[Row], latencies: Sequence[Row]) -> None:
    """Print tables for people."""
    console = Console()
    table = Table(
        "network", "ranges", "seeds", "fp32", "points lost", "worst", "agreement", "MB", "taken",
        box=None,
    )  # fmt: skip
    for row in means:
        taken = ", ".join(row["rules"]) if row["ranges"] == CHOSEN else ""
        kept = f"; floats: {' | '.join(row['kept_float'])}" if row["kept_float"] else ""
        table.add_row(
            row["network"],
            row["ranges"],
            str(row["seeds"]),
            f"{row['accuracy_fp32']:.2%}",
            f"{row['drop_points']:+.2f}",
            f"{row['worst_drop_points']:+.2f}",
            f"{row['agreement']:.2%}",
            f"{row['mb']:.2f} of {row['mb_fp32']:.2f}",
            taken + kept,
        )
    console.print(table)
    times = Table("network", "fp32, ms", "int8, ms", "faster by (95 %)", "status", box=None)
    for row in latencies:
        times.add_row(
            row["network"],
            f"{row['fp32_ms']:.3g}",
            f"{row['int8_ms']:.3g}",
            f"{row['speedup']:.2f} x ({row['speedup_low']:.2f} to {row['speedup_high']:.2f})",
            row["status"],
        )
    console.print(times)


def plot(path: Path, rows: Sequence[Row]) -> None:
    """Draw the points that each way to quantise costs on the test split, a mark a seed."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    networks = list(dict.fromkeys(row["network"] for row in rows))
    ways = list(dict.fromkeys(row["ranges"] for row in rows))
    figure, places = plt.subplots(1, len(networks), figsize=(5 * len(networks), 4), squeeze=False)
    for place, network in zip(places[0], networks, strict=True):
        mine = [row for row in rows if row["network"] == network]
        place.axhline(0.0, color="black", linewidth=0.8)
        place.axhline(MAX_DROP_POINTS, color="tab:red", linewidth=0.8, linestyle="--")
        place.errorbar(
            [ways.index(row["ranges"]) + 0.12 * row["seed"] for row in mine],
            [row["drop_points"] for row in mine],
            yerr=[
                [row["drop_points"] - row["drop_low"] for row in mine],
                [row["drop_high"] - row["drop_points"] for row in mine],
            ],
            fmt="o",
            markersize=4,
            linewidth=0.8,
        )
        place.set_xticks(range(len(ways)), ways)
        place.set(title=network, ylabel="points of top-1 lost to int8 (95 %)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
