"""Many budgets over the range of a space whose networks are all known, and who asked for what.

What a method sees and what judges its picks are two things: one training run and the mean of the
others, validation accuracy after a few epochs and test accuracy after many, or the inherited
weights of a supernet and the accuracies that others have published.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget
from profiler import macs, total_macs
from search.greedynas.within import PathsWithin
from search.space import Architecture, SearchSpace, as_choices
from search.truths.truth import Truth

Rows = NDArray[np.intp]


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

    Budgets are of what has a price: cells without a path have none and keep no budget.

    Args:
        name: Of what is bounded.
        truth: Accuracies of all networks: what a method sees, and what judges it.
        model: Prices them.
        count: Budgets.
    """

    def __init__(self, *, name: str, truth: Truth, model: LatencyModel, count: int) -> None:
        self.name, self.truth, self.model, self.space = name, truth, model, truth.space
        archs = list(truth.archs)
        self.seen, self.judge = np.array(truth.evaluator()(archs)), np.array(truth.judge(archs))
        self.cost_s = model.latency_s(as_choices(archs))
        costs = self.cost_s[np.isfinite(self.cost_s)]
        self.span_s = float(costs.max() - costs.min())
        # Limits at which the predictions allowed go from the fastest network to the slowest.
        margin = 1.0 / model.allowed_s(LatencyTarget(device=model.device, limit_s=1.0))
        ends = np.array([costs.min(), costs.max()]) * margin * (1 + 1e-9)
        limits_s = np.linspace(ends[0], ends[1], count).tolist()
        self.budgets = [self.budget(limit_s) for limit_s in limits_s]
        self.allowed_s = np.array([budget.allowed_s for budget in self.budgets])
        everything = np.arange(len(truth.archs))
        self.oracle = self.best(everything, self.judge)

    @cached_property
    def draws(self) -> tuple[PathsWithin, ...]:
        """Uniform draws within each budget."""
        return tuple(PathsWithin(space=self.space, budgets=[each]) for each in self.budgets)

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
    """The accuracies that there are to see, and which of them a method has asked for.

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
