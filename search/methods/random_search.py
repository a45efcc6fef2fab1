"""Random search: the baseline that every other method must beat at equal evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lut import LatencyBudget
from search.searcher import Candidate, relative_excess
from search.space import Architecture, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSearch:
    """Draws architectures, makes those faster that break a budget, and learns nothing.

    Attributes:
        space: Where to search.
        budgets: The bounds to keep.
        rng: Source of every random draw.
        population: Architectures per round.
    """

    space: SearchSpace
    budgets: Sequence[LatencyBudget]
    rng: np.random.Generator
    population: int = 50

    def ask(self) -> list[Architecture]:
        """Return fresh draws, each within the budgets where `repaired` gets it there."""
        draws = self.space.sample_batch(self.population, self.rng)
        rows = repaired(draws, self.budgets, self.rng)
        return [Architecture(tuple(row)) for row in rows.tolist()]

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Learn nothing: the next draws do not depend on the last."""


def repaired(
    choices: NDArray[np.integer], budgets: Sequence[LatencyBudget], rng: np.random.Generator
) -> NDArray[np.integer]:
    """Make architectures that break a budget faster, until they keep it.

    A random layer moves to a random cheaper choice, again and again. Repaired draws are therefore
    not uniform among the feasible: where few uniform draws are, most end close below the budget.

    Args:
        choices: ``(batch, layers)``; stays as it is.
        budgets: The bounds to keep.
        rng: Source of every random draw.

    Returns:
        ``(batch, layers)``, those within the budgets unchanged. Every row keeps a single budget
        if any architecture does, unless layers are priced together: there a row may end where no
        single choice makes it faster. Several budgets may want different choices of a layer; after
        as many moves as there are choices on all devices a row stays as it is.
    """
    choices = choices.copy()
    models = [budget.model for budget in budgets]
    most = sum(int(model.counts.max()) * len(model.counts) for model in models)
    for _ in range(most):
        latency_s = np.stack([model.latency_s(choices) for model in models], axis=1)
        excess = relative_excess(latency_s, budgets)  # (batch, budgets)
        broken = np.flatnonzero((excess > 0.0).any(axis=1))
        if not len(broken):
            break
        faster = np.stack([model.faster(choices[broken]) for model in models])
        worst = excess[broken].argmax(axis=1)
        moves = faster[worst, np.arange(len(broken))]  # (broken, layers, choices)
        lot = np.where(moves, rng.random(moves.shape), 0.0).reshape(len(broken), -1)
        layer, choice = np.divmod(lot.argmax(axis=1), moves.shape[2])
        movable = lot.max(axis=1) > 0.0  # not where the worst budget has nothing cheaper
        choices[broken[movable], layer[movable]] = choice[movable]
    return choices
