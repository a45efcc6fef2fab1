"""What proxies are worth, and what a search gains that spends its epochs by levels of effort.

Three parts. `proxies`: networks of the macro space are trained on real CIFAR-10 images
(recompressed as JPEG) under settings of matched cost, and ranked against NAS-Bench-Macro. `tables`:
searches of NAS-Bench-201 under latency limits of a published device, with two levels of effort: 12
epochs, whose validation accuracy a search sees, and 200 epochs. The table has no validation
accuracy after 200 epochs, so the highest level sees the truth, for every method alike. `training`:
searches of the macro space that train their candidates, under a limit of operations, judged by
NAS-Bench-Macro.

Every method may spend what the hierarchical search spends. Regret is in points of true accuracy
below the best network within the limit, at several costs: of what was judged by then, the most
accurate at the highest effort.

    LATKIT_DATA=DIR python bench/econas.py [--quick] [--json] [--only PART ...] [--seeds N]
                                           [--nets N] [--cycles N] [--images N] [--runs DIR]
                                           [--workers N] [--csv F] [--png F]

With --runs the trained networks stay, and what was cut off goes on: by the same command, from the
last finished epoch. --nets are those of the study of proxies, --cycles those of the searches that
train, --images the training images of both.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bench.arguments import bench_parser
from bench.econas_problems import Rows
from bench.econas_proxies import proxies
from bench.econas_scale import QUICK, Scale
from bench.econas_tables import tables
from bench.econas_training import training
from bench.econas_views import factors, plot, proxy_line, search_lines
from bench.kept import kept_in
from bench.rows import write_csv
from devices.host import allowed_cpus

PARTS = ("proxies", "tables", "training")


def main() -> None:
    """Train, search, print."""
    args = _arguments()
    folder = os.environ.get("LATKIT_DATA")
    if not folder:
        sys.exit("LATKIT_DATA is unset: this bench needs CIFAR-10 and the tables of networks")
    torch.set_num_threads(1)
    data, scale = Path(folder), _scale(args)
    compared: Rows = []
    tabled: Rows = []
    trained: Rows = []
    lines: list[str] = []
    with kept_in(args.runs) as runs:
        if "proxies" in args.only:
            compared, lines = proxies(data, scale, runs, workers=args.workers)
        if "tables" in args.only:
            tabled = tables(data, scale)
        if "training" in args.only:
            trained, more = training(data, scale, runs, workers=args.workers)
            lines += more
    show(args, compared, [*tabled, *trained], [*lines, *factors(tabled), *factors(trained)])


def show(args: argparse.Namespace, proxies: Rows, searches: Rows, more: Sequence[str]) -> None:
    """Print figures for machines or for people, and write what was asked for."""
    if args.json:
        print(json.dumps({"proxies": proxies, "searches": searches}, indent=2))
    else:
        for line in (*map(proxy_line, proxies), *search_lines(searches), *more):
            print(line)
    if args.csv:
        write_csv(args.csv, [*proxies, *searches])
    if args.png:
        plot(args.png, searches)


def _scale(args: argparse.Namespace) -> Scale:
    given = {
        "seeds": args.seeds,
        "table_seeds": args.seeds,
        "nets": args.nets,
        "cycles": args.cycles,
        "images": args.images,
        "study_images": args.images,
    }
    chosen = {name: value for name, value in given.items() if value}
    return replace(QUICK if args.quick else Scale(), **chosen)


def _arguments() -> argparse.Namespace:
    parser = bench_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--nets", type=int, default=0)
    parser.add_argument("--cycles", type=int, default=0)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--runs", type=Path, metavar="DIR")
    parser.add_argument("--workers", type=int, default=len(allowed_cpus()))
    return parser.parse_args()


if __name__ == "__main__":
    main()
