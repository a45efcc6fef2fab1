"""Whether the largest network of a supernet teaches a small one, beside the labels alone.

A supernet is trained as ``latkit train sandwich`` does, which trains its largest network in every
step; then the same small network is trained alone twice from the same seed, once with that teacher.
Both are judged on the test split, image by image.

    LATKIT_DATA=DIR python bench/distillation.py [--quick] [--json] [--seeds N] [--runs DIR]
        [--csv F]

Trained networks are kept in --runs, and not trained again.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.arguments import bench_parser
from bench.kept import kept_in
from bench.rows import write_csv
from devices import device_named
from export.bundle.onnx_file import network_graph
from export.logits import predictions
from export.precision.against_floats import agreement
from search.final.distillation import DistillationSettings, teacher_from_run
from search.final.settings import RECIPES, SMALL
from search.final.training import train_final
from search.images.data import ImageData, load_data
from search.space import architecture_from_text
from search.spaces import space_named
from search.training.loop import train
from search.training.path_samplers import sampler_named
from search.training.settings import TrainSettings

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A small network of the macro space, and what it and its teacher are trained on.

    Attributes:
        data: ``"digits"``, or ``"cifar"`` for the JPEGs under LATKIT_DATA.
        side: Of the images, in pixels.
        images: Of the training split.
        epochs: Of the supernet and of the student.
        arch: Digits of the student.
    """

    data: str
    side: int
    images: int
    epochs: int
    arch: str = "10100100"


SUBJECTS = (
    Subject(data="digits", side=8, images=1000, epochs=20),
    Subject(data="cifar", side=16, images=4000, epochs=10),
)
QUICK = (Subject(data="digits", side=8, images=300, epochs=2),)


def main() -> None:
    """Train, compare and print."""
    parser = bench_parser(__doc__)
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where trained networks stay")
    args = parser.parse_args()
    if args.png:
        parser.error("this bench draws nothing")
    torch.set_num_threads(1)
    with kept_in(args.runs) as runs:
        rows = [
            compared(subject, runs, seed=seed)
            for subject in (QUICK if args.quick else SUBJECTS)
            for seed in range(args.seeds or (1 if args.quick else 3))
        ]
    if args.csv:
        write_csv(args.csv, rows)
    if args.json:
        print(json.dumps({"rows": rows, "gains": gains(rows)}))
    else:
        show(rows)


def compared(subject: Subject, runs: Path, *, seed: int) -> Row:
    """Train a teacher, and a student with and without it; return accuracies on the test split."""
    data = data_of(subject)
    space = space_named("macro", resolution=subject.side, classes=len(data.class_names))
    shared = TrainSettings(epochs=subject.epochs, batch=64, seed=seed, device="cpu")
    folder = runs / f"{subject.data}-{subject.side}-{subject.images}-{subject.epochs}-{seed}"
    paths = sampler_named("sandwich", space)
    train(space, data, shared, folder / "supernet", method="sandwich", paths=paths)
    teacher = teacher_from_run(folder / "supernet", space, data, DistillationSettings())
    recipe = replace(RECIPES[SMALL], epochs=subject.epochs, batch=64, seed=seed, device="cpu")
    arch = architecture_from_text(subject.arch)
    named = [
        predictions(network_graph(network, space.input_shape), device_named("cpu"), data.test)
        for network in (
            teacher.network,
            train_final(space, arch, data, recipe, folder / "alone").network,
            train_final(space, arch, data, recipe, folder / "taught", teacher=teacher).network,
        )
    ]
    by_teacher, alone, taught = named
    found = agreement(alone, taught, data.test.labels)
    low, high = found.drop_interval_points
    return {
        "data": f"{subject.data} {subject.side} px, {len(data.training)} images",
        "seed": seed,
        "teacher": float((by_teacher == data.test.labels).mean()),
        "alone": found.accuracy_fp32,
        "taught": found.accuracy,
        "gain_points": -found.drop_points,
        "gain_low": -high,
        "gain_high": -low,
    }


def data_of(subject: Subject) -> ImageData:
    """Return the first training images of a subject, all others; end where there are none."""
    if subject.data == "digits":
        data = load_data("digits", resolution=subject.side)
    else:
        folder = os.environ.get("LATKIT_DATA")
        if folder is None:
            sys.exit("LATKIT_DATA is unset: this bench needs its CIFAR-10; --quick does without")
        data = load_data(str(Path(folder) / "images"), resolution=subject.side)
    kept = replace(
        data.training,
        rows=data.training.rows[: subject.images],
        labels=data.training.labels[: subject.images],
    )
    return replace(data, training=kept)


def gains(rows: Sequence[Row]) -> list[Row]:
    """Return the mean gain of each subject over seeds, with its smallest and largest."""
    found = []
    for data in dict.fromkeys(row["data"] for row in rows):
        points = [row["gain_points"] for row in rows if row["data"] == data]
        found.append(
            {
                "data": data,
                "seeds": len(points),
                "gain_points": float(np.mean(points)),
                "least": min(points),
                "most": max(points),
            }
        )
    return found


def show(rows: Sequence[Row]) -> None:
    """Print a table for people."""
    table = Table("data", "seed", "teacher", "alone", "taught", "gain, points (95 %)", box=None)
    for row in rows:
        table.add_row(
            row["data"],
            str(row["seed"]),
            *(f"{row[key]:.2%}" for key in ("teacher", "alone", "taught")),
            f"{row['gain_points']:+.2f} ({row['gain_low']:+.2f} to {row['gain_high']:+.2f})",
        )
    console = Console()
    console.print(table)
    for each in gains(rows):
        console.print(
            f"{each['data']}: {each['gain_points']:+.2f} points over {each['seeds']} seeds "
            f"({each['least']:+.2f} to {each['most']:+.2f})"
        )


if __name__ == "__main__":
    main()
