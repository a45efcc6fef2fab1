"""What a graph says of images: logits, and the classes they name.

Loads no torch: whoever has images of a split has loaded it.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from devices import DeviceSpec, Graph, Session, backend_for, device_named

if TYPE_CHECKING:
    from search.images.data import Split

Labels = NDArray[np.int64]

BATCH = 256
"""Images decoded at a time."""


def logits_on(device: DeviceSpec, graph: Graph, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a graph on a device.

    Args:
        device: Where.
        graph: Takes one batch of images.
        images: ``(n, 3, H, W)``, a multiple of that batch.

    Returns:
        Logits, ``(n, classes)``.
    """
    with backend_for(device).open(graph) as session:
        return logits_in(session, graph, images)


def predictions(graph: Graph, device: DeviceSpec, split: "Split") -> Labels:
    """Return the class that a graph takes each image for, ``(images,)``; see `said_of`."""
    return said_of(split, graph, device).argmax(axis=1)


def loss_of(said: NDArray[np.float32], labels: Labels) -> float:
    """Return the mean cross-entropy of logits ``(images, classes)``, in nats."""
    logits = said.astype(np.float64)
    highest = logits.max(axis=1, keepdims=True)
    log_sums = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))
    return float(np.mean(log_sums - logits[np.arange(len(labels)), labels]))


def said_of(split: "Split", graph: Graph, device: DeviceSpec) -> NDArray[np.float32]:
    """Return what a graph says of the images of a split, logits ``(images, classes)``.

    Args:
        split: The images; the last batch is filled up with its first ones.
        graph: Takes one batch of images.
        device: Where to run it.
    """
    ((_, (size, *_)),) = graph.inputs
    said: list[NDArray[np.float32]] = []
    with backend_for(device).open(graph) as session:
        for images, _ in split.batches(-(-BATCH // size) * size):
            full = full_batches(images.contiguous().numpy(), size)
            said.append(logits_in(session, graph, full)[: len(images)])
    return np.concatenate(said)


def logits_in(session: Session, graph: Graph, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what an open graph says of whole batches of images, ``(n, classes)``."""
    (name, (size, *_)), *_ = graph.inputs
    batches = (images[start : start + size] for start in range(0, len(images), size))
    return np.concatenate([next(iter(session.run({name: each}).values())) for each in batches])


def full_batches(images: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """Return images, ``(n, 3, H, W)``, the first of them again until the last batch is full."""
    count = -(-len(images) // batch) * batch
    return np.resize(images, (count, *images.shape[1:]))


def arithmetic_of(device: DeviceSpec) -> DeviceSpec:
    """Return this machine's CPU, computing in the integers of a device where that has some.

    It says what a model answers, never how long it takes.
    """
    cpu = device_named("cpu")
    if device.quantization is None:
        return cpu
    return replace(cpu, precision="int8", quantization=device.quantization)
