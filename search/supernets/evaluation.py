"""How accurate one architecture is with the weights of the supernet.

Batch norm is the trap. The running statistics of a supernet are a blend over all paths that went
through a block and fit none of them, so the protocol is named in every call:

- ``"recalibrate"``: statistics of this very path, estimated anew on fixed training images;
- ``"batch"``: each batch is normalised by itself, which depends on the size of the batch;
- ``"inherit"``: the supernet's own blend.

Source:
    Guo et al., Single Path One-Shot NAS, ECCV 2020, section 3.4, recalibrates on training images.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from search.images.data import Split
from search.score import Score
from search.space import Architecture
from search.supernets.supernet import Supernet

BatchNorm = Literal["recalibrate", "batch", "inherit"]

CALIBRATION_IMAGES = 256
"""Training images behind the statistics of one path, as many as there are."""

CALIBRATION_BATCH = 128
"""Images per forward pass of the calibration; the passes count alike in the average."""

EVALUATION_BATCH = 256
"""Images per forward pass; only under the protocol ``"batch"`` does the result depend on it."""


def calibration_images(training: Split, *, count: int = CALIBRATION_IMAGES) -> tuple[Tensor, ...]:
    """Return the first training images, unaugmented: the same for every network.

    Args:
        training: The training split.
        count: Images; the whole split if it has fewer, rounded down to full batches.

    Returns:
        Batches, ``(CALIBRATION_BATCH, 3, height, width)`` each; a single smaller one if there are
        fewer images.
    """
    batch = min(CALIBRATION_BATCH, count, len(training))
    wanted = min(count, len(training)) // batch
    batches = training.batches(batch)
    return tuple(images for _, (images, _) in zip(range(wanted), batches, strict=False))


def recalibrate(network: nn.Module, calibration: Sequence[Tensor]) -> None:
    """Replace the statistics of batch norm by their average over images, in place.

    Args:
        network: Takes ``(batch, 3, height, width)``; ends in evaluation mode.
        calibration: Batches of training images, one or more; they count alike.

    Raises:
        ValueError: There is no batch.
    """
    if not calibration:
        raise ValueError("batch norm needs images to be calibrated with, got none")
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a cumulative average
    network.train()
    with torch.no_grad():
        for images in calibration:
            network(images)
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Let a network normalise every batch by itself, and leave its own statistics alone.

    Args:
        network: In the mode that it was in again afterwards.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    training = network.training
    network.train()
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        network.train(training)


def final_weights(
    supernet: Supernet, arch: Architecture, calibration: Sequence[Tensor]
) -> nn.Sequential:
    """Return one architecture alone, with statistics of its own, ready to export.

    The supernet is not touched. The network is built from the canonical form of ``arch``: the same
    operators in the same order, and the blocks that training and evaluation used.

    Args:
        supernet: Trained weights.
        arch: The choice.
        calibration: Batches of training images, ``(batch, 3, height, width)``.

    Returns:
        The network in evaluation mode: ``(batch, 3, height, width)`` to ``(batch, classes)``.

    Raises:
        InvalidFile: ``arch`` does not belong to the space.
        ValueError: There is no calibration batch.
    """
    supernet.space.check(arch)
    network = supernet.subnetwork(supernet.space.canonical(arch))
    recalibrate(network, calibration)
    return network


def accuracy(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    device: torch.device | None = None,
) -> float:
    """Return the share of images that a network gets right, in [0, 1]; its mode stays as it is.

    Args:
        network: ``(batch, 3, height, width)`` to ``(batch, classes)``.
        batches: Images with their labels, ``(batch,)``.
        device: Where the network is, so that batches are moved there; None where they are already.

    Raises:
        ValueError: There is no image.
    """
    if device is not None:
        batches = ((images.to(device), labels.to(device)) for images, labels in batches)
    return score(network, batches).accuracy


def score(network: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]) -> Score:
    """Return how well a network does on images: its accuracy, and its loss.

    Args:
        network: ``(batch, 3, height, width)`` to ``(batch, classes)``; its mode stays as it is.
        batches: Images with their labels, ``(batch,)``.

    Raises:
        ValueError: There is no image.
    """
    right, lost, seen = 0, 0.0, 0
    with torch.inference_mode():
        for images, labels in batches:
            logits = network(images)
            right += int((logits.argmax(dim=1) == labels).sum())
            lost += float(cross_entropy(logits.float(), labels, reduction="sum"))
            seen += len(labels)
    if not seen:
        raise ValueError("an accuracy needs images, got none")
    return Score(accuracy=right / seen, loss=lost / seen)


class Evaluator:
    """Scores of architectures on one split with inherited weights, each computed once.

    Images are taken from the split once and stay in memory, so it suits the few thousand of a
    validation split. Architectures are judged in canonical form, which a search returns and
    `final_weights` exports: forms that are one network when trained alone inherit different
    weights here.

    Args:
        supernet: Trained weights; never changed.
        split: The images to judge by: validation in a search, test for the last number only.
        calibration: Batches of training images; read by the protocol ``"recalibrate"`` alone.
        batch_norm: The protocol, see the module.
        batch: Images per forward pass.
    """

    def __init__(
        self,
        supernet: Supernet,
        split: Split,
        *,
        calibration: Sequence[Tensor],
        batch_norm: BatchNorm = "recalibrate",
        batch: int = EVALUATION_BATCH,
    ) -> None:
        self._supernet = supernet
        self._batches = tuple(split.batches(batch))
        self._calibration = tuple(calibration)
        self._batch_norm = batch_norm
        self._known: dict[Architecture, Score] = {}

    def __call__(self, archs: Sequence[Architecture]) -> list[float]:
        """Return top-1 accuracies in [0, 1], one for each architecture, in their order.

        Raises:
            InvalidFile: An architecture does not belong to the space.
        """
        return [each.accuracy for each in self.scores(archs)]

    def scores(self, archs: Sequence[Architecture]) -> list[Score]:
        """Return accuracies with the losses that rank, as `search.solve` takes them.

        Raises:
            InvalidFile: An architecture does not belong to the space.
        """
        return [self._score(arch) for arch in archs]

    def _score(self, arch: Architecture) -> Score:
        space = self._supernet.space
        space.check(arch)
        judged = space.canonical(arch)
        if judged not in self._known:
            self._known[judged] = score(self._network(judged), self._batches)
        return self._known[judged]

    def _network(self, arch: Architecture) -> nn.Module:
        match self._batch_norm:
            case "recalibrate":
                return final_weights(self._supernet, arch, self._calibration)
            case "batch":
                return self._supernet.subnetwork(arch).train()
            case "inherit":
                return self._supernet.subnetwork(arch).eval()


def evaluate(
    supernet: Supernet,
    arch: Architecture,
    split: Split,
    *,
    calibration: Sequence[Tensor],
    batch_norm: BatchNorm = "recalibrate",
    batch: int = EVALUATION_BATCH,
) -> float:
    """Return the top-1 accuracy of one architecture, in [0, 1].

    Arguments and errors are those of `Evaluator`, which is for more than one.
    """
    judge = Evaluator(supernet, split, calibration=calibration, batch_norm=batch_norm, batch=batch)
    return judge([arch])[0]
