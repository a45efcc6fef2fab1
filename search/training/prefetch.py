"""The next batches are made while the device computes."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

AHEAD = 2
"""Batches that wait: one that is copied to the device, and one that is made meanwhile."""

Item = TypeVar("Item")


def prefetched(
    batches: Iterator[tuple[Tensor, Tensor]], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Return the same batches, made ahead of a GPU; before a CPU they are returned as they come.

    Decoding and augmentation let go of Python's lock in numpy and Pillow, so one thread is enough
    to keep the GPU from waiting. On a CPU it would take the core that computes.

    Args:
        batches: Images and labels, on the CPU.
        device: Where they are used; for a GPU they are in pinned memory, which it copies from while
            it computes.
    """
    if device.type != "cuda":
        return batches
    return ahead((images.pin_memory(), labels.pin_memory()) for images, labels in batches)


def ahead(items: Iterator[Item], *, depth: int = AHEAD) -> Iterator[Item]:
    """Yield what an iterator yields, made by a thread that is a few ahead.

    What the iterator raises is raised here, in its turn. If nobody asks any more, the thread ends
    with the items that it has begun.

    Args:
        items: Used by the thread alone until it is finished.
        depth: How many are made ahead, 1 or more.
    """
    end: Any = object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        made = deque(thread.submit(next, items, end) for _ in range(depth))
        while (item := made.popleft().result()) is not end:
            made.append(thread.submit(next, items, end))
            yield item
