"""What is known of how good a network is, and which of two is better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from search.space import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well a network does on some images.

    Attributes:
        accuracy: Top-1 in [0, 1]: what people ask for.
        loss: Mean cross-entropy in nats; less is better. Where it is known it ranks: of a few
            hundred images accuracy counts only how many are right, and many networks tie.

    Source:
        You et al., GreedyNAS, CVPR 2020, ranks by the loss. Here it ranked better than accuracy in
        53 of 57 trainings: docs/results.md.
    """

    accuracy: float
    loss: float | None = None


def as_score(said: float | Score) -> Score:
    """Return what is known of a network as a score: an accuracy alone has no loss."""
    return said if isinstance(said, Score) else Score(accuracy=float(said))


Scoring = Callable[[Sequence[Architecture]], Sequence[float | Score]]
"""Judges architectures, in their order: each by top-1 accuracy in [0, 1], or by that and a loss."""
