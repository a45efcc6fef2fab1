"""Evolution under hard latency budgets: pymoo's genetic algorithm, which climbs accuracy alone.

Needs pymoo; import it by name where pymoo is installed.

Source:
    Guo et al., Single Path One-Shot NAS, ECCV 2020, section 3.4; see `search.methods.genetic`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pymoo.algorithms.soo.nonconvex.ga import GA

from lut import LatencyBudget
from lut.plans.memory import MemoryBudget
from search.methods.genetic import MUTATION_RATE, POPULATION, Generations, errors_of
from search.searcher import Candidate
from search.space import Architecture, SearchSpace


@dataclass(slots=True, kw_only=True)
class Evolution:
    """Binary tournaments, uniform crossover, random mutation; the best of old and new survive.

    Attributes:
        space: Where to search.
        budgets: The bounds to keep; see `search.methods.genetic.Generations`.
        rng: Source of every random draw.
        population: Architectures per round.
        mutation_rate: Probability that a choice of a child is redrawn.
        memory: A bound on memory that holds, too.
    """

    space: SearchSpace
    budgets: Sequence[LatencyBudget]
    rng: np.random.Generator
    population: int = POPULATION
    mutation_rate: float = MUTATION_RATE
    memory: MemoryBudget | None = None
    _generations: Generations = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._generations = Generations(
            algorithm=GA,
            objectives=1,
            space=self.space,
            budgets=self.budgets,
            rng=self.rng,
            population=self.population,
            mutation_rate=self.mutation_rate,
            memory=self.memory,
        )

    def ask(self) -> list[Architecture]:
        """Return the first generation, then children; none when no child can be new."""
        return self._generations.ask()

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Let the best of the population and its children survive."""
        self._generations.tell(judged, scores=errors_of(judged)[:, None])
