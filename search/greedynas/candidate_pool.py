"""The candidate pool of GreedyNAS: the best paths so far, those of tight limits among them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lut import LatencyBudget
from search.space import Architecture, as_choices


@dataclass(slots=True, kw_only=True)
class CandidatePool:
    """The best distinct paths so far, with the loss that each had when it was last drawn.

    Where several limits are searched for later, paths that keep the tightest get a share of the
    pool of their own, and so on up to the loosest: a tight budget finds seeds, too.

    Attributes:
        capacity: Paths in all.
        limits: Budgets from the tightest to the loosest, one stratum each; none: one for all.
        losses: Path to loss.
    """

    capacity: int
    limits: tuple[LatencyBudget, ...] = ()
    losses: dict[Architecture, float] = field(default_factory=dict)

    @property
    def entries(self) -> tuple[tuple[Architecture, float], ...]:
        """Paths and losses, the best first."""
        return tuple(sorted(self.losses.items(), key=lambda pair: pair[1]))

    @property
    def full(self) -> bool:
        """Whether every stratum has as many paths as it may have."""
        return len(self.losses) >= self._share * max(1, len(self.limits))

    @property
    def _share(self) -> int:
        return max(1, self.capacity // max(1, len(self.limits)))

    def add(self, paths: Sequence[Architecture], losses: Sequence[float]) -> None:
        """Take in scored paths; a known one gets its new loss, and the worst go.

        Args:
            paths: Canonical.
            losses: One for each.
        """
        self.losses.update(zip(paths, losses, strict=True))
        by_stratum: dict[int, list[Architecture]] = {}
        best_first = [path for path, _ in self.entries]
        for path, stratum in zip(best_first, self._strata(best_first), strict=True):
            by_stratum.setdefault(stratum, []).append(path)
        kept = {path for members in by_stratum.values() for path in members[: self._share]}
        self.losses = {path: loss for path, loss in self.losses.items() if path in kept}

    def _strata(self, paths: Sequence[Architecture]) -> list[int]:
        """Return for each path how many limits it breaks, the loosest not counted."""
        broken = np.zeros(len(paths), np.intp)
        choices = as_choices(list(paths))
        for budget in self.limits[:-1] if paths else ():
            broken += budget.excess_s(choices) > 0.0
        return [int(count) for count in broken]
