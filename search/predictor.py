"""A layer-additive predictor of accuracy, fitted to some evaluated networks.

The cheapest model of all: every choice of every layer adds something. It stands in for an
evaluator, so that a search may ask it of thousands of networks, and it is a baseline for every
ranking: what a supernet says beyond it is what the layers do together.

Needs scikit-learn; import it by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from search.space import Architecture, SearchSpace, as_choices

PENALTIES = tuple(10.0**power for power in range(-4, 3))
"""Ridge penalties that leave-one-out errors choose among: from nearly none to as many networks."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdditivePredictor:
    """Accuracy as a sum over layers.

    Attributes:
        space: What it was fitted to.
        base: What every network starts from.
        scores: ``(layers, choices)`` what each choice adds, of networks in canonical form; 0 where
            a layer has no such choice.
    """

    space: SearchSpace
    base: float
    scores: NDArray[np.float64]

    def __call__(self, archs: Sequence[Architecture]) -> list[float]:
        """Return the predicted accuracies, in [0, 1], in their order: an evaluator for a search.

        Raises:
            InvalidFile: An architecture is of another space.
        """
        choices = _canonical_choices(self.space, archs)
        layers = np.arange(len(self.space.layers))
        sums = self.base + self.scores[layers, choices].sum(axis=1)
        predicted: list[float] = sums.clip(0.0, 1.0).tolist()
        return predicted


def fit_additive(
    space: SearchSpace, archs: Sequence[Architecture], accuracies: Sequence[float]
) -> AdditivePredictor:
    """Fit a predictor by ridge regression on the choices; the penalty is chosen by leaving one out.

    Args:
        space: The networks' space.
        archs: Evaluated networks, two or more; one or two hundred are plenty for 8 to 21 layers.
        accuracies: One for each, in [0, 1].

    Raises:
        InvalidFile: An architecture is of another space.
        ValueError: There are too few networks, or not one accuracy for each.
    """
    if len(archs) < 2 or len(archs) != len(accuracies):
        raise ValueError(
            f"a predictor needs two networks or more with an accuracy each, got {len(archs)} "
            f"networks and {len(accuracies)} accuracies"
        )
    width = max(map(len, space.layers))
    choices = _canonical_choices(space, archs)
    chosen = choices[:, :, None] == np.arange(width)  # (networks, layers, choices)
    ridge = RidgeCV(alphas=PENALTIES)
    ridge.fit(chosen.reshape(len(archs), -1).astype(np.float64), np.asarray(accuracies))
    scores = ridge.coef_.reshape(len(space.layers), width)
    return AdditivePredictor(space=space, base=float(ridge.intercept_), scores=scores)


def _canonical_choices(space: SearchSpace, archs: Sequence[Architecture]) -> NDArray[np.integer]:
    """Return choices in canonical form, ``(archs, layers)``."""
    for arch in archs:
        space.check(arch)
    return as_choices([space.canonical(arch) for arch in archs])
