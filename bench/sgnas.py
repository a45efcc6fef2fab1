"""What a generator's answers for 181 budgets are worth, against enumeration of a whole space.

The cross-entropy of SGNAS is replaced by the accuracies of NAS-Bench-Macro. Its first training run
is what methods see; the mean of the other two judges what they pick, and the oracle is the best by
that mean within each budget. Nobody can reach it: the enumeration of all networks by the first run
is printed beside it, as the least regret of anyone who sees that run only.

Two generators are trained. ``sgnas`` sees at most as many accuracies as its rivals: its table is
a fit of layers and pairs of layers to half of them, and what it proposes is evaluated with the
other half. ``sgnas, whole table`` contracts all accuracies of the first run, so it counts 3,969
evaluations. All answers of a method are the best by the first run of what it evaluated, within
each budget. ``pairs, enumerated`` asks the same fit about all networks, one by one, which a large
space forbids: what a generator loses by generating.

    LATKIT_DATA=DIR python bench/sgnas.py [--quick] [--json] [--seeds N] [--table T.lut]
                                          [--targets N] [--csv F] [--png F]

Budgets are of operations; with --table of latency on that device, too, at 95 % confidence.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from bench.rows import write_csv
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget, latency_model, load_table
from profiler import macs, total_macs
from search.evolution import Evolution
from search.generators import train_generator
from search.nsga2 import NSGA2Search
from search.predictor import PENALTIES, fit_additive
from search.projection import project
from search.searcher import Candidate, Searcher, run_search
from search.sgnas import (
    ExpectedError,
    GeneratorSettings,
    TrainedGenerator,
    accuracy_table,
    propose,
)
from search.space import Architecture, SearchSpace, as_choices
from search.truth import Truth, read_nas_bench_macro
from search.within import PathsWithin

Rows = NDArray[np.intp]

SCALE = 5.0
"""Weight of a share of errors beside the distance to the target: of 2, 5, 20 and 100 the last two
lost more."""

ANCHORS = 10
"""Budgets that evolution searches one after another; what it evaluates serves all targets."""

ROUNDS = 40
"""Rounds of a rival's search at most: under tight budgets nothing is new any more."""

