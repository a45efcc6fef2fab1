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

With --runs the trained networks stay, and what was cut off goes on. --nets are those of the study
of proxies, --cycles those of the searches that train, --images the training images of both.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.kept import kept_in
from bench.rows import write_csv
from devices.host import allowed_cpus
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget, within
from profiler import macs, total_macs
from search.data import ImageData, load_data
from search.econas import ASHA, FLAT, METHOD, PRESETS, RANDOM, TRAINING, EconasSettings
from search.metrics import bootstrap_interval, spearman
from search.nasbench201_tables import read_latencies, read_nas_bench_201
from search.pool import pool_of
from search.proxies import proxies_from_text
from search.proxy_search import ProxySearch, TrainedAccuracy, searcher_of, sizes_of, trainer_for
from search.proxy_study import distinct_networks, study_of
from search.random_search import RandomSearch
from search.searcher import (
    Accuracy,
    Candidate,
    Searcher,
    Trial,
    TrialAccuracy,
    run_search,
    run_trials,
)
from search.settings import TrainSettings
from search.space import Architecture, SearchSpace, as_choices
from search.spaces import space_named
from search.synflow import Synflow
from search.table_trials import TableTrials
from search.truth import Truth, read_nas_bench_macro

PARTS = ("proxies", "tables", "training")

GRID = "c4r2s0e2,c4r2s1e4,c2r2s0e2,c2r2s1e4,c2r2s2e8,c4r0s0e2,c0r4s0e2,c2r4s0e2"
"""Settings whose costs match: 1/16 or 1/64 of two full epochs each."""

COMPARED = (
    ("c2r2s0e2", "c2r2s1e4", "more samples against more epochs"),
    ("c4r2s0e2", "c4r2s1e4", "more samples against more epochs"),
    ("c2r2s0e2", "c2r2s2e8", "more samples against more epochs"),
    ("c4r0s0e2", "c0r4s0e2", "fewer channels against fewer pixels"),
    ("c4r2s0e2", "c2r4s0e2", "fewer channels against fewer pixels"),
)
"""The paper's observations: pairs of equal cost by the notation."""

MAC_LIMIT = 45e6
"""Limit of the searches that train, in operations of the full network at 32 pixels."""

OPERATIONS_PER_S = 1e9
"""Of the device that prices by operations alone."""

DEVICE, LATENCY_SHARES = "raspi4", (0.3, 0.6)
"""Published latencies of NAS-Bench-201; these shares of the cells keep the limits."""

TABLE_SIZES = EconasSettings(initial=16, cycles=10, epochs=(12, 212), promoted=(4,), mothers=(8, 8))
"""Two levels: 12 epochs, and then 200 from the start, since a table's trainings do not go on."""

FLAT_12, FLAT_200 = "flat, 12 epochs", "flat, 200 epochs"

SHARES = tuple(2 ** (step / 2) for step in range(-8, 1))
"""Of the whole cost, from a sixteenth on: where regret is asked."""

FREE_DRAWS = 200
"""Random networks within a limit that a free score picks from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is trained.

    Attributes:
        nets: Networks of the study of proxies.
        grid: Its settings.
        study_images: Training images that count as all of them there.
        cycles: Of the searches that train.
        images: Training images of theirs.
        validation: Images that networks are judged by.
        batch: Images of a step.
        seeds: Repetitions of the searches that train.
        table_seeds: Repetitions of the searches of tables.
        draws: Of the free scores.
    """

    nets: int = 20
    grid: str = GRID
    study_images: int = 1000
    cycles: int = 3
    images: int = 1000
    validation: int = 500
    batch: int = 64
    seeds: int = 2
    table_seeds: int = 20
    draws: int = FREE_DRAWS


QUICK = Scale(
    nets=4,
    grid="c4r2s0e1,c4r4s0e1",
    study_images=256,
    cycles=1,
    images=128,
    validation=128,
    batch=32,
    seeds=1,
    table_seeds=2,
    draws=8,
)

Rows = list[dict[str, Any]]


