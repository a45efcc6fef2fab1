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
        return _logits(session, graph, images)


def predictions(graph: Graph, device: DeviceSpec, split: "Split") -> Labels:
    """Return the class that a graph takes each image of a split for, ``(images,)``.

    Args:
        graph: Takes one batch of images.
        device: Where to run it.
        split: The images; the last batch is filled up with its first ones.
    """
    ((_, (size, *_)),) = graph.inputs
    named: list[Labels] = []
    with backend_for(device).open(graph) as session:
        for images, _ in split.batches(-(-BATCH // size) * size):
            full = full_batches(images.contiguous().numpy(), size)
            named.append(_logits(session, graph, full)[: len(images)].argmax(axis=1))
    return np.concatenate(named)


def _logits(session: Session, graph: Graph, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run whole batches of images in a session."""
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