TIMED = (1, 10, 181)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is trained and evaluated.

    Attributes:
        targets: Budgets over the range.
        evaluations: Accuracies that a method may ask for.
        fitted: Of them those that the fit behind ``sgnas`` sees.
        epochs: Of a generator.
        steps: Of an epoch.
        seeds: Repetitions.
    """

    targets: int = 181
    evaluations: int = 400
    fitted: int = 200
    epochs: int = 40
    steps: int = 25
    seeds: int = 3


QUICK = Scale(epochs=20, steps=15, seeds=1)

ABLATIONS: dict[str, dict[str, Any]] = {
    "no prior": {"prior": False},
    "symmetric": {"over": 1.0},
    "only above": {"under": 0.0},
    "hard": {"hard": True},
}
"""Name to the settings that differ; the projection is switched off without training anew."""


def main() -> None:
    """Train, search and print."""
    args = _arguments()
    folder = os.environ.get("LATKIT_DATA")
    if not folder:
        sys.exit("LATKIT_DATA is unset: this bench needs NAS-Bench-Macro")
    torch.set_num_threads(1)
    scale = QUICK if args.quick else Scale()
    scale = replace(scale, seeds=args.seeds or scale.seeds, targets=args.targets or scale.targets)
    published = Path(folder) / "nas_bench_macro" / "nas-bench-macro_cifar10.json.gz"
    truth = read_nas_bench_macro(published)
    models = {"operations": operations_model(truth.space)}
    if args.table:
        models["latency"] = latency_model(load_table(args.table), truth.space)
    rows = [
        row
        for name, model in models.items()
        for row in run(Question(name=name, truth=truth, model=model, count=scale.targets), scale)
    ]
    if args.json:
        print(json.dumps(summary(rows, scale), indent=2))
    else:
        for row in rows:
            print(line_of(row))
    if args.csv:
        write_csv(args.csv, rows)
    if args.png:
        plot(args.png, rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--targets", type=int, default=0)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--png", type=Path)
    return parser.parse_args()


def operations_model(space: SearchSpace) -> LatencyModel:
    """Return the model of a device that takes a second for a million operations, exactly."""
    cost = [[macs(op) * 1e-6 for op in layer] for layer in space.layers]
    return LatencyModel(
        device="operations",
        base_s=total_macs((*space.before, *space.after)) * 1e-6,
        cost_s=np.array(cost),
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="operations",
    )


class Question:
    """Budgets over the whole range of a model, and what the best answers are.

    Args:
        name: Of what is bounded.
        truth: Accuracies of all networks.
        model: Prices them.
        count: Budgets.
    """

    def __init__(self, *, name: str, truth: Truth, model: LatencyModel, count: int) -> None:
        self.name, self.truth, self.model, self.space = name, truth, model, truth.space
        self.seen = truth.accuracy[:, 0]
        self.judge = truth.accuracy[:, 1:].mean(axis=1)
        self.cost_s = model.latency_s(as_choices(list(truth.archs)))
        self.span_s = float(self.cost_s.max() - self.cost_s.min())
        # Limits at which the predictions allowed go from the fastest network to the slowest.
        margin = 1.0 / model.allowed_s(LatencyTarget(device=model.device, limit_s=1.0))
        ends = np.array([self.cost_s.min(), self.cost_s.max()]) * margin * (1 + 1e-9)
        limits_s = np.linspace(ends[0], ends[1], count).tolist()
        self.budgets = [self.budget(limit_s) for limit_s in limits_s]
        self.allowed_s = np.array([budget.allowed_s for budget in self.budgets])
        everything = np.arange(len(truth.archs))
        self.oracle = self.best(everything, self.judge)

    def budget(self, limit_s: float) -> LatencyBudget:
        """Return a limit as a budget."""
        target = LatencyTarget(device=self.model.device, limit_s=limit_s)
        return LatencyBudget(model=self.model, target=target)

    def best(self, rows: Rows, accuracy: NDArray[np.float64]) -> Rows:
        """Return for each budget the most accurate of some networks, of equals the cheapest.

        Where none of them fits the fastest of all is taken, which everybody knows.
        """
        fastest = int(self.cost_s.argmin())
        rows = np.union1d(rows, [fastest])
        ranked = rows[np.lexsort((self.cost_s[rows], -accuracy[rows]))]
        fits = self.cost_s[ranked] <= self.allowed_s[:, None]  # (budgets, rows)
        return ranked[fits.argmax(axis=1)]

    def figures(self, picks: Rows, *, chosen_by: NDArray[np.float64]) -> dict[str, Any]:
        """Return what picks, one for each budget, are worth; whoever chose saw some accuracies."""
        gap = (self.allowed_s - self.cost_s[picks]).mean() / self.span_s
        best_gap = (self.allowed_s - self.cost_s[self.oracle]).mean() / self.span_s
        lost = self.judge[self.oracle] - self.judge[picks]
        rising = [np.diff(values[picks]).min() >= 0.0 for values in (self.cost_s, chosen_by)]
        return {
            "over_budget_share": float((self.cost_s[picks] > self.allowed_s).mean()),
            "regret": 100 * float(lost.mean()),
            "regret_max": 100 * float(lost.max()),
            "distinct": len(set(picks.tolist())),
            "distinct_share": len(set(picks.tolist())) / len(set(self.oracle.tolist())),
            "gap": float(gap),
            "gap_excess": float(gap - best_gap),
            "monotone": bool(all(rising)),
        }


@dataclass(slots=True, kw_only=True)
class Evaluations:
    """The first run's accuracies, and which of them a method has asked for.

    Attributes:
        question: Whose networks.
        known: Rows of the truth.
    """

    question: Question
    known: set[int] = field(default_factory=set)

    def __call__(self, archs: Sequence[Architecture]) -> list[float]:
        """Return accuracies in [0, 1]."""
        rows = self.question.truth.rows(archs)
        self.known |= set(rows.tolist())
        accuracies: list[float] = self.question.seen[rows].tolist()
        return accuracies

    @property
    def answers(self) -> Rows:
        """The best that was evaluated, for each budget."""
        rows = np.array(sorted(self.known), np.intp)
        return self.question.best(rows, self.question.seen)


@dataclass(slots=True, kw_only=True)
class Until:
    """A searcher that stops once so many networks have been evaluated."""

    inner: Searcher
    evaluations: Evaluations
    most: int

    def ask(self) -> Sequence[Any]:
        """Return the next proposals, or none."""
        return self.inner.ask() if len(self.evaluations.known) < self.most else []

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Pass the verdicts on."""
        self.inner.tell(judged)


