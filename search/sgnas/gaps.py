"""Answers to many limits, and what lies between them.

A pool of evaluated networks answers every limit by its best network that fits. Where many limits
share an answer, nothing in the pool is worth the more that the later ones allow, or nobody has
asked: networks that differ from an answer in one layer and fit only the later of these limits are
asked next, one for each such gap, the widest first.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lut import LatencyBudget
from search.searcher import Candidate
from search.space import Architecture, SearchSpace, as_choices

NEIGHBOURS = 64
"""Networks that differ from an answer in one layer and are considered at most, drawn at random."""

Opinion = Callable[[Sequence[Architecture]], NDArray[np.float64]]
"""Returns how promising architectures are, ``(archs,)``; larger is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Limits next to each other that share an answer.

    Attributes:
        width: How many limits.
        over_s: Predicted latency of the answer.
        within_s: What the last of the limits allows to be predicted.
    """

    width: int
    over_s: float
    within_s: float


@dataclass(slots=True, kw_only=True)
class GapFilling:
    """A search method for many limits at once: given networks first, then what fills gaps.

    Attributes:
        space: Where it looks.
        budgets: The limits, of one model.
        archs: What it asks first.
        opinion: Chooses among the neighbours that would fill a gap.
        most: Evaluations in all; ``archs`` are asked even if they are more.
        rng: Draws neighbours.
    """

    space: SearchSpace
    budgets: Sequence[LatencyBudget]
    archs: Sequence[Architecture]
    opinion: Opinion
    most: int
    rng: np.random.Generator
    _judged: dict[Architecture, Candidate] = field(default_factory=dict, init=False, repr=False)
    _allowed_s: list[float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._allowed_s = sorted(budget.allowed_s for budget in self.budgets)

    def ask(self) -> Sequence[Architecture]:
        """Return the given networks, then one for each gap that has a neighbour; none at the end.

        Nothing that was asked before is asked again.
        """
        if not self._judged:  # nothing was told yet
            return self.archs
        left = max(0, self.most - len(self._judged))
        return self._between()[:left]

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Remember the verdicts."""
        self._judged |= {each.arch: each for each in judged}

    def answers(self) -> list[Candidate]:
        """Return the best for each budget so far, tightest first; none where nothing fits."""
        ranked = sorted(
            (each for each in self._judged.values() if each.accuracy is not None),
            key=lambda each: each.rank,
        )
        fitting = (
            next((each for each in ranked if each.latency_s[0] <= allowed_s), None)
            for allowed_s in self._allowed_s
        )
        return [each for each in fitting if each is not None]

    def gaps(self) -> list[Gap]:
        """Return the gaps of two limits or more, the widest first."""
        answers = self.answers()
        allowed_s = self._allowed_s[-len(answers) :] if answers else []
        found = []
        for answer in dict.fromkeys(answers):
            shared = [each for each, of in zip(allowed_s, answers, strict=True) if of == answer]
            (latency_s,) = answer.latency_s
            found.append(Gap(width=len(shared), over_s=latency_s, within_s=shared[-1]))
        wide = (gap for gap in found if gap.width > 1)
        return sorted(wide, key=lambda gap: -gap.width)

    def _between(self) -> list[Architecture]:
        """Return for each gap the most promising neighbour that would part it.

        Neighbours of answers; where none is left, of anything that was evaluated.
        """
        sources = dict.fromkeys(each.arch for each in self.answers())
        return self._inside(self._neighbours(sources)) or self._inside(
            self._neighbours(
                arch for arch, each in self._judged.items() if each.accuracy is not None
            )
        )

    def _inside(self, near: list[Architecture]) -> list[Architecture]:
        """Return for each gap the most promising of some networks whose latency is inside."""
        if not near:
            return []
        latency_s = self.budgets[0].model.latency_s(as_choices(near)).tolist()
        inside = [
            [
                arch
                for arch, seconds in zip(near, latency_s, strict=True)
                if gap.over_s < seconds <= gap.within_s
            ]
            for gap in self.gaps()
        ]
        wanted = [arch for archs in inside for arch in archs]
        if not wanted:
            return []
        promise = dict(zip(wanted, self.opinion(wanted).tolist(), strict=True))
        return [max(archs, key=promise.__getitem__) for archs in inside if archs]

    def _neighbours(self, sources: Iterable[Architecture]) -> list[Architecture]:
        """Return the unknown networks that differ from a source in one layer, canonical."""
        found: dict[Architecture, None] = {}
        ends = np.cumsum([len(ops) for ops in self.space.layers])
        for source in sources:
            changes = self.rng.permutation(int(ends[-1]))[:NEIGHBOURS]
            layers = np.searchsorted(ends, changes, side="right").tolist()
            for layer, change in zip(layers, changes.tolist(), strict=True):
                choice = change - int(ends[layer]) + len(self.space.layers[layer])
                choices = (*source.choices[:layer], choice, *source.choices[layer + 1 :])
                found[self.space.canonical(Architecture(choices))] = None
        return [arch for arch in found if arch not in self._judged]
