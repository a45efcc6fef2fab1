"""How often the test of a percentile errs, and how many runs it takes, beside two others.

Every trial is a stream of fresh processes of which some runs are slower than a limit. Three tests
decide whether the 99th percentile keeps it, each at 95 %:

    sequential   `profiler.whole_models.acceptance`, processes as blocks, asked again after each
    fixed        299 runs of one process, accepted if none is slow: sound where runs are independent
    by run       Wald's test on single runs, half a percent slow against two: the same

Streams are drawn, with runs that are independent or resemble each other within a process, and
replayed: real single runs of a network in fresh processes here, drawn again by whole processes,
with a limit that the given share of them breaks.

    python bench/percentile_test.py [--quick] [--json] [--csv F] [--seeds N] [--device D]

A ``met`` where more than 1 % is slow, or a ``missed`` where less is, is an error.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.arguments import bench_parser
from bench.rows import write_csv
from devices import DeviceSpec, device_named
from profiler.operators.builders import chain_graph
from profiler.whole_models.acceptance import Acceptance, Block, Decision
from profiler.whole_models.single_runs import take_single_runs
from search.space import architecture_from_text
from search.spaces import space_named

SHARES = (0.001, 0.003, 0.005, 0.01, 0.02, 0.04)
"""Of slow runs; the promise allows 0.01."""

TRIALS, QUICK_TRIALS = 2_000, 200
PROCESSES, QUICK_PROCESSES = 60, 12
"""Fresh processes whose runs are replayed."""

RUNS = 300
"""Of each process; the sequential test takes the first hundred."""

FIXED_RUNS = 299
CORRELATION = 0.05
"""Between two runs of one process."""

BURST = 5
GOOD, BAD, ERROR = 0.005, 0.02, 0.05
"""Of Wald's test: shares that it tells apart, and how often it may err."""

TEST = Acceptance(percent=99, confidence=0.95)

Slow: TypeAlias = NDArray[np.bool_]
"""``(processes, runs)``: whether each run was slower than the limit."""

Draw: TypeAlias = Callable[[np.random.Generator, float], Slow]


def main() -> None:
    """Simulate, replay and print."""
    parser = bench_parser(__doc__, plots=False)
    parser.add_argument("--device", default="cpu", help="whose single runs are replayed")
    args = parser.parse_args()
    trials = QUICK_TRIALS if args.quick else TRIALS
    real_s = single_runs_s(
        device_named(args.device), processes=QUICK_PROCESSES if args.quick else PROCESSES
    )
    draws: dict[str, Draw] = {**SIMULATED, f"replayed, {args.device}": replayed(real_s)}
    rows = [
        row
        for seed in range(args.seeds or 1)
        for stream, draw in draws.items()
        for row in figures(stream, draw, trials=trials, seed=seed)
    ]
    if args.json:
        least = {"processes": TEST.least_blocks, "runs": TEST.least_blocks * TEST.runs_in_block}
        print(json.dumps({"least": least, "rows": rows}, indent=2))
    else:
        print_rows(rows)
    if args.csv:
        write_csv(args.csv, rows)


def single_runs_s(device: DeviceSpec, *, processes: int) -> NDArray[np.float64]:
    """Return single runs of a small network, ``(processes, RUNS)``, in seconds."""
    space = space_named("macro", resolution=16)
    graph = chain_graph(space.chain(architecture_from_text("22212220")))
    parts = [
        take_single_runs(graph, device, process=process, runs=RUNS, latency_s=5e-4)
        for process in range(processes)
    ]
    return np.array([part.runs_s for part in parts])


def independent(rng: np.random.Generator, share: float) -> Slow:
    """Draw runs that are slow by their own chance."""
    return rng.random((TEST.most_blocks, RUNS)) < share


def correlated(rng: np.random.Generator, share: float) -> Slow:
    """Draw processes that differ: `CORRELATION` between runs of one of them."""
    spread = 1 / CORRELATION - 1
    shares = rng.beta(share * spread, (1 - share) * spread, (TEST.most_blocks, 1))
    return rng.random((TEST.most_blocks, RUNS)) < shares


