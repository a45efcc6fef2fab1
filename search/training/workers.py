"""Where a training runs: its device, and the processes of ``torchrun`` that share every batch.

Gradients are averaged by one reduction a step, over the parameters that have a gradient. Not by
DistributedDataParallel: a path leaves most blocks of a supernet without one, so it would walk the
graph of every backward pass to find them, and a step here may have several passes, each over other
blocks. What is lost is that it communicates while it computes, which is little for one path.
"""

import atexit
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from devices import DeviceUnavailable, LatkitError
from search.training.settings import TrainSettings

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long processes wait for each other: one may train a whole child alone meanwhile.

Where one dies ``torchrun`` ends them all.
"""


class UnevenShares(LatkitError):
    """A batch cannot be shared evenly by the processes that train together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One of the processes that train together; the only one unless torchrun started several.

    Attributes:
        device: Where it computes.
        rank: Its number; 0 draws the paths, and alone writes and reports.
        size: How many processes there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def join(self) -> None:
        """Meet the other processes; they stay together until this one ends.

        Not until the training ends: torchrun keeps the addresses of a group that was left, and the
        next training would call them.
        """
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.size > 1 and not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, timeout=PATIENCE)
            atexit.register(dist.destroy_process_group)

    def share(self, batch: Tensor) -> Tensor:
        """Return what this process computes of a batch, on its device.

        Args:
            batch: ``(images, ...)``, equal in all processes; `check_shares` has passed.
        """
        return batch.chunk(self.size)[self.rank].to(self.device, non_blocking=True)

    def agree(self, action: Callable[[], T]) -> T:
        """Return, in every process, what ``action`` returns in the first; the others skip it.

        So a run directory needs one machine only, and scores that differ in their last bits
        between GPUs cannot send two processes down different paths.

        Raises:
            LatkitError: What ``action`` raised in the first process is raised in every one.
        """
        if self.size == 1:
            return action()
        outcome: list[Any] = [None, None]
        if self.leads:
            try:
                outcome[0] = action()
            except LatkitError as error:
                outcome[1] = error
        dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def apart(self, action: Callable[[], None]) -> None:
        """Let every process do what is its own, and wait until all have done it.

        Raises:
            LatkitError: What ``action`` raised in any process is raised in every one.
        """
        errors: list[LatkitError | None] = [None] * self.size
        try:
            action()
        except LatkitError as error:
            errors[self.rank] = error
        if self.size > 1:
            dist.all_gather_object(errors, errors[self.rank])
        for met in filter(None, errors):
            raise met

    def alone(self) -> "Worker":
        """Return this process as one that trains on its own, on the same device."""
        return Worker(device=self.device)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, in place, by their mean over all processes.

        Args:
            tensors: As many, of the same shapes and one type, in every process.
        """
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])  # one message, not hundreds
        dist.all_reduce(flat)
        flat /= self.size
        parts = flat.split_with_sizes([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, parts, strict=True):
            tensor.copy_(mean.view(tensor.shape))


def leads() -> bool:
    """Whether this process reports: it is the only one, or the first that torchrun started."""
    return int(os.environ.get("RANK", "0")) == 0


def this_worker(settings: TrainSettings) -> Worker:
    """Return what this process is, by the environment that torchrun gives it, and by its hardware.

    Raises:
        DeviceUnavailable: The device is not here, or cannot compute in the precision.
    """
    device = _device(settings.device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if settings.precision == "fp16" and device.type == "cpu":
        raise DeviceUnavailable(
            'precision "fp16" needs a GPU, and this training would run on the CPU: '
            'set precision = "bf16" or "fp32"'
        )
    return Worker(
        device=device,
        rank=int(os.environ.get("RANK", "0")),
        size=int(os.environ.get("WORLD_SIZE", "1")),
    )


def _device(name: str, *, local_rank: int) -> torch.device:
    """Return the device of a name; every process of a machine has a GPU of its own."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    device = torch.device(f"cuda:{local_rank}" if name == "cuda" else name)
    if device.type == "cuda" and device.index >= gpus:
        raise DeviceUnavailable(
            f"training on {str(device)!r} needs {device.index + 1} GPUs that torch can use, and "
            f'there are {gpus}: set device = "auto" or "cpu", or start fewer processes'
        )
    return device


def check_shares(settings: TrainSettings, worker: Worker) -> None:
    """Check that all processes and their micro-batches get equal parts of a batch.

    Raises:
        UnevenShares: They do not, or a part is too small for batch norm.
    """
    parts = worker.size * settings.accumulate
    if settings.batch % parts or settings.batch // parts < 2:
        raise UnevenShares(
            f"a batch of {settings.batch} cannot be cut into {parts} equal parts of 2 images or "
            f"more, for {worker.size} processes times {settings.accumulate} accumulated: make "
            f"batch a multiple of {parts} that is {2 * parts} or more"
        )
