"""How often a verdict on the median errs, by how often it is looked at while it is open.

Every trial is a row of fresh processes whose speeds differ, and a limit near their true latency.
Three rules decide whether it is kept:

    planned   `export.verdicts.verify`: few looks, which share what one may be wrong
    every     a look at a 95 % interval after every process from the fifth on
    once      one look, at the fifth

    python bench/median_test.py [--quick] [--json] [--csv F] [--seeds N]

A ``met`` where the limit is too low, or a ``missed`` where it is not, is an error; where it is the
true latency itself either word is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from bench.arguments import bench_parser
from bench.rows import write_csv
from export.verdicts.verdict import decision
from export.verdicts.verify import PROCESSES, ROUNDS, Plan
from profiler import Measurement, Slice
from profiler.whole_models.acceptance import Decision

TOO_SLOW = (-0.02, -0.01, 0.0, 0.003, 0.01, 0.02)
"""By how much the true latency is beyond the limit, as a share of it."""

TRIALS, QUICK_TRIALS = 400, 40
BETWEEN, WITHIN = 0.01, 0.005
"""Standard deviations: of the speed of a process, and of samples of one process."""

SAMPLES = 5
"""Of a slice."""

PLAN = Plan()

Looks: TypeAlias = Sequence[int]

RULES: Mapping[str, tuple[Looks, int]] = {
    "planned": (PLAN.looks, len(PLAN.looks)),
    "every": (range(PROCESSES, PLAN.most + 1), 1),
    "once": ((PROCESSES,), 1),
}
"""After how many processes each rule looks, and between how many looks it shares its error."""


def main() -> None:
    """Simulate and print."""
    args = bench_parser(__doc__, plots=False).parse_args()
    trials = QUICK_TRIALS if args.quick else TRIALS
    rows = [row for seed in range(args.seeds or 1) for row in figures(trials=trials, seed=seed)]
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print_rows(rows)
    if args.csv:
        write_csv(args.csv, rows)


def figures(*, trials: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each share and rule."""
    for too_slow in TOO_SLOW:
        rng = np.random.default_rng(seed)
        ends: dict[str, list[tuple[Decision, int]]] = {name: [] for name in RULES}
        for _ in range(trials):
            slices = drawn(rng, 1.0 + too_slow)
            for name, (looks, sharing) in RULES.items():
                ends[name].append(decided(slices, looks, sharing))
        for name, found in ends.items():
            words = [word for word, _ in found]
            yield {
                "too_slow": too_slow,
                "rule": name,
                "met": words.count("met") / trials,
                "missed": words.count("missed") / trials,
                "undecided": words.count("undecided") / trials,
                "mean_processes": float(np.mean([count for _, count in found])),
                "trials": trials,
                "seed": seed,
            }


def drawn(rng: np.random.Generator, latency_s: float) -> list[Slice]:
    """Draw as many processes as a verdict may take, around a true latency."""
    speeds_s = latency_s * np.exp(rng.normal(0.0, BETWEEN, PLAN.most))
    return [
        Slice(
            process=process,
            round=round_,
            gate="clean",
            repeats=1,
            samples_s=tuple(speed_s * np.exp(rng.normal(0.0, WITHIN, SAMPLES))),
            reference_s=(1.0,) * SAMPLES,
        )
        for process, speed_s in enumerate(speeds_s)
        for round_ in range(ROUNDS)
    ]


def decided(slices: Sequence[Slice], looks: Looks, sharing: int) -> tuple[Decision, int]:
    """Return what is said of a limit of 1 s, and after how many processes."""
    word: Decision = "undecided"
    for look in looks:
        so_far = Measurement(slices=tuple(each for each in slices if each.process < look))
        word = decision(1.0, so_far, looks=sharing)
        if word != "undecided":
            return word, look
    return word, looks[-1]


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table for people."""
    print(f"{'too slow by':>11}  {'rule':8} {'met':>6} {'missed':>7} {'open':>6} {'processes':>9}")
    for row in rows:
        print(
            f"{row['too_slow']:11.1%}  {row['rule']:8} {row['met']:6.1%} {row['missed']:7.1%} "
            f"{row['undecided']:6.1%} {row['mean_processes']:9.1f}"
        )


if __name__ == "__main__":
    main()