def in_bursts(rng: np.random.Generator, share: float) -> Slow:
    """Draw slow runs that come `BURST` in a row."""
    return np.repeat(rng.random((TEST.most_blocks, RUNS // BURST)) < share, BURST, axis=1)


def in_few(rng: np.random.Generator, share: float) -> Slow:
    """Draw slow runs that are all in a tenth of the processes."""
    shares = np.where(rng.random((TEST.most_blocks, 1)) < TEST.rare, share / TEST.rare, 0.0)
    return rng.random((TEST.most_blocks, RUNS)) < shares


SIMULATED: Mapping[str, Draw] = {
    "independent": independent,
    "correlated": correlated,
    "in bursts": in_bursts,
    "in few processes": in_few,
}


def replayed(runs_s: NDArray[np.float64]) -> Draw:
    """Return a draw of whole processes that were measured, from a random run on."""

    def draw(rng: np.random.Generator, share: float) -> Slow:
        limit_s = np.quantile(runs_s, 1 - share)
        picked = runs_s[rng.integers(len(runs_s), size=TEST.most_blocks)] > limit_s
        starts = rng.integers(RUNS, size=(TEST.most_blocks, 1))
        return np.take_along_axis(picked, (starts + np.arange(RUNS)) % RUNS, axis=1)

    return draw


def figures(stream: str, draw: Draw, *, trials: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each share and test."""
    for share in SHARES:
        rng = np.random.default_rng(seed)
        ends: dict[str, list[tuple[Decision, int]]] = {name: [] for name in TESTS}
        for _ in range(trials):
            slow = draw(rng, share)
            for name, test in TESTS.items():
                ends[name].append(test(slow))
        for name, found in ends.items():
            decisions = [decision for decision, _ in found]
            yield {
                "stream": stream,
                "share": share,
                "test": name,
                "met": decisions.count("met") / trials,
                "missed": decisions.count("missed") / trials,
                "undecided": decisions.count("undecided") / trials,
                "mean_runs": float(np.mean([runs for _, runs in found])),
                "trials": trials,
                "seed": seed,
            }


def sequential(slow: Slow) -> tuple[Decision, int]:
    """Decide by processes, as `latkit verify --percentile` does; return the runs it took, too."""
    runs = TEST.runs_in_block
    found = TEST.decide(Block(slow=int(part[:runs].sum()), runs=runs) for part in slow)
    return found.decision, found.runs


def fixed(slow: Slow) -> tuple[Decision, int]:
    """Decide by so many runs of the first process."""
    return "missed" if slow[0, :FIXED_RUNS].any() else "met", FIXED_RUNS


def by_run(slow: Slow) -> tuple[Decision, int]:
    """Decide by runs as if they were independent.

    Source:
        Wald, Sequential tests of statistical hypotheses, Annals of Mathematical Statistics 16,
        1945.
    """
    bound = math.log((1 - ERROR) / ERROR)
    gains = np.where(slow.ravel(), math.log(BAD / GOOD), math.log((1 - BAD) / (1 - GOOD)))
    evidence = np.cumsum(gains)
    (crossed,) = np.nonzero(np.abs(evidence) >= bound)
    if not len(crossed):
        return "undecided", slow.size
    return "missed" if evidence[crossed[0]] > 0 else "met", int(crossed[0]) + 1


TESTS: Mapping[str, Callable[[Slow], tuple[Decision, int]]] = {
    "sequential": sequential,
    "fixed": fixed,
    "by run": by_run,
}


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print a table for people; errors are marked."""
    print(
        f"p{TEST.percent:g} at {TEST.confidence:.0%}: {TEST.least_blocks} processes of "
        f"{TEST.runs_in_block} runs at least, {TEST.most_blocks} at most\n"
    )
    print(f"{'stream':20} {'slow':>6} {'test':10} {'met':>7} {'missed':>7} {'open':>6} {'runs':>7}")
    for row in rows:
        wrong = row["met"] if row["share"] > TEST.allowed else row["missed"]
        if row["share"] == TEST.allowed:
            wrong = max(row["met"], row["missed"])
        mark = "  errs" if wrong > 1 - TEST.confidence else ""
        print(
            f"{row['stream']:20} {row['share']:6.1%} {row['test']:10} {row['met']:7.1%} "
            f"{row['missed']:7.1%} {row['undecided']:6.1%} {row['mean_runs']:7.0f}{mark}"
        )


if __name__ == "__main__":
    main()