def run(question: Question, scale: Scale) -> list[dict[str, Any]]:
    """Return a row for each method and seed."""
    rows = [
        _row(question, "oracle", 0, question.oracle, evaluations=0),
        _row(
            question,
            "enumeration",
            0,
            question.best(np.arange(len(question.seen)), question.seen),
            evaluations=len(question.seen),
        ),
    ]
    for seed in range(scale.seeds):
        for method, rival in RIVALS.items():
            asked = rival(question, scale.evaluations, seed)
            rows.append(_row(question, method, seed, asked.answers, evaluations=len(asked.known)))
        rows += generators(question, scale, seed)
    return rows


def _row(
    question: Question, method: str, seed: int, picks: Rows, *, evaluations: int, **more: Any
) -> dict[str, Any]:
    where = {"bounded": question.name, "method": method, "seed": seed, "evaluations": evaluations}
    chosen_by = question.judge if method == "oracle" else question.seen
    return where | question.figures(picks, chosen_by=chosen_by) | more


def random_search(question: Question, most: int, seed: int) -> Evaluations:
    """Draw networks uniformly within budgets, a random budget each."""
    rng, asked = np.random.default_rng(seed), Evaluations(question=question)
    draws = [PathsWithin(space=question.space, budgets=[each]) for each in question.budgets]
    for _ in range(20 * most):
        if len(asked.known) >= most:
            break
        asked([draws[int(rng.integers(len(draws)))].sample(rng)])
    return asked


