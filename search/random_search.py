"""Random search: the baseline that every other method must beat at equal evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lut import LatencyBudget
from search.searcher import Candidate, relative_excess
from search.space import Architecture, Choices, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSearch:
    """Draws architectures, makes those faster that break a budget, and learns nothing.

    Attributes:
        space: Where to search.
        budgets: The bounds to keep.
        rng: Source of every random draw.
        batch: Architectures per round.
    """

    space: SearchSpace
    budgets: Sequence[LatencyBudget]
    rng: np.random.Generator
    batch: int = 50

    def ask(self) -> list[Architecture]:
        """Return fresh draws, see `draw_within`."""
        rows = draw_within(self.budgets, self.space, self.batch, self.rng)
        return [Architecture(tuple(row)) for row in rows.tolist()]

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Learn nothing: the next draws do not depend on the last."""


def draw_within(
    budgets: Sequence[LatencyBudget], space: SearchSpace, count: int, rng: np.random.Generator
) -> Choices:
    """Draw architectures uniformly and repair those that break a budget.

    A repair moves a random layer to its cheapest choice, again and again, until every budget is
    kept. Draws are therefore not uniform among the feasible: where few uniform draws are, most
    end close below the budget.

    Returns:
        ``(count, layers)``. Each keeps a single budget if any architecture does. Several budgets
        may want different choices of a layer; after as many moves as there are layers and budgets
        a draw stays as it is.
    """
    choices = space.sample_batch(count, rng)
    cheapest = np.stack([budget.model.cost_s.argmin(axis=1) for budget in budgets])
    for _ in range(cheapest.size):
        latency_s = np.stack([budget.model.latency_s(choices) for budget in budgets], axis=1)
        excess = relative_excess(latency_s, budgets)  # (count, budgets)
        broken = np.flatnonzero((excess > 0.0).any(axis=1))
        if not len(broken):
            break
        goal = cheapest[excess[broken].argmax(axis=1)]  # (broken, layers), by the worst budget
        lot = rng.random(goal.shape)
        lot[choices[broken] == goal] = -1.0  # a layer that is cheapest already cannot move
        layer = lot.argmax(axis=1)
        choices[broken, layer] = goal[np.arange(len(broken)), layer]
    return choices
