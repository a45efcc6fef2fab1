"""Rivals of the hierarchical search at its own cost: asynchronous successive halving, and chance.

Both take the settings of EcoNAS: in every round they may spend the epochs that one of its cycles
spends, and what is left over goes to the next round.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lut import LatencyBudget
from lut.plans.memory import MemoryBudget
from search.econas.hierarchy import EconasSettings, NovelNetworks
from search.searcher import Candidate, Trial
from search.space import Architecture, SearchSpace

REDUCTION = 4
"""One in so many networks goes on to the next level.

Source:
    Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020, section 4: eta.
"""


@dataclass(slots=True, kw_only=True)
class Allowance:
    """Epochs that may be spent: those of EcoNAS's start, then those of one cycle a round.

    Attributes:
        settings: Of EcoNAS.
        left: Epochs.
        rounds: Rounds whose epochs were added.
    """

    settings: EconasSettings
    left: int = 0
    rounds: int = 0

    def next_round(self) -> bool:
        """Add what a round may spend; False where there is no further one."""
        if self.rounds > self.settings.cycles:
            return False
        first = self.settings.initial * self.settings.epochs[0]
        self.left += self.settings.cycle_epochs if self.rounds else first
        self.rounds += 1
        return True

    def take(self, epochs: int) -> bool:
        """Spend epochs, if so many are left."""
        if epochs > self.left:
            return False
        self.left -= epochs
        return True


@dataclass(slots=True, kw_only=True)
class SuccessiveHalving:
    """Asynchronous successive halving (ASHA), in rounds.

    A network goes on as soon as it is among the best of its level, one in `REDUCTION`; where none
    is, a random network begins. Nothing is mutated.

    Source:
        Li et al., MLSys 2020, algorithm 2.

    Attributes:
        space: Where to search.
        budgets: The bounds to keep. What breaks one is made faster, or drawn again.
        rng: Source of every random draw.
        settings: Epochs of the levels, and of a round.
        memory: A bound on memory that holds, too.
    """

    space: SearchSpace
    budgets: Sequence[LatencyBudget]
    rng: np.random.Generator
    settings: EconasSettings
    memory: MemoryBudget | None = None
    _levels: list[dict[Architecture, float]] = field(init=False, repr=False)
    _gone_on: set[Trial] = field(default_factory=set, init=False, repr=False)
    _allowance: Allowance = field(init=False, repr=False)
    _novel: NovelNetworks = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._levels = [{} for _ in self.settings.epochs]
        self._allowance = Allowance(settings=self.settings)
        self._novel = NovelNetworks(
            space=self.space, budgets=self.budgets, rng=self.rng, memory=self.memory
        )

    def ask(self) -> list[Trial]:
        """Return as many trials as a round may cost; none when all is spent, or nothing is new."""
        trials: list[Trial] = []
        while not trials and self._allowance.next_round():
            trials = self._round()
        return trials

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Rank what was judged among its level."""
        for candidate in judged:
            if candidate.accuracy is not None:
                self._levels[candidate.effort - 1][candidate.arch] = candidate.error

    def _round(self) -> list[Trial]:
        steps = np.diff(self.settings.epochs, prepend=0).tolist()
        trials: list[Trial] = []
        while (trial := self._next()) is not None:
            if not self._allowance.take(steps[trial.effort - 1]):
                self._put_back(trial)
                break
            trials.append(trial)
        return trials

    def _next(self) -> Trial | None:
        """Return who goes on, from the highest level where someone may, or a new network."""
        for effort in range(self.settings.levels - 1, 0, -1):
            level = self._levels[effort - 1]
            best_first = sorted(level, key=lambda arch: (level[arch], arch))
            for arch in best_first[: len(level) // REDUCTION]:
                trial = Trial(arch, effort + 1)
                if trial not in self._gone_on:
                    self._gone_on.add(trial)
                    return trial
        new = self._novel(lambda: self.space.sample(self.rng))
        return None if new is None else Trial(new)

    def _put_back(self, trial: Trial) -> None:
        """Forget that a trial was begun: it is for the next round."""
        self._gone_on.discard(trial)
        if trial.effort == 1:
            self._novel.seen.discard(trial.arch)


@dataclass(slots=True, kw_only=True)
class RandomTrials:
    """Trains random networks at the highest level of effort at once, and learns nothing.

    Attributes:
        space: Where to search.
        budgets: The bounds to keep. What breaks one is made faster, or drawn again.
        rng: Source of every random draw.
        settings: Epochs of the levels, and of a round.
        memory: A bound on memory that holds, too.
    """

    space: SearchSpace
    budgets: Sequence[LatencyBudget]
    rng: np.random.Generator
    settings: EconasSettings
    memory: MemoryBudget | None = None
    _allowance: Allowance = field(init=False, repr=False)
    _novel: NovelNetworks = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._allowance = Allowance(settings=self.settings)
        self._novel = NovelNetworks(
            space=self.space, budgets=self.budgets, rng=self.rng, memory=self.memory
        )

    def ask(self) -> list[Trial]:
        """Return as many new networks as a round may cost; none when all is spent."""
        trials: list[Trial] = []
        while not trials and self._allowance.next_round():
            trials = self._round()
        return trials

    def _round(self) -> list[Trial]:
        trials = []
        while self._allowance.take(self.settings.epochs[-1]):
            arch = self._novel(lambda: self.space.sample(self.rng))
            if arch is None:
                break
            trials.append(Trial(arch, self.settings.levels))
        return trials

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Learn nothing: the next draws do not depend on the last."""