def evolution(question: Question, most: int, seed: int) -> Evaluations:
    """Search some budgets one after another; what was evaluated serves all of them."""
    asked = Evaluations(question=question)
    anchors = np.linspace(0, len(question.budgets) - 1, ANCHORS).astype(int)
    for i, anchor in enumerate(anchors.tolist(), start=1):
        budgets = [question.budgets[anchor]]
        rng = np.random.default_rng([seed, i])
        inner = Evolution(space=question.space, budgets=budgets, rng=rng, population=10)
        _search(question, inner, asked, budgets, most * i // ANCHORS)
    return asked


def nsga2(question: Question, most: int, seed: int) -> Evaluations:
    """Search once, for the whole front of accuracy and cost."""
    asked, budgets = Evaluations(question=question), question.budgets[-1:]
    rng = np.random.default_rng(seed)
    inner = NSGA2Search(space=question.space, budgets=budgets, rng=rng, population=40)
    _search(question, inner, asked, budgets, most)
    return asked


def _search(
    question: Question,
    searcher: Searcher,
    asked: Evaluations,
    budgets: Sequence[LatencyBudget],
    most: int,
) -> None:
    until = Until(inner=searcher, evaluations=asked, most=most)
    if len(asked.known) < most:
        run_search(until, space=question.space, budgets=budgets, accuracy=asked, rounds=ROUNDS)


def additive(question: Question, most: int, seed: int) -> Evaluations:
    """Fit layers' contributions, and evaluate the optimum of the fit under each budget."""
    count = most
    for _ in range(3):  # what the optima need is not known before they are
        asked = random_search(question, count, seed)
        archs = [question.truth.archs[i] for i in sorted(asked.known)]
        scores = fit_additive(question.space, archs, asked(archs)).scores
        choices = project(scores[None], question.budgets, space=question.space)
        asked([Architecture(tuple(row)) for row in choices[0].tolist()])
        count -= max(0, len(asked.known) - most)
    return asked


def fitted_pairs(question: Question, asked: Evaluations) -> NDArray[np.float64]:
    """Fit layers and pairs of layers to what was evaluated: accuracies of all networks."""
    rows = np.array(sorted(asked.known), np.intp)
    choices = as_choices(list(question.truth.archs))
    count = choices.shape[1] * 3
    chosen = (choices[:, :, None] == np.arange(3)).reshape(-1, count).astype(float)
    first, second = np.triu_indices(count, 1)
    features = np.concatenate([chosen, chosen[:, first] * chosen[:, second]], axis=1)
    ridge = RidgeCV(alphas=PENALTIES).fit(features[rows], question.seen[rows])
    predicted: NDArray[np.float64] = ridge.predict(features).clip(0.0, 1.0)
    return predicted


def enumerated(question: Question, most: int, seed: int) -> Evaluations:
    """Fit pairs of layers, and evaluate what the fit says is best under each budget."""
    asked = random_search(question, most // 2, seed)
    predicted = fitted_pairs(question, asked)
    ranked = np.lexsort((question.cost_s, -predicted))
    fits = question.cost_s[ranked] <= question.allowed_s[:, None]  # (budgets, networks)
    turns = [ranked[row] for row in fits]  # of each budget the best first
    for place in range(len(ranked)):
        for own in turns:
            if len(asked.known) < most and place < len(own):
                asked.known.add(int(own[place]))
        if len(asked.known) >= most:
            break
    return asked


RIVALS: dict[str, Callable[[Question, int, int], Evaluations]] = {
    "additive": additive,
    "evolution": evolution,
    "nsga2": nsga2,
    "random": random_search,
    "pairs, enumerated": enumerated,
}


def generators(question: Question, scale: Scale, seed: int) -> list[dict[str, Any]]:
    """Return the rows of all generators of a seed."""
    rows = []
    asked = random_search(question, scale.fitted, seed)
    predicted = fitted_pairs(question, asked)

    def of(archs: list[Architecture]) -> list[float]:
        values: list[float] = predicted[question.truth.rows(archs)].tolist()
        return values

    made, train_s = trained(question, scale, seed, accuracy_table(question.space, of))
    asked(proposed(made, question, seed, most=scale.evaluations - len(asked.known)))
    times = seconds(made, question)
    rows.append(
        _row(
            question,
            "sgnas",
            seed,
            asked.answers,
            evaluations=len(asked.known),
            train_s=train_s,
            seconds=times,
        )
    )
    for name, changes in {"": {}, **ABLATIONS}.items():
        rows += whole_table(question, scale, seed, name, changes)
    return rows


def whole_table(
    question: Question, scale: Scale, seed: int, name: str, changes: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the rows of a generator that saw all accuracies of the first run."""
    asked = Evaluations(question=question)
    table = accuracy_table(question.space, asked)
    made, train_s = trained(question, scale, seed, table, **changes)
    candidates = question.truth.rows(proposed(made, question, seed, most=scale.evaluations))
    picks = question.best(candidates, question.seen)
    method = f"sgnas, whole table{', ' + name if name else ''}"
    counted: dict[str, Any] = {"evaluations": len(asked.known), "train_s": train_s}
    found = [_row(question, method, seed, picks, **counted)]
    own = question.truth.rows(own_answers(made, question))
    found.append(_row(question, f"{method}, own answers", seed, own, **counted))
    if not name:
        raw = question.truth.rows(unprojected(made, question))
        found.append(_row(question, f"{method}, no projection", seed, raw, **counted))
    return found


def trained(
    question: Question, scale: Scale, seed: int, table: NDArray[np.float64], **changes: Any
) -> tuple[TrainedGenerator, float]:
    """Train a generator on a table of accuracies; return the seconds that it took, too."""
    settings = GeneratorSettings(
        **{"epochs": scale.epochs, "steps": scale.steps, "targets": 32, "seed": seed, **changes}
    )
    start = perf_counter()
    objective = ExpectedError(table, scale=SCALE)
    made = train_generator(question.space, question.model, objective, settings)
    return made, perf_counter() - start


def proposed(
    made: TrainedGenerator, question: Question, seed: int, *, most: int
) -> list[Architecture]:
    """Return the networks to evaluate for all budgets."""
    rng = np.random.default_rng(seed)
    return propose(made, question.budgets, space=question.space, most=most, rng=rng)


def own_answers(made: TrainedGenerator, question: Question) -> list[Architecture]:
    """Return what a generator says for each budget itself, projected, unevaluated."""
    scores = made.scores(made.latency.shares(question.allowed_s))
    choices = project(scores, question.budgets, space=question.space)
    count = range(len(question.budgets))
    return [Architecture(tuple(choices[i, i].tolist())) for i in count]


def unprojected(made: TrainedGenerator, question: Question) -> list[Architecture]:
    """Return the likeliest choices for each budget, whatever they cost."""
    best = made.scores(made.latency.shares(question.allowed_s)).argmax(axis=2)
    return [Architecture(tuple(row)) for row in best.tolist()]


def seconds(made: TrainedGenerator, question: Question) -> dict[str, float]:
    """Return how long so many answers take, from the generator to the networks to evaluate."""
    times = {}
    for count in TIMED:
        places = np.linspace(0, len(question.budgets) - 1, count).astype(int)
        budgets = [question.budgets[i] for i in places]
        taken = []
        for _ in range(3):
            start = perf_counter()
            rng = np.random.default_rng(0)
            propose(made, budgets, space=question.space, most=2 * count, rng=rng)
            taken.append(perf_counter() - start)
        times[str(count)] = float(np.median(taken))
    return times


KEYS = ("over_budget_share", "regret", "distinct_share", "gap_excess")


def summary(rows: Sequence[dict[str, Any]], scale: Scale) -> dict[str, Any]:
    """Return figures by what is bounded, means over seeds; operations on top."""
    found = {
        bounded: _summary([row for row in rows if row["bounded"] == bounded], scale)
        for bounded in dict.fromkeys(row["bounded"] for row in rows)
    }
    top = found.pop("operations")
    return top | found


def _summary(rows: Sequence[dict[str, Any]], scale: Scale) -> dict[str, Any]:
    methods = {
        method: _means([row for row in rows if row["method"] == method])
        for method in dict.fromkeys(row["method"] for row in rows)
    }
    times = [row["seconds"] for row in rows if "seconds" in row]
    return {
        "targets": scale.targets,
        **methods["sgnas"],
        "seconds": {n: float(np.mean([each[n] for each in times])) for n in times[0]},
        "rivals": {name: methods[name]["regret"] for name in RIVALS},
        "methods": methods,
    }


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    means: dict[str, Any] = {key: float(np.mean([row[key] for row in rows])) for key in KEYS}
    means["monotone"] = all(row["monotone"] for row in rows)
    means["evaluations"] = float(np.mean([row["evaluations"] for row in rows]))
    return means


def line_of(row: dict[str, Any]) -> str:
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


def plot(path: Path, rows: Sequence[dict[str, Any]]) -> None:
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


if __name__ == "__main__":
    main()
