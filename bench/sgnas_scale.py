"""How much the parts of `bench.sgnas` train and evaluate, and where the data of others lie."""

import argparse
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from search.truths.truth import Truth, read_nas_bench_macro


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is trained and evaluated.

    Attributes:
        targets: Budgets over the range.
        evaluations: Accuracies that a method may ask for.
        fitted: Of them those that the fit behind ``sgnas`` sees.
        filling: Of them those that are asked last, where many limits share an answer.
        epochs: Of a generator.
        steps: Of an epoch.
        seeds: Repetitions.
    """

    targets: int = 181
    evaluations: int = 400
    fitted: int = 60
    filling: int = 280
    epochs: int = 40
    steps: int = 25
    seeds: int = 3


QUICK = Scale(epochs=20, steps=15, seeds=1)


def scale_of(args: argparse.Namespace) -> Scale:
    """Return how much is asked for on the command line."""
    scale = QUICK if args.quick else Scale()
    return replace(scale, seeds=args.seeds or scale.seeds, targets=args.targets or scale.targets)


def data_folder() -> Path:
    """Return where the data of others lie; ends the program where nobody says."""
    folder = os.environ.get("LATKIT_DATA")
    if not folder:
        sys.exit("LATKIT_DATA is unset: this bench needs the tables and images of others")
    return Path(folder)


def macro_truth() -> Truth:
    """Return the accuracies of NAS-Bench-Macro."""
    return read_nas_bench_macro(data_folder() / "nas_bench_macro/nas-bench-macro_cifar10.json.gz")
