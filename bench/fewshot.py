"""What splitting a supernet is worth, at equal total cost, against networks' true accuracies.

Every method trains on the same number of images. One-shot spends them all on one supernet, under
one cosine. Few-shot spends half on a parent, the same one for all methods of a seed, and the other
half on its children together: K = 1 goes on with the parent under a second cosine, which shows what
the restart alone is worth. A sample of the distinct networks is then ranked, each by the child that
holds it, against the accuracies in NAS-Bench-Macro (see `bench.ranking_truth`), or with --space
nasbench201 against those of NAS-Bench-201 after 200 epochs. Beside the scores of each supernet
stands what a layer-additive predictor says that saw a hundred of them.

Scores of children that were trained apart need not compare. So tau is also taken over the pairs
within a child and over the pairs across children; where there are none, over the pairs that the
children of the usual split would make. Two mends are tried, with some networks of every child that
the parent scores, too: shifting a child's scores so that their mean is the parent's, and scaling
them as well.

    LATKIT_DATA=DIR python bench/fewshot.py [--quick | --full] [--json] [--seeds N] [--images N]
                                            [--space macro|nasbench201]
                                            [--only core|layers|ablations] [--runs DIR]
                                            [--finished] [--workers N] [--csv F] [--png F]

--full is the protocol at its size: 360,000 images a method, of the macro space at half width. With
--runs the supernets stay, and a run that was cut off goes on; --finished trains nothing and gives
the figures of what is there. How well networks rank that are trained alone at half width, each on
54,000 images, which is as far as this setting can get to the truth:

    latkit proxies --space macro --resolution 16 --data DIR/images --nets 40 --grid c2r0s0e4
        --truth DIR/nas_bench_macro/nas-bench-macro_cifar10.json.gz -o ceiling
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from bench.arguments import bench_parser
from bench.fewshot_rows import Judge, line_of
from bench.fewshot_subjects import SUBJECTS, Scale
from bench.fewshot_training import Trials
from bench.kept import kept_in
from bench.ranking_truth import measured_phi, plot
from bench.rows import write_csv
from devices.host import allowed_cpus

FULL = {
    "macro": Scale(images=360_000, training=13_312, validation=500, narrow=2, learning_rate=0.05),
    "nasbench201": Scale(images=180_000, training=13_312, networks=300, learning_rate=0.05),
}
"""The protocol at its size, affordable on a CPU.

The learning rate: at half width and after 53,248 images 0.05 ranked with tau .34, 0.03 with .30,
0.1 with .27.
"""

QUICK = Scale(images=2560, training=640, networks=120, validation=128, seeds=1)

TITLES = {
    "tau": "tau-b, all",
    "tau_top20": "tau-b, best 20 %",
    "tau_across": "tau-b, across children",
    "regret": "regret, points",
}


def main() -> None:
    """Train, rank and print."""
    args = _arguments()
    torch.set_num_threads(1)
    scale = QUICK if args.quick else FULL[args.space] if args.full else Scale()
    scale = replace(scale, seeds=args.seeds or scale.seeds, images=args.images or scale.images)
    subject = SUBJECTS[args.space](scale)
    with kept_in(args.runs) as runs:
        trials = Trials(subject=subject, scale=scale, runs=runs)
        phi = measured_phi(subject.space, subject.data, runs / "phi.json")
        if not args.finished:
            trials.run(args.only, workers=args.workers)
        rows = Judge(trials=trials, only=args.only, phi=phi).rows()
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print(*map(line_of, rows), sep="\n")
    if args.csv:
        write_csv(args.csv, rows)
    if args.png:
        plot(args.png, rows, titles=TITLES)


def _arguments() -> argparse.Namespace:
    parser = bench_parser(__doc__)
    parser.add_argument("--full", action="store_true", help="the protocol at its size")
    parser.add_argument("--images", type=int, default=0, help="a method's; 0: the bench's own")
    parser.add_argument("--space", choices=tuple(SUBJECTS), default="macro")
    parser.add_argument("--only", choices=("core", "layers", "ablations"), default="")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where supernets stay")
    parser.add_argument("--finished", action="store_true", help="what is in --runs; train nothing")
    parser.add_argument("--workers", type=int, default=len(allowed_cpus()))
    args = parser.parse_args()
    if args.quick and args.full:
        parser.error("--quick or --full")
    if args.finished and not args.runs:
        parser.error("--finished: figures of what, --runs?")
    return args


if __name__ == "__main__":
    main()
