"""Trials that are looked up: levels of effort whose accuracies somebody else has trained."""

from collections.abc import Sequence
from dataclasses import dataclass

from search.searcher import Accuracy, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class TableTrials:
    """Accuracies at several levels of effort, from tables.

    Attributes:
        levels: What each level sees, such as the accuracies after 12 epochs and after 200.
        epochs: What a network costs at each level. A table's levels were trained one by one, so a
            network that goes on pays its higher level in full.
    """

    levels: tuple[Accuracy, ...]
    epochs: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.levels or len(self.levels) != len(self.epochs):
            raise ValueError(f"{len(self.levels)} levels of effort with costs {self.epochs}")

    def __call__(self, trials: Sequence[Trial]) -> list[float]:
        """Return the accuracy of each trial, in their order."""
        return [float(self.levels[trial.effort - 1]([trial.arch])[0]) for trial in trials]

    def cost(self, trial: Trial) -> int:
        """Return the epochs that a trial takes."""
        return self.epochs[trial.effort - 1]
