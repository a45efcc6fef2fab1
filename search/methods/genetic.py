"""What the genetic searchers share: pymoo's algorithms as ask and tell over the choices of layers.

Needs pymoo; import it by name where pymoo is installed.

Source:
    Guo et al., Single Path One-Shot NAS, ECCV 2020, section 3.4 (evolution over a supernet, with
    latency as a constraint that is checked before accuracy); infeasible ones compared as in Deb,
    An efficient constraint handling method for genetic algorithms, CMAME 186, 2000.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.config import Config
from pymoo.core.duplicate import DefaultDuplicateElimination
from pymoo.core.evaluator import Evaluator
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.core.variable import Integer
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.mutation.rm import ChoiceRandomMutation
from pymoo.problems.static import StaticProblem

from lut import LatencyBudget, within
from lut.plans.memory import MemoryBudget
from search.exact import feasible_range
from search.methods.random_search import repaired
from search.searcher import Candidate, relative_excess
from search.space import Architecture, SearchSpace, as_choices

POPULATION = 50
MUTATION_RATE = 0.1


@dataclass(slots=True, kw_only=True)
class Generations:
    """Generations of one of pymoo's genetic algorithms, under latency budgets.

    The first generation is the fastest architecture on every device, the seeds that keep every
    budget, and random ones. Whatever breaks a budget, at first or later, is made faster until it
    keeps it (`repaired`), so that a tight budget wastes no round. Where several budgets cannot be
    kept that way, those that break one lose against all that do not, and among each other by the
    largest relative excess.

    Attributes:
        algorithm: The class of pymoo.
        objectives: How many numbers judge an individual.
        space: Where to search.
        budgets: The bounds to keep.
        rng: Source of every random draw.
        population: Architectures per round.
        mutation_rate: Probability that a choice of a child is redrawn.
        seeds: What to begin with, the best first; as many as fit into the first generation.
        memory: A bound on memory that holds, too. What breaks it is not repaired, and loses; the
            first generation has the network that takes least.
    """

    algorithm: Callable[..., Any]
    objectives: int
    space: SearchSpace
    budgets: Sequence[LatencyBudget]
    rng: np.random.Generator
    population: int
    mutation_rate: float
    seeds: Sequence[Architecture] = ()
    memory: MemoryBudget | None = None
    _genetic: Any = field(default=None, init=False, repr=False)
    _asked: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.population <= len(self.budgets):
            raise ValueError(
                f"a population starts with the fastest for each of {len(self.budgets)} budgets "
                f"and random ones; {self.population} is too few"
            )
        if not 0.0 <= self.mutation_rate <= 1.0:
            raise ValueError(f"a mutation rate is in [0, 1], got {self.mutation_rate}")
        for seed in self.seeds:
            self.space.check(seed)

    def ask(self) -> list[Architecture]:
        """Return the first generation, then children; none when no child can be new."""
        if self._genetic is None:
            self._genetic = self._start()
        self._asked = self._genetic.ask()
        if self._asked is None:
            return []
        return [Architecture(tuple(map(int, row))) for row in self._asked.get("X")]

    def tell(self, judged: Sequence[Candidate], *, scores: NDArray[np.float64]) -> None:
        """Let the fittest of the population and its children survive.

        Args:
            judged: The children, as they were asked.
            scores: ``(children, objectives)``, smaller is better; read only of those that keep
                every budget.
        """
        latency_s = np.array([candidate.latency_s for candidate in judged])
        excess = relative_excess(latency_s, self.budgets).max(axis=1)
        if self.memory is not None:
            choices = as_choices([candidate.arch for candidate in judged])
            excess = np.maximum(excess, self.memory.excess(choices))
        known = StaticProblem(self._genetic.problem, F=scores, G=excess[:, None])
        Evaluator().eval(known, self._asked)
        self._genetic.tell(infills=self._asked)

    def _start(self) -> Any:
        """Return pymoo's algorithm at its first generation."""
        # pymoo would print advice to the standard output, where a --json caller reads.
        Config.warnings["not_compiled"] = False
        genetic = self.algorithm(
            pop_size=self.population,
            sampling=self._first_generation(),
            crossover=UniformCrossover(),
            mutation=ChoiceRandomMutation(prob_var=self.mutation_rate),
            repair=self._repaired,
            eliminate_duplicates=DefaultDuplicateElimination(func=self._canonical_rows),
        )
        highest = [len(layer) - 1 for layer in self.space.layers]
        choices = {i: Integer(bounds=(0, high)) for i, high in enumerate(highest)}
        problem = Problem(vars=choices, n_obj=self.objectives, n_ieq_constr=1)
        # A Generator passes through default_rng unchanged, so every draw is from ours.
        return genetic.setup(problem, termination=NoTermination(), seed=self.rng)

    def _first_generation(self) -> NDArray[np.integer]:
        fastest = [feasible_range(budget.model).fastest.arch for budget in self.budgets]
        if self.memory is not None:
            fastest.append(Architecture(self.memory.model.smallest))
        known = [*fastest, *self._usable_seeds(fastest)][: self.population]
        random = self.space.sample_batch(self.population - len(known), self.rng)
        return np.concatenate([as_choices(known), random])

    def _usable_seeds(self, others: Sequence[Architecture]) -> list[Architecture]:
        """Return the distinct seeds that keep every budget and are none of the others."""
        taken = {self.space.canonical(arch) for arch in others}
        distinct = dict.fromkeys(self.space.canonical(seed) for seed in self.seeds)
        fresh = [seed for seed in distinct if seed not in taken]
        if not fresh:
            return []
        kept = within(self.budgets, as_choices(fresh))
        return [seed for seed, keeps in zip(fresh, kept, strict=True) if keeps]

    def _repaired(self, _: Any, individuals: Any, **__: Any) -> Any:
        """Make individuals faster that break a budget; called by pymoo for every generation."""
        rows = individuals.get("X").astype(np.intp)
        individuals.set("X", repaired(rows, self.budgets, self.rng))
        return individuals

    def _canonical_rows(self, individuals: Any) -> NDArray[np.integer]:
        """Return what makes individuals equal, ``(individuals, layers)``: the canonical form."""
        rows = (Architecture(tuple(map(int, row))) for row in individuals.get("X"))
        return as_choices([self.space.canonical(arch) for arch in rows])


def errors_of(judged: Sequence[Candidate]) -> NDArray[np.float64]:
    """Return what is made small, ``(candidates,)``.

    Of candidates that break a budget nobody asks, so theirs is any finite number.
    """
    error = np.array([candidate.error for candidate in judged])
    return np.where(np.isfinite(error), error, 0.0)
