"""NSGA-II under hard latency budgets: accuracy and the latency on every device as objectives.

Keeping fast networks alive beside accurate ones keeps the population diverse, and the search ends
with a front (`search.searcher.non_dominated`) instead of one network. GreedyNAS searches this way,
with the best of its candidate pool as seeds.

Needs pymoo; import it by name where pymoo is installed.

Source:
    Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, IEEE Transactions on
    Evolutionary Computation 6(2), 2002; You, Huang et al., GreedyNAS, CVPR 2020, for the
    seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2

from lut import LatencyBudget
from lut.plans.memory import MemoryBudget
from search.methods.genetic import MUTATION_RATE, POPULATION, Generations, errors_of
from search.searcher import Candidate
from search.space import Architecture, SearchSpace


@dataclass(slots=True, kw_only=True)
class NSGA2Search:
    """Tournaments by dominance and crowding; of old and new the best fronts survive.

    Attributes:
        space: Where to search.
        budgets: The bounds to keep; see `search.methods.genetic.Generations`.
        rng: Source of every random draw.
        population: Architectures per round.
        mutation_rate: Probability that a choice of a child is redrawn.
        seeds: What to begin with, the best first. Those that break a budget are left out; the
            others take as much of the first generation as they fill.
        memory: A bound on memory that holds, too.
    """

    space: SearchSpace
    budgets: Sequence[LatencyBudget]
    rng: np.random.Generator
    population: int = POPULATION
    mutation_rate: float = MUTATION_RATE
    seeds: Sequence[Architecture] = ()
    memory: MemoryBudget | None = None
    _generations: Generations = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._generations = Generations(
            algorithm=NSGA2,
            objectives=1 + len(self.budgets),
            space=self.space,
            budgets=self.budgets,
            rng=self.rng,
            population=self.population,
            mutation_rate=self.mutation_rate,
            seeds=self.seeds,
            memory=self.memory,
        )

    def ask(self) -> list[Architecture]:
        """Return the first generation, then children; none when no child can be new."""
        return self._generations.ask()

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Let the best fronts of the population and its children survive."""
        latency_s = np.array([candidate.latency_s for candidate in judged])
        self._generations.tell(judged, scores=np.column_stack([errors_of(judged), latency_s]))
