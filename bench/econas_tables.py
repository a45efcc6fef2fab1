"""The part of `bench.econas` on tables: NAS-Bench-201 with two levels of effort."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.econas_problems import (
    Problem,
    Rows,
    budget,
    curve,
    free,
    problem_of,
    trials_of,
)
from bench.econas_scale import Scale
from search.econas.hierarchy import ASHA, METHOD, RANDOM, EconasSettings
from search.searcher import Trial
from search.space import as_choices
from search.truths.nasbench201 import read_latencies, read_nas_bench_201
from search.truths.table_trials import TableTrials

DEVICE, LATENCY_SHARES = "raspi4", (0.3, 0.6)
"""Published latencies of NAS-Bench-201; these shares of the cells keep the limits."""

TABLE_SIZES = EconasSettings(initial=16, cycles=10, epochs=(12, 212), promoted=(4,), mothers=(8, 8))
"""Two levels: 12 epochs, and then 200 from the start, since a table's trainings do not go on."""

FLAT_12, FLAT_200 = "flat, 12 epochs", "flat, 200 epochs"


def tables(data: Path, scale: Scale) -> Rows:
    """Search NAS-Bench-201 by every method, over and over."""
    folder = data / "nas_bench_201"
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
        for seed in range(scale.table_seeds):
            rows += searched(problem, both, seed)
            rows += free(problem, seed, draws=scale.draws)
    return averaged(rows)


def searched(problem: Problem, both: TableTrials, seed: int) -> Rows:
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


def averaged(rows: Rows) -> Rows:
    """Return one row for each method, seed and cost: the mean over limits."""
    groups: dict[tuple[Any, ...], Rows] = {}
    for row in rows:
        groups.setdefault((row["method"], row["seed"], row["epochs"]), []).append(row)
    return [
        {**group[0], "regret": float(np.mean([row["regret"] for row in group]))}
        for group in groups.values()
    ]
