"""What SGNAS's generator learns to keep small: errors, and the distance to the target.

Source:
    As of `search.sgnas.training`.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from search.images.data import Split
from search.sgnas.gates import Gates, expected_values
from search.sgnas.settings import GeneratorSettings
from search.space import Architecture, SearchSpace
from search.supernets.supernet import Supernet

LABEL_SMOOTHING = 0.1
"""Of the cross-entropy, as released."""


class Objective(Protocol):
    """What architectures lose beside their latency: what a generator learns to keep small."""

    def __call__(self, gates: Tensor, step: int) -> Tensor:
        """Return the mean loss over targets; differentiable.

        Args:
            gates: ``(targets, layers, groups, options)`` probabilities.
            step: Steps before this one, for an objective that looks at other images each time.
        """
        ...


class CrossEntropy:
    """The loss of a frozen supernet whose blocks are mixed by the gates, on held-out images.

    Args:
        supernet: Trained weights; left as they are.
        gates: Of its space.
        split: The images; taken once, so it suits the few thousand of a validation split.
        batch: Images of a step; fewer where the split has fewer.
    """

    def __init__(self, supernet: Supernet, gates: Gates, split: Split, *, batch: int) -> None:
        self._supernet, self._gates = supernet.requires_grad_(False), gates
        self._batches = tuple(split.batches(min(batch, len(split)), drop_last=True))

    def __call__(self, gates: Tensor, step: int) -> Tensor:
        """Return the mean cross-entropy of one batch; step by step they come in order."""
        batch = self._batches[step % len(self._batches)]
        images, labels = (each.to(gates.device) for each in batch)
        losses = [
            cross_entropy(
                self._gates.logits(self._supernet, images, each),
                labels,
                label_smoothing=LABEL_SMOOTHING,
            )
            for each in gates
        ]
        return torch.stack(losses).mean()


class ExpectedError:
    """The expected error by a table of all architectures' accuracies, without any network.

    Args:
        table: Accuracies in [0, 1], one axis a layer.
        scale: Weight of a share of errors, beside the distance to the target.
    """

    def __init__(self, table: NDArray[np.float64], *, scale: float) -> None:
        self._table, self._scale = torch.from_numpy(table).float(), scale

    def __call__(self, gates: Tensor, step: int) -> Tensor:
        """Return the mean expected error, times the scale; that of every step."""
        return self._scale * (1 - expected_values(gates, self._table.to(gates.device))).mean()


def hardware_loss(latency: Tensor, targets: Tensor, settings: GeneratorSettings) -> Tensor:
    """Return what missing targets costs: squared, more above than below, nothing very near.

    Args:
        latency: ``(targets,)`` expected shares of the range.
        targets: ``(targets,)`` wanted ones.
        settings: The constants.
    """
    excess = latency - targets
    factor = torch.where(excess > 0, settings.over, settings.under)
    loss = settings.weight * factor * excess.square()
    return loss.masked_fill(excess.abs() <= settings.dead_zone, 0.0)


def accuracy_table(
    space: SearchSpace, accuracy: Callable[[list[Architecture]], list[float]]
) -> NDArray[np.float64]:
    """Return the accuracy of every architecture of a small space, one axis a layer.

    Forms of one network have one value, that of the canonical form.

    Args:
        space: Of some thousand architectures.
        accuracy: Of canonical architectures; asked once, of each of them once.
    """
    shape = tuple(map(len, space.layers))
    every = [
        space.canonical(Architecture(tuple(map(int, choices)))) for choices in np.ndindex(*shape)
    ]
    distinct = list(dict.fromkeys(every))
    known = dict(zip(distinct, accuracy(distinct), strict=True))
    return np.array([known[arch] for arch in every]).reshape(shape)
