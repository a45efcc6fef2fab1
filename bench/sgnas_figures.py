"""Figures of methods on many budgets: rows, means over seeds, lines and dots."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.rows import write_csv
from bench.sgnas_question import Question, Rows

KEYS = ("over_budget_share", "regret", "distinct_share", "gap_excess")

NO_RIVALS = ("oracle", "enumeration", "sgnas")
"""What stands beside the rivals: who knows everything, and the generators themselves."""

Row = dict[str, Any]


def row_of(
    question: Question, method: str, seed: int, picks: Rows, *, evaluations: int, **more: Any
) -> Row:
    """Return what the picks of a method are worth, beside what is known of the method.

    Args:
        question: Budgets, and what judges picks.
        method: Its name; the oracle alone chooses by what judges.
        seed: Of the method.
        picks: One for each budget.
        evaluations: Accuracies that the method asked for.
        more: Further columns.
    """
    where = {"bounded": question.name, "method": method, "seed": seed, "evaluations": evaluations}
    chosen_by = question.judge if method == "oracle" else question.seen
    return where | question.figures(picks, chosen_by=chosen_by) | more


def knowing_all(question: Question) -> list[Row]:
    """Return the rows of the oracle, and of whoever sees all that there is to see."""
    everything = np.arange(len(question.seen))
    enumerated = question.best(everything, question.seen)
    return [
        row_of(question, "oracle", 0, question.oracle, evaluations=0),
        row_of(question, "enumeration", 0, enumerated, evaluations=len(everything)),
    ]


def summary(rows: Sequence[Row], *, targets: int) -> dict[str, Any]:
    """Return the figures of one kind of budgets, means over seeds.

    Args:
        rows: Of all methods and seeds.
        targets: How many budgets.

    Returns:
        The figures of ``sgnas`` on top, where it is there, and beside it the regret of the others.
    """
    methods = {
        method: _means([row for row in rows if row["method"] == method])
        for method in dict.fromkeys(row["method"] for row in rows)
    }
    found = {"targets": targets, **methods.get("sgnas", {})}
    times = [row["seconds"] for row in rows if "seconds" in row]
    if times:
        found["seconds"] = {n: float(np.mean([each[n] for each in times])) for n in times[0]}
    return found | {
        "rivals": {
            name: each["regret"] for name, each in methods.items() if not name.startswith(NO_RIVALS)
        },
        "methods": methods,
    }


def _means(rows: Sequence[Row]) -> Row:
    means: Row = {key: float(np.mean([row[key] for row in rows])) for key in KEYS}
    means["monotone"] = all(row["monotone"] for row in rows)
    means["evaluations"] = float(np.mean([row["evaluations"] for row in rows]))
    return means


def line_of(row: Row) -> str:
    """Return a row for people."""
    more = f", trained in {row['train_s']:.0f} s" if "train_s" in row else ""
    if "seconds" in row:
        timed = ", ".join(f"{n}: {taken:.2f} s" for n, taken in row["seconds"].items())
        more += f"; answers {timed}"
    return (
        f"{row['bounded']:10} {row['method']:42} seed {row['seed']}: {row['evaluations']:4} "
        f"evaluations, regret {row['regret']:.2f} points (most {row['regret_max']:.2f}), "
        f"{row['distinct']:3} distinct ({row['distinct_share']:.2f} of the oracle's), over budget "
        f"{row['over_budget_share']:.1%}, gap {row['gap']:.1%} ({row['gap_excess']:+.1%}), "
        f"{'monotone' if row['monotone'] else 'not monotone'}{more}"
    )


def plot(path: Path, rows: Sequence[Row]) -> None:
    """Draw the regret of every method, a dot a seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bounded = list(dict.fromkeys(row["bounded"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure((6 * len(bounded), 5), layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(bounded, start=1):
        axes = figure.add_subplot(1, len(bounded), place)
        for i, method in enumerate(methods):
            values = [
                row["regret"] for row in rows if (row["bounded"], row["method"]) == (name, method)
            ]
            axes.plot(values, [i] * len(values), "o", color="#1f5fa8", alpha=0.7)
        axes.set(title=f"regret, points; {name}", yticks=range(len(methods)), yticklabels=methods)
        axes.grid(axis="x", color="#dddddd")
        axes.invert_yaxis()
    figure.savefig(path, dpi=100)


def summaries(rows: list[Row], *, targets: int) -> dict[str, Any]:
    """Return the figures of every kind of budgets."""
    found = {}
    for bounded in dict.fromkeys(row["bounded"] for row in rows):
        some = [row for row in rows if row["bounded"] == bounded]
        found[bounded] = summary(some, targets=targets)
    return found


def show(
    args: argparse.Namespace,
    rows: list[Row],
    figures: Mapping[str, Any],
    more: list[str] | None = None,
) -> None:
    """Print figures for machines, or rows and more for people; write what was asked for."""
    if args.json:
        print(json.dumps(figures, indent=2))
    else:
        for line in (*map(line_of, rows), *(more or ())):
            print(line)
    if args.csv:
        write_csv(args.csv, rows)
    if args.png:
        plot(args.png, rows)
