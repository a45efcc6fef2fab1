"""How fast searches find good cells of NAS-Bench-201 within latency limits of real devices.

A search sees validation accuracies after 12 epochs, and what it picks by them is judged by test
accuracies after 200, which it never sees. Latencies are those published for six devices; limits are
such that a given share of the distinct cells keeps them, a little more where latencies are whole
milliseconds. Curves: after so many evaluations, the
judged accuracy of the cell that looks best by then. Beside them, of all cells within the limit: the
one that looks best after 12 epochs (what a search can reach at most by what it sees, luck aside),
the one of the most operations, of equals the fastest, and the oracle, the most accurate by the
judge.

    LATKIT_DATA=DIR python bench/nasbench201.py [--quick] [--json] [--seeds N] [--csv F] [--png F]

--json prints every search, --csv holds means and standard errors over the seeds.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.rows import write_csv
from lut import LatencyBudget, LatencyModel, LatencyTarget, within
from search.methods.evolution import Evolution
from search.methods.nsga2 import NSGA2Search
from search.methods.random_search import RandomSearch
from search.metrics import regrets
from search.searcher import Candidate, Searcher, run_search
from search.space import Architecture, as_choices
from search.truths.nasbench201 import read_latencies, read_nas_bench_201
from search.truths.truth import Truth

DEVICES = ("pixel3", "raspi4", "samsung_a50", "1080ti_1", "2080ti_32", "gold_6226")
"""Columns of HELP's latencies: batch 1, but for the GPU with 32."""

SHARES = (0.25, 0.5, 0.75)
"""Of the distinct cells that have a path: so many keep a limit."""

EVALUATIONS = (16, 32, 64, 128, 256)
"""Accuracies asked, where a curve is read."""

METHODS = {"evolution": Evolution, "nsga2": NSGA2Search, "random": RandomSearch}

POPULATION = 16
"""Proposals of a round: the first point of a curve is the first generation."""

ROUNDS = 400
"""More than any search needs: children that were judged before cost a round, no evaluation."""

SEEDS, QUICK_SEEDS = 50, 2

SEEN, FLOPS, ORACLE = "all, by what is seen", "most operations", "oracle"

LIMIT = ("device", "share", "limit_ms")

FIGURES = ("accuracy", "regret")

Rows = list[dict[str, Any]]


def main() -> None:
    """Search, judge, print."""
    args = _arguments()
    folder = os.environ.get("LATKIT_DATA")
    if not folder:
        sys.exit("LATKIT_DATA is unset: this bench needs the tables of NAS-Bench-201")
    seeds = args.seeds or (QUICK_SEEDS if args.quick else SEEDS)
    show(args, rows_of(Path(folder) / "nas_bench_201", seeds))


def rows_of(folder: Path, seeds: int) -> Rows:
    """Search under every limit, by every method, so many times."""
    rows: Rows = []
    for problem in problems(folder):
        rows += problem.picked()
        for method in METHODS:
            for seed in range(seeds):
                rows += problem.searched(method, seed)
    return rows


