"""Every network of a small space, scored with inherited weights in one walk over the choices.

Where each batch is normalised by itself, activations at a layer depend only on the choices before
it. Networks with the same first choices share that part, so a depth-first walk over the tree of
choices runs a block once for each node instead of once for each network.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from profiler import Skip
from search.exact import NotAdditive, TooManyNetworks
from search.space import Architecture, SearchSpace
from search.supernets.cells import CellSupernet
from search.supernets.evaluation import EVALUATION_BATCH, batch_statistics
from search.supernets.supernet import Supernet

MAX_NETWORKS = 1_000_000
"""Networks of a space, duplicates included, that are scored at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """What inherited weights say of networks.

    Attributes:
        archs: The canonical architectures of the space, in ascending order.
        loss: ``(networks,)`` mean cross-entropy; less is better.
        accuracy: ``(networks,)`` top-1 in [0, 1].
    """

    archs: tuple[Architecture, ...]
    loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def score_all(
    supernet: Supernet, images: Tensor, labels: Tensor, *, batch: int = EVALUATION_BATCH
) -> Scores:
    """Score all canonical architectures of a space under the protocol ``"batch"``.

    The accuracies are those of `search.supernets.evaluation.Evaluator` under that protocol. A
    block runs once for each batch and node of the tree of choices. Memory holds the activations of
    one batch for each layer, whatever the number of networks.

    Args:
        supernet: Trained weights; left as they were, running statistics included.
        images: ``(images, 3, height, width)``, normalised as in training.
        labels: ``(images,)``.
        batch: Images per forward pass, which are normalised together.

    Raises:
        TooManyNetworks: The space has more than `MAX_NETWORKS`.
        NotAdditive: Its networks are no chains of searched layers.
        ValueError: There is no image, or not one label for each.
    """
    if len(labels) != len(images) or not len(images):
        raise ValueError(f"scores need images with labels, got {len(images)} and {len(labels)}")
    space = supernet.space
    if isinstance(supernet, CellSupernet):
        raise NotAdditive(
            f"space {space.name!r} is no chain of layers to walk over. Score a sample: "
            "search.supernets.evaluation.Evaluator"
        )
    if space.size > MAX_NETWORKS:
        raise TooManyNetworks(
            f"space {space.name!r} has {space.size:.2g} networks, and at most {MAX_NETWORKS:,} are "
            "scored one and all. Score a sample: search.supernets.evaluation.Evaluator"
        )
    device = next(supernet.parameters()).device
    archs: tuple[Architecture, ...] = ()
    totals = []  # of each batch, (networks, 2): sum of losses, right answers
    with batch_statistics(supernet), torch.inference_mode():
        for some, truth in zip(torch.split(images, batch), torch.split(labels, batch), strict=True):
            x, target = supernet.before(some.to(device)), truth.to(device)
            leaves = ((arch, supernet.after(y)) for arch, y in _leaves(supernet, x, ()))
            archs, rows = zip(*((arch, _sums(y, target)) for arch, y in leaves), strict=True)
            totals.append(torch.stack(rows))
    loss, right = torch.stack(totals).sum(dim=0).T.cpu().numpy() / len(images)
    return Scores(archs=archs, loss=loss, accuracy=right)


def _leaves(
    supernet: Supernet, x: Tensor, prefix: tuple[int, ...]
) -> Iterator[tuple[Architecture, Tensor]]:
    """Go through the canonical architectures that begin with ``prefix``, in ascending order.

    Args:
        supernet: Whose blocks run.
        x: Activations after the prefix.
        prefix: Choices of the first layers.

    Returns:
        Each with its activations before the head.
    """
    i = len(prefix)
    if i == len(supernet.layers):
        yield Architecture(prefix), x
        return
    layer = supernet.layers[i]
    assert isinstance(layer, nn.ModuleList)  # torch types what a list holds as Module
    for choice in _canonical_choices(supernet.space, prefix):
        yield from _leaves(supernet, layer[choice](x), (*prefix, choice))


def _canonical_choices(space: SearchSpace, prefix: tuple[int, ...]) -> list[int]:
    """Return the choices of the next layer that keep a canonical beginning canonical.

    Among layers that offer the same, nothing but skips follows a skip: see `SearchSpace.canonical`.
    """
    i = len(prefix)
    layer, before = space.layers[i], space.layers[i - 1] if i else ()
    after_skip = layer == before and isinstance(before[prefix[-1]], Skip)
    return [j for j, op in enumerate(layer) if not after_skip or isinstance(op, Skip)]


def _sums(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the losses and the number of right answers, ``(2,)``."""
    loss = cross_entropy(logits, labels, reduction="sum")
    right = (logits.argmax(dim=1) == labels).sum()
    return torch.stack([loss.double(), right.double()])
