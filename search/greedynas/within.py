"""Draws that are uniform among the architectures within budgets.

Uniform draws of a large space rarely keep a tight budget: one in 100,000 of 7^21 at 200 million
operations. So completions are counted first: how many ways lead on from a layer with so much of the
budget left. Choosing every layer in proportion to its completions is a uniform draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lut import LatencyBudget, within
from lut.sums import parted
from search.exact import NoFeasibleArchitecture, check_feasible, milliseconds
from search.space import Architecture, SearchSpace, as_choices

BINS = 4096
"""Steps that the budget above the fastest network is cut into."""

DRAWS = 1000
"""Draws after which nothing is believed to keep all budgets: of one, nearly all draws keep it."""


@dataclass(frozen=True, kw_only=True)  # no slots: the counted completions are cached
class PathsWithin:
    """The architectures of a space that keep every budget, none or all of them uniformly.

    Costs are rounded down to bins, so that no architecture within the budget is lost; the few that
    only rounding lets in are drawn again. Counts are floats: exact to 16 digits.

    Attributes:
        space: What is drawn from.
        budgets: What must hold; none: everything does. Completions are counted for the first one,
            and what breaks another is drawn again.
    """

    space: SearchSpace
    budgets: Sequence[LatencyBudget]

    def __post_init__(self) -> None:
        if self.budgets:
            check_feasible(self.space, self.budgets)

    @property
    def share(self) -> float:
        """Share of the space that keeps the first budget, to within the rounding to bins."""
        return float(self._completions[0][-1]) / self.space.size if self.budgets else 1.0

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw an architecture.

        Raises:
            NoFeasibleArchitecture: `DRAWS` draws kept one budget and broke another.
        """
        if not self.budgets:
            return self.space.sample(rng)
        for _ in range(DRAWS):
            arch = self._draw(rng)
            if within(self.budgets, as_choices([arch]))[0]:
                return arch
        limits = ", ".join(
            f"{milliseconds(budget.target.limit_s)} on {budget.target.device!r}"
            for budget in self.budgets
        )
        raise NoFeasibleArchitecture(
            f"none of {DRAWS} networks of space {self.space.name!r} keeps all limits ({limits}): "
            "allow more on one of them"
        )

    def _draw(self, rng: np.random.Generator) -> Architecture:
        left, choices = BINS, []
        for steps, ways in zip(self._steps, self._completions[1:], strict=True):
            open_ = steps <= left
            weights = np.where(open_, ways[np.where(open_, left - steps, 0)], 0.0)
            picked = int(rng.choice(len(steps), p=weights / weights.sum()))
            choices.append(picked)
            left -= int(steps[picked])
        choice = parted(np.array([choices]), self.budgets[0].model.together)[0]
        return Architecture(tuple(choice.tolist()))

    @cached_property
    def _steps(self) -> list[NDArray[np.int64]]:
        """Return for each layer how many bins a choice takes beyond the cheapest, rounded down."""
        budget = self.budgets[0]
        costs = budget.model.cost_s
        cheapest_s = costs.min(axis=1, keepdims=True)
        room_s = budget.model.undone(budget.allowed_s) - budget.model.base_s - cheapest_s.sum()
        bin_s = max(room_s, 0.0) / BINS
        together = budget.model.together
        sizes = [costs.size] if together else list(map(len, self.space.layers))
        steps = []
        for size, extra_s in zip(sizes, costs - cheapest_s, strict=True):
            own_s = extra_s[:size]
            fits = own_s <= bin_s * BINS
            # A hair less, so that a cost of exactly n bins is not lost to the division.
            scaled = np.where(fits, own_s, 0.0) / (bin_s or 1.0) - 1e-9
            steps.append(np.where(fits, np.maximum(scaled, 0.0), BINS + 1).astype(np.int64))
        return steps

    @cached_property
    def _completions(self) -> list[NDArray[np.float64]]:
        """Return ``ways[layer][left]``: paths from there on that fit into so many bins."""
        ways = [np.ones(BINS + 1)]
        for steps in reversed(self._steps):
            after, here = ways[-1], np.zeros(BINS + 1)
            for step in steps[steps <= BINS].tolist():
                here[step:] += after[: BINS + 1 - step]
            ways.append(here)
        return ways[::-1]