def show(args: argparse.Namespace, rows: Rows) -> None:
    """Print figures for machines or for people, and write what was asked for."""
    means = averaged(rows, (*LIMIT, "method", "evaluations"))
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        for line in lines_of(rows, means):
            print(line)
    if args.csv:
        write_csv(args.csv, means)
    if args.png:
        plot(args.png, rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--png", type=Path)
    return parser.parse_args()


@dataclass(slots=True, kw_only=True)
class Stopped:
    """A searcher that proposes nothing more once enough accuracies were asked.

    Attributes:
        searcher: The method.
        most: Accuracies; the last round may ask for more.
        judged: Cells whose accuracies were asked.
    """

    searcher: Searcher
    most: int
    judged: set[Architecture] = field(default_factory=set)

    def ask(self) -> Sequence[Any]:
        """Return what the method proposes; none at the end."""
        return [] if len(self.judged) >= self.most else self.searcher.ask()

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Count, and pass on."""
        self.judged |= {each.arch for each in judged if each.accuracy is not None}
        self.searcher.tell(judged)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """The search for the most accurate cell within a limit.

    Attributes:
        truth: What is seen, and what judges.
        share: Of the distinct cells: so many keep the limit.
        budget: The limit.
        latency_s: ``(cells,)`` in the order of the truth.
        judged: ``(cells,)`` accuracies in per cent.
        best: The largest of those within the limit.
    """

    truth: Truth
    share: float
    budget: LatencyBudget
    latency_s: NDArray[np.float64]
    judged: NDArray[np.float64]
    best: float

    def picked(self) -> Rows:
        """Return the rows of what needs no search: picks among all cells within the limit."""
        assert self.truth.seen is not None  # the space has a short training
        scores = {SEEN: self.truth.seen, FLOPS: self.truth.macs, ORACLE: self.judged}
        rows = []
        for method, score in scores.items():
            limits = (self.budget.allowed_s,)
            (lost,) = regrets(score, self.judged, self.latency_s, limits=limits).tolist()
            rows.append(self._row(method, seed=0, evaluations=0, accuracy=self.best - lost))
        return rows

    def searched(self, method: str, seed: int) -> Rows:
        """Search once; return a row for each point of its curve."""
        searcher = METHODS[method](
            space=self.truth.space,
            budgets=[self.budget],
            rng=np.random.default_rng(seed),
            population=POPULATION,
        )
        found = run_search(
            Stopped(searcher=searcher, most=max(EVALUATIONS)),
            space=self.truth.space,
            budgets=[self.budget],
            accuracy=self.truth.evaluator(),
            rounds=ROUNDS,
        )
        rows = []
        for count in EVALUATIONS:
            pick = min(found.judged[:count], key=lambda candidate: candidate.rank)
            (accuracy,) = self.truth.judge([pick.arch])
            rows.append(self._row(method, seed=seed, evaluations=count, accuracy=100 * accuracy))
        return rows

    def _row(self, method: str, *, seed: int, evaluations: int, accuracy: float) -> dict[str, Any]:
        return {
            "device": self.budget.target.device,
            "share": self.share,
            "limit_ms": self.budget.target.limit_s * 1e3,
            "method": method,
            "seed": seed,
            "evaluations": evaluations,
            "accuracy": accuracy,
            "regret": self.best - accuracy,
        }


def problems(folder: Path) -> Iterator[Problem]:
    """Return a problem for every device and share."""
    bench = read_nas_bench_201(folder / "accuracy.csv.gz")
    truth = bench.truth()
    cells = as_choices(list(truth.archs))
    judged = 100 * np.array(truth.judge(truth.archs))
    for device in DEVICES:
        model = read_latencies(folder / "latency_ms.csv.gz", device, bench)
        latency_s = model.latency_s(cells)  # infinite without a path
        for share in SHARES:
            limit_s = float(np.quantile(latency_s[np.isfinite(latency_s)], share))
            budget = _budget(model, limit_s)
            yield Problem(
                truth=truth,
                share=share,
                budget=budget,
                latency_s=latency_s,
                judged=judged,
                best=float(judged[within([budget], cells)].max()),
            )


def _budget(model: LatencyModel, limit_s: float) -> LatencyBudget:
    target = LatencyTarget(device=model.device, limit_s=limit_s, confidence=0.95)
    return LatencyBudget(model=model, target=target)  # a published latency has no error


def averaged(rows: Rows, keys: Sequence[str]) -> Rows:
    """Return a row for each value of some keys: means over seeds, with standard errors.

    Args:
        rows: Of all searches.
        keys: What is told apart. Over other keys the mean is taken first, seed by seed.
    """
    groups: dict[tuple[Any, ...], dict[int, Rows]] = {}
    for row in rows:
        seeds = groups.setdefault(tuple(row[key] for key in keys), {})
        seeds.setdefault(row["seed"], []).append(row)
    return [
        {**dict(zip(keys, values, strict=True)), **_mean(seeds)} for values, seeds in groups.items()
    ]


def _mean(seeds: dict[int, Rows]) -> dict[str, Any]:
    """Return means over seeds; a standard error of one seed is no number."""
    values = np.array(
        [[np.mean([row[name] for row in rows]) for name in FIGURES] for rows in seeds.values()]
    )  # (seeds, figures); both figures of a seed add up to a constant and spread alike
    spread = float(values[:, 0].std(ddof=1)) if len(values) > 1 else float("nan")
    return {
        "seeds": len(values),
        **dict(zip(FIGURES, values.mean(axis=0).tolist(), strict=True)),
        "standard_error": spread / len(values) ** 0.5,
    }


def lines_of(rows: Rows, means: Rows) -> Iterator[str]:
    """Return figures for people: mean judged accuracy over all limits, then limit by limit."""
    head = "".join(f"{count:>16}" for count in EVALUATIONS)
    yield "judged accuracy in per cent (standard error over seeds) after so many evaluations"
    yield f"{'all devices and limits':30}{head}"
    yield from _table(averaged(rows, ("method", "evaluations")))
    for limit in dict.fromkeys(tuple(row[key] for key in LIMIT) for row in rows):
        device, share, limit_ms = limit
        yield f"{device}, {limit_ms:.4g} ms ({share:.0%} of cells)"
        yield from _table([row for row in means if tuple(row[key] for key in LIMIT) == limit])


def _table(means: Rows) -> Iterator[str]:
    for method in dict.fromkeys(row["method"] for row in means):
        cells = [row for row in means if row["method"] == method]
        figures = (f"{row['accuracy']:.2f} ({row['standard_error']:.2f})" for row in cells)
        if method in METHODS:
            yield f"  {method:28}" + "".join(f"{text:>16}" for text in figures)
        else:
            yield f"  {method:28}{cells[0]['accuracy']:>9.2f}"


def plot(path: Path, rows: Rows) -> None:
    """Draw mean regret against evaluations, a panel for each device."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((11, 6), layout="constrained")
    FigureCanvasAgg(figure)
    means = averaged(rows, ("device", "method", "evaluations"))
    for place, device in enumerate(DEVICES, start=1):
        axes = figure.add_subplot(2, 3, place)
        mine = [row for row in means if row["device"] == device]
        for method in METHODS:
            curve = [row for row in mine if row["method"] == method]
            regret = [row["regret"] for row in curve]
            error = [row["standard_error"] for row in curve]
            axes.errorbar(EVALUATIONS, regret, error, fmt="o-", ms=4, capsize=2, label=method)
        for method, style in ((SEEN, ":"), (FLOPS, "--")):
            (row,) = (row for row in mine if row["method"] == method)
            axes.axhline(row["regret"], ls=style, color="#8a8a8a", label=method)
        axes.set(title=device, xlabel="evaluations", xscale="log", ylabel="regret, points")
        axes.set_xticks(EVALUATIONS, labels=[str(count) for count in EVALUATIONS], minor=False)
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        if place == 1:
            axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
