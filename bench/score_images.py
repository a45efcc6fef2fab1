"""How many held-out images rank networks, and whether by their accuracy or by their loss.

A supernet is trained on all images of the protocol of `bench.fewshot`, one a seed. Its networks are
scored on ever more images that it has not seen, and ranked by either score against the accuracies
in NAS-Bench-Macro; regret is that of the best pick under limits of operations.

    LATKIT_DATA=DIR python bench/score_images.py [--quick] [--json] [--seeds N] [--runs DIR]
        [--narrow N] [--resolution R] [--images N] [--csv F] [--png F]

--narrow, --resolution and --images are of that protocol, which halves the operations twice by
narrower layers and trains on 360,000 images of 16 pixels a side: whether the answer holds at full
width, at the published resolution, or after less training.
--runs may be that of ``bench/fewshot.py --full``: supernets that are there are not trained again.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from bench.arguments import bench_parser
from bench.fewshot import FULL, QUICK
from bench.fewshot_subjects import EQUAL, SUBJECTS
from bench.fewshot_training import Trials
from bench.kept import kept_in
from bench.ranking_truth import Costs, first, judged, score_some
from bench.rows import write_csv

PART = 125
"""Images that are scored together, and that normalise themselves."""

COUNTS, QUICK_COUNTS = (125, 250, 500, 1000, 2000, 3000), (125, 250)

Row = dict[str, Any]


def main() -> None:
    """Train, score and print."""
    parser = bench_parser(__doc__)
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where supernets stay")
    parser.add_argument("--narrow", type=int, help="halvings of the operations; 0: full width")
    parser.add_argument("--resolution", type=int, help="pixels a side")
    parser.add_argument("--images", type=int, help="training images of each supernet")
    args = parser.parse_args()
    torch.set_num_threads(1)
    scale, counts = (QUICK, QUICK_COUNTS) if args.quick else (FULL["macro"], COUNTS)
    scale = replace(
        scale,
        validation=max(counts),
        narrow=scale.narrow if args.narrow is None else args.narrow,
        resolution=args.resolution or scale.resolution,
        images=args.images or scale.images,
    )
    with kept_in(args.runs) as runs:
        trials = Trials(subject=SUBJECTS["macro"](scale), scale=scale, runs=runs)
        seeds = range(args.seeds or scale.seeds)
        rows = [row for seed in seeds for row in scored(trials, seed, counts)]
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print(*map(line_of, rows), sep="\n")
    if args.csv:
        write_csv(args.csv, rows)
    if args.png:
        plot(args.png, rows)


def scored(trials: Trials, seed: int, counts: tuple[int, ...]) -> Iterator[Row]:
    """Yield for each number of images what ranking by accuracy and by loss is worth."""
    supernet, truth = trials.train_supernet(seed, EQUAL), trials.subject.truth
    costs: Costs = {"macs": (truth.macs, trials.subject.limits)}
    validation = trials.subject.data.validation
    parts = []
    for start in range(0, max(counts), PART):
        images, labels = next(first(validation, PART, start=start).batches(PART))
        parts.append(score_some(supernet, truth.archs, images, labels))
        if len(parts) * PART in counts:
            means = {
                "accuracy": np.mean([part.accuracy for part in parts], axis=0),
                "loss": -np.mean([part.loss for part in parts], axis=0),
            }
            for by, values in means.items():
                found = judged(values, truth, costs)
                figures = {name: found[name] for name in ("tau", "tau_top20", "regret")}
                yield {"by": by, "images": len(parts) * PART, "seed": seed, **figures}


def line_of(row: Row) -> str:
    """Return a row for people."""
    return (
        f"{row['images']:5} images, by {row['by']:8} seed {row['seed']}: tau {row['tau']:.3f}, "
        f"best 20 % {row['tau_top20']:.3f}, regret {row['regret']:.2f} points"
    )


def plot(path: Path, rows: list[Row]) -> None:
    """Draw tau and regret against the number of images, by either score."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, name, title in zip(axes, ("tau", "regret"), ("tau-b", "regret, points"), strict=True):
        for by, marker in (("accuracy", "o"), ("loss", "s")):
            mine = [row for row in rows if row["by"] == by]
            counts = sorted({row["images"] for row in mine})
            means = [np.mean([row[name] for row in mine if row["images"] == n]) for n in counts]
            (line,) = axis.plot(counts, means, label=f"by {by}")
            axis.plot(
                [row["images"] for row in mine],
                [row[name] for row in mine],
                marker,
                color=line.get_color(),
                alpha=0.4,
            )
        axis.set(xscale="log", xlabel="held-out images", title=title, ylim=(0.0, None))
        axis.set_xticks(counts, labels=map(str, counts), minor=False)
        axis.minorticks_off()
        axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