def main() -> None:
    """Train, search, print."""
    args = _arguments()
    folder = os.environ.get("LATKIT_DATA")
    if not folder:
        sys.exit("LATKIT_DATA is unset: this bench needs CIFAR-10 and the tables of networks")
    torch.set_num_threads(1)
    scale = QUICK if args.quick else Scale()
    given = {
        "seeds": args.seeds,
        "table_seeds": args.seeds,
        "nets": args.nets,
        "cycles": args.cycles,
        "images": args.images,
        "study_images": args.images,
    }
    scale = replace(scale, **{name: value for name, value in given.items() if value})
    with kept_in(args.runs) as runs:
        bench = Bench(data=Path(folder), scale=scale, runs=runs, workers=args.workers)
        proxies, more = bench.proxies() if "proxies" in args.only else ([], [])
        tables = bench.tables() if "tables" in args.only else []
        training = bench.training() if "training" in args.only else []
    show(args, proxies, [*tables, *training], [*more, *factors(tables), *factors(training)])


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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--nets", type=int, default=0)
    parser.add_argument("--cycles", type=int, default=0)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--workers", type=int, default=len(allowed_cpus()))
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--png", type=Path)
    return parser.parse_args()


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One search to repeat: where, within what, and how a pick is judged.

    Attributes:
        part: Of the bench.
        space: Where.
        budget: The limit.
        truth: True accuracy of networks, in [0, 1].
        best: That of the best network within the limit.
    """

    part: str
    space: SearchSpace
    budget: LatencyBudget
    truth: Accuracy
    best: float

    def regret(self, arch: Architecture) -> float:
        """Return what a pick loses, in points."""
        return 100 * (self.best - float(self.truth([arch])[0]))


def problem_of(part: str, truth: Truth, space: SearchSpace, budget: LatencyBudget) -> Problem:
    """Return the search for the best network within a limit."""
    kept = within([budget], as_choices([space.alone(arch) for arch in truth.archs]))

    def true(archs: Sequence[Architecture]) -> list[float]:
        accuracies: list[float] = truth.mean[truth.rows(archs)].tolist()
        return accuracies

    return Problem(
        part=part, space=space, budget=budget, truth=true, best=float(truth.mean[kept].max())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The experiments.

    Attributes:
        data: Folder of images and tables.
        scale: How much.
        runs: Where trained networks stay.
        workers: Processes that train at once.
    """

    data: Path
    scale: Scale
    runs: Path
    workers: int

    def proxies(self) -> tuple[Rows, list[str]]:
        """Compare settings of matched cost; return rows, and lines on the paper's observations."""
        truth, space = self.macro()
        archs = distinct_networks(space, self.scale.nets, np.random.default_rng(0))
        true = truth.mean[truth.rows(archs)]
        grid = proxies_from_text(self.scale.grid)
        sides = {proxy.side(space.input_shape[2]) for proxy in grid}
        study = study_of(
            space,
            {side: self.images(side) for side in sides},
            grid,
            self.settings(seed=0),
            archs,
            self.runs / "proxies",
            images=self.scale.study_images,
            validation=self.scale.validation,
            truth=true.tolist(),
        )
        stages = study.run(workers=self.workers)
        rows: Rows = [
            {
                "name": str(row.proxy),
                "cost_share": row.cost_share,
                "spearman": row.spearman,
                "interval": list(row.spearman_interval),
                "kendall": row.kendall,
                "shift": row.shift,
                "paper_share": row.paper_share,
                "train_s": row.train_s,
                "accuracy": row.accuracy,
            }
            for row in study.judge(stages)
        ]
        operations = [float(total_macs(space.chain(arch))) for arch in archs]
        rows.append(free_row("flops", operations, true))
        rows.append(free_row("synflow", Synflow(space)(archs), true))
        found = {
            str(proxy): np.array([stage.accuracy for stage in stages[proxy]]) for proxy in grid
        }
        return rows, list(observations(found, true))

    def tables(self) -> Rows:
        """Search NAS-Bench-201 by every method, over and over."""
        folder = self.data / "nas_bench_201"
        table = read_nas_bench_201(folder / "accuracy.csv.gz")
        model = read_latencies(folder / "latency_ms.csv.gz", DEVICE, table)
        truth = table.truth()
        rows: Rows = []
        for share in LATENCY_SHARES:
            latency_s = model.latency_s(as_choices(list(truth.archs)))
            limit_s = float(np.quantile(latency_s[np.isfinite(latency_s)], share))
            problem = problem_of("tables", truth, truth.space, budget(model, limit_s))
            cheap, true = truth.evaluator(), problem.truth
            both = TableTrials(levels=(cheap, true), epochs=(12, 200))
            for seed in range(self.scale.table_seeds):
                rows += self.searched_tables(problem, both, seed)
                rows += self.free(problem, seed)
        return averaged(rows)

    def searched_tables(self, problem: Problem, both: TableTrials, seed: int) -> Rows:
        """Search by every method with two levels of effort, or with one of them."""
        long = TableTrials(levels=both.levels[1:], epochs=both.epochs[1:])
        short = TableTrials(levels=both.levels[:1], epochs=both.epochs[:1])
        cycle = TABLE_SIZES.cycle_epochs
        dear = replace(TABLE_SIZES, initial=5, epochs=(200,), promoted=(), mothers=(cycle // 200,))
        cheap = replace(TABLE_SIZES, epochs=(12,), promoted=(), mothers=(cycle // 12,))
        methods: list[tuple[str, str, EconasSettings, TableTrials]] = [
            (METHOD, METHOD, TABLE_SIZES, both),
            (FLAT_200, METHOD, dear, long),
            (FLAT_12, METHOD, cheap, short),
            (ASHA, ASHA, TABLE_SIZES, both),
            (RANDOM, RANDOM, TABLE_SIZES, both),
        ]
        total = TABLE_SIZES.total_epochs
        rows: Rows = []
        for name, method, sizes, table in methods:
            judged = trials_of(problem, method, sizes, table, seed=seed)
            costs = [table.cost(Trial(each.arch, each.effort)) for each in judged]
            rows += curve(problem, name, seed, judged, costs, total=total)
        return rows

    def training(self) -> Rows:
        """Search the macro space by every method that trains its candidates."""
        truth, space = self.macro()
        problem = problem_of("training", truth, space, operations_budget(space, MAC_LIMIT))
        small = replace(
            PRESETS["small"],
            cycles=self.scale.cycles,
            images=self.scale.images,
            validation=self.scale.validation,
        )
        data = self.images(small.proxy.side(space.input_shape[2]))
        rows: Rows = []
        for seed in range(self.scale.seeds):
            for method in (METHOD, FLAT, ASHA, RANDOM):
                rows += self.trained(problem, method, small, data, seed)
            rows += self.free(problem, seed)
        return rows

    def trained(
        self, problem: Problem, method: str, small: EconasSettings, data: ImageData, seed: int
    ) -> Rows:
        """Search by a method whose candidates are trained; weights and search have one seed."""
        search = ProxySearch(
            method=method, settings=small, training=self.settings(seed=seed), seed=seed
        )
        work = self.runs / "training" / f"seed-{seed}"
        trainer = trainer_for(search, space=problem.space, data=data, work=work)
        with pool_of(trainer, workers=self.workers) as pool:
            sizes = sizes_of(method, small)
            accuracy = TrainedAccuracy(pool=pool)
            judged = trials_of(problem, method, sizes, accuracy, seed=seed)
        reached: dict[Architecture, int] = {}
        costs = []
        for each in judged:
            epochs = sizes.epochs[each.effort - 1]
            costs.append(epochs - reached.get(each.arch, 0))
            reached[each.arch] = epochs
        return curve(problem, method, seed, judged, costs, total=small.total_epochs)

    def free(self, problem: Problem, seed: int) -> Rows:
        """Pick by scores that cost nothing, among random networks within the limit."""
        space = problem.space
        largest = max(total_macs(space.chain(space.alone(a))) for a in _corners(space))
        scores: dict[str, Accuracy] = {
            "flops": lambda archs: [min(1.0, total_macs(space.chain(a)) / largest) for a in archs]
        }
        if problem.part == "training":  # seconds for each limit; tables have many
            scores["synflow"] = Synflow(space, seed=seed)
        rows: Rows = []
        for name, score in scores.items():
            found = run_search(
                RandomSearch(
                    space=space,
                    budgets=[problem.budget],
                    rng=np.random.default_rng(seed),
                    population=self.scale.draws,
                ),
                space=space,
                budgets=[problem.budget],
                accuracy=score,
                rounds=1,
            )
            rows.append(row_of(problem, name, seed, 0, found.best.arch))
        return rows

    def macro(self) -> tuple[Truth, SearchSpace]:
        """Return the truth of the macro space, and the space."""
        path = self.data / "nas_bench_macro" / "nas-bench-macro_cifar10.json.gz"
        return read_nas_bench_macro(path), space_named("macro")

    def images(self, side: int) -> ImageData:
        """Return the images at a side in pixels."""
        return load_data(str(self.data / "images"), resolution=side)

    def settings(self, *, seed: int) -> TrainSettings:
        """Return how networks are trained."""
        return replace(TRAINING["small"], batch=self.scale.batch, seed=seed)


def _corners(space: SearchSpace) -> Iterator[Architecture]:
    """Return the networks of one choice everywhere: the largest is among them."""
    for choice in range(max(map(len, space.layers))):
        yield Architecture(tuple(min(choice, len(layer) - 1) for layer in space.layers))


def budget(model: LatencyModel, limit_s: float) -> LatencyBudget:
    """Return a limit on the device of a model."""
    return LatencyBudget(model=model, target=LatencyTarget(device=model.device, limit_s=limit_s))


def operations_budget(space: SearchSpace, limit: float) -> LatencyBudget:
    """Return a limit on operations, as one on a device that does nothing else."""
    costs = space.costs(lambda op: macs(op) / OPERATIONS_PER_S)
    cost_s = np.full((len(costs), max(map(len, costs))), np.inf)
    for row, layer in zip(cost_s, costs, strict=True):
        row[: len(layer)] = layer
    model = LatencyModel(
        device="operations",
        base_s=total_macs((*space.before, *space.after)) / OPERATIONS_PER_S,
        cost_s=cost_s,
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="operations",
    )
    return budget(model, limit / OPERATIONS_PER_S)


def trials_of(
    problem: Problem, method: str, sizes: EconasSettings, accuracy: TrialAccuracy, *, seed: int
) -> tuple[Candidate, ...]:
    """Search by a method; return all that was judged, in order."""
    searcher: Searcher = searcher_of(
        method,
        space=problem.space,
        budgets=[problem.budget],
        rng=np.random.default_rng(seed),
        sizes=sizes,
    )
    found = run_trials(
        searcher,
        space=problem.space,
        budgets=[problem.budget],
        accuracy=accuracy,
        rounds=sizes.cycles + 1,
    )
    return found.judged


def curve(
    problem: Problem,
    method: str,
    seed: int,
    judged: Sequence[Candidate],
    costs: Sequence[int],
    *,
    total: int,
) -> Rows:
    """Return the regret of the pick after several shares of the whole cost."""
    spent = np.cumsum(costs)
    rows: Rows = []
    for share in SHARES:
        done = [each for each, at in zip(judged, spent, strict=True) if at <= share * total]
        if done:
            highest = max(each.effort for each in done)
            finalists = (each for each in done if each.effort == highest)
            pick = min(finalists, key=lambda each: each.rank)
            rows.append(row_of(problem, method, seed, round(share * total), pick.arch))
    return rows


def row_of(
    problem: Problem, method: str, seed: int, epochs: int, arch: Architecture
) -> dict[str, Any]:
    """Return a row of the searches."""
    return {
        "method": method,
        "seed": seed,
        "epochs": epochs,
        "regret": problem.regret(arch),
        "part": problem.part,
    }


def averaged(rows: Rows) -> Rows:
    """Return one row for each method, seed and cost: the mean over limits."""
    groups: dict[tuple[Any, ...], Rows] = {}
    for row in rows:
        groups.setdefault((row["method"], row["seed"], row["epochs"]), []).append(row)
    return [
        {**group[0], "regret": float(np.mean([row["regret"] for row in group]))}
        for group in groups.values()
    ]


def free_row(name: str, scores: Sequence[float], true: NDArray[np.float64]) -> dict[str, Any]:
    """Return the row of a score that trains nothing."""
    values = np.array(scores)
    return {
        "name": name,
        "cost_share": 0.0,
        "spearman": spearman(values, true),
        "interval": list(interval(lambda rows: spearman(values[rows], true[rows]), len(true))),
    }


def interval(statistic: Callable[[NDArray[np.intp]], float], count: int) -> tuple[float, float]:
    """Return a bootstrap interval; what ranks nothing correlates with nothing."""
    return bootstrap_interval(
        lambda rows: float(np.nan_to_num(statistic(rows))),
        count=count,
        rng=np.random.default_rng(0),
    )


def observations(found: dict[str, NDArray[np.float64]], true: NDArray[np.float64]) -> Iterator[str]:
    """Compare settings of equal cost over the same networks."""
    for one, other, what in COMPARED:
        if one in found and other in found:
            a, b = found[one], found[other]

            def gain(
                rows: NDArray[np.intp],
                a: NDArray[np.float64] = a,
                b: NDArray[np.float64] = b,
            ) -> float:
                return spearman(a[rows], true[rows]) - spearman(b[rows], true[rows])

            low, high = interval(gain, len(true))
            yield (
                f"{what}: {one} against {other}, Spearman {gain(np.arange(len(true))):+.2f} "
                f"[{low:+.2f}, {high:+.2f}]"
            )


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


if __name__ == "__main__":
    main()
