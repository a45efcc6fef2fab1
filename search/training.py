"""Supernet training: one loop for every method, on a CPU, a GPU, or several.

How a method draws the paths of a step is a `search.path_samplers.PathSampler`.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from timm.scheduler import CosineLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from devices import LatkitError
from search.data import ImageData, InvalidData
from search.path_samplers import PathSampler, uniform_paths
from search.prefetch import prefetched
from search.runs import (
    CHECKPOINT,
    Checkpoint,
    EpochMetrics,
    RunRecord,
    TrainedRun,
    append_metrics,
    open_run,
    record_of,
    working_in,
    write_checkpoint,
)
from search.settings import TrainSettings
from search.space import Architecture, SearchSpace
from search.supernet import Supernet, check_supernet, supernet_for
from search.workers import Worker, check_shares, this_worker

__all__ = [
    "OnEpoch",
    "OnStep",
    "PathSampler",
    "Training",
    "TrainingDiverged",
    "run_training",
    "train",
    "train_uniform",
    "uniform_paths",
]

WARMUP_START = 0.01
"""Learning rate of the first warm-up step, as a share of the peak."""

LOWEST_SCALE = 1.0
"""In fp16 gradients that overflow at a lower scale of the loss than this are no matter of scale."""

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

State = TypeVar("State", bound="Training")

OnEpoch = Callable[[EpochMetrics], None]
OnStep = Callable[[int, int], None]


class TrainingDiverged(LatkitError):
    """The loss or its gradient became infinite or no number."""


def train_uniform(
    space: SearchSpace,
    data: ImageData,
    settings: TrainSettings,
    run_dir: Path,
    *,
    source: str | None = None,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
) -> TrainedRun:
    """Train a supernet by uniform single-path sampling; arguments and errors as `train`."""
    return train(
        space,
        data,
        settings,
        run_dir,
        method="uniform",
        paths=uniform_paths(space),
        source=source,
        on_epoch=on_epoch,
        on_step=on_step,
    )


def train(
    space: SearchSpace,
    data: ImageData,
    settings: TrainSettings,
    run_dir: Path,
    *,
    method: str,
    paths: PathSampler,
    options: Mapping[str, Any] | None = None,
    source: str | None = None,
    until: int | None = None,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
) -> TrainedRun:
    """Train a supernet, or go on where the run in ``run_dir`` stopped.

    A run that was killed and taken up again ends with the weights of one that was not; on the
    CPU with one thread they are equal bit by bit. Only the training split is read.

    Under ``torchrun`` all processes train one supernet: each takes its share of every batch, the
    first draws the paths, writes ``run_dir``, and alone makes the calls back. The result is that
    of one process that accumulates as many micro-batches, but for rounding and for the running
    statistics of batch norm, which are those of the first process's shares.

    Args:
        space: What the supernet holds.
        data: Images of the space's resolution and number of classes.
        settings: How to train.
        run_dir: New, empty, or of an earlier run with the same arguments.
        method: Name of the sampler; another's run is not resumed.
        paths: Draws the paths of every step; its state is part of every checkpoint. Training stops
            after the epoch in which it is `PathSampler.done`.
        options: The method's own settings as plain data; a run of others is not resumed.
        source: What `search.data.load_data` was given; None where that is the name of ``data``.
        until: Stop after this epoch, for now; the schedule is that of all epochs. None for all.
        on_epoch: Called after every epoch that was trained here.
        on_step: Called after every step, with the steps done since the run began and in all.

    Returns:
        The supernet, on the CPU.

    Raises:
        ValueError: ``data`` does not fit ``space``.
        InvalidFile: ``run_dir`` holds something else, or damaged files.
        RunMismatch: ``run_dir`` holds another run.
        InvalidData: There are fewer training images than a batch has.
        DeviceUnavailable: The device is not here, or cannot compute in the precision.
        UnevenShares: Processes and micro-batches do not divide the batch.
        TrainingDiverged: The loss is not finite any more; the last checkpoint stays.
    """
    record = record_of(method, space, data, settings, source=source, options=options)
    state = run_training(
        lambda worker: Training(space, data, settings, paths, worker),
        space,
        data,
        settings,
        run_dir,
        record=record,
        until=until,
        on_epoch=None if on_epoch is None else lambda _, metrics: on_epoch(metrics),
        on_step=on_step,
    )
    return TrainedRun(supernet=state.supernet.eval().cpu(), record=record, epoch=state.epoch)


def run_training(
    make: Callable[[Worker], State],
    space: SearchSpace,
    data: ImageData,
    settings: TrainSettings,
    run_dir: Path,
    *,
    record: RunRecord,
    worker: Worker | None = None,
    until: int | None = None,
    on_epoch: Callable[[State, EpochMetrics], None] | None = None,
    on_step: OnStep | None = None,
) -> State:
    """Train whatever a record names, or go on where it stopped: the loop of every method.

    Errors are those of `train`.

    Args:
        make: Returns what is trained, before its first epoch.
        space: What it holds.
        data: Images of the space's resolution and number of classes.
        settings: How to train.
        run_dir: New, empty, or of an earlier run with an equal record.
        record: What is trained.
        worker: This process's share of the work; None for what ``torchrun`` made of it.
        until: Stop after this epoch, for now; None for all.
        on_epoch: Called after every epoch that was trained here.
        on_step: Called after every step, with the steps done since the run began and in all.

    Returns:
        What was made, after its last epoch.
    """
    _check_fit(space, data, settings)
    worker = worker or this_worker(settings)
    check_shares(settings, worker)
    worker.join()
    with _process_state(settings, worker.device), ExitStack() as stack:
        worker.agree(lambda: stack.enter_context(working_in(run_dir)))
        checkpoint = worker.agree(lambda: open_run(run_dir, record))
        state = make(worker)
        if checkpoint is not None:
            state.restore(checkpoint)
        while not state.finished() and (until is None or state.epoch < until):
            try:
                metrics = state.run_epoch(data, on_step)
            except _NotFinite as problem:
                raise _diverged(problem, state, run_dir) from problem
            if worker.leads:
                state.keep(run_dir, metrics)
                if on_epoch is not None:
                    on_epoch(state, metrics)
    return state


def _check_fit(space: SearchSpace, data: ImageData, settings: TrainSettings) -> None:
    check_supernet(space)
    if space.input_shape[1:] != (3, data.resolution, data.resolution):
        raise ValueError(f"{data.resolution}-pixel images for a space of {space.input_shape}")
    if space.classes != len(data.class_names):
        raise ValueError(f"{len(data.class_names)} classes for a space of {space.classes}")
    if settings.batch > len(data.training):
        raise InvalidData(
            f"a batch of {settings.batch} is more than the {len(data.training)} training images "
            f"of {data.name!r}: lower batch in the settings, or add images"
        )


@contextmanager
def _process_state(settings: TrainSettings, device: torch.device) -> Iterator[None]:
    """Seed and size torch for one training, and leave it as it was."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)
        torch.set_num_threads(settings.threads or threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class _NotFinite(Exception):
    """A loss or a gradient is infinite or no number; the weights are still good."""


class Training:
    """Everything that changes while training, so that it is saved and restored as one.

    Args:
        space: What the supernet holds.
        data: The images.
        settings: How to train.
        paths: Draws the paths of every step.
        worker: This process's share of the work.
        prepare: Changes the fresh supernet, in place, before its optimizer is made: weights that
            were replaced later would not be the optimizer's, and never be trained.
    """

    def __init__(
        self,
        space: SearchSpace,
        data: ImageData,
        settings: TrainSettings,
        paths: PathSampler,
        worker: Worker,
        *,
        prepare: Callable[[Supernet], None] | None = None,
    ) -> None:
        self.settings = settings
        self.paths = paths
        self.worker = worker
        self.epoch = 0
        self.steps_per_epoch = len(data.training) // settings.batch
        self.supernet = supernet_for(space, seed=settings.seed)
        if prepare is not None:
            prepare(self.supernet)
        self.supernet.to(worker.device)
        self.supernet.to(memory_format=torch.channels_last)  # 1.4 to 1.9 times faster on a CPU
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
            self.supernet.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.momentum > 0,
        )
        self.scheduler: Scheduler = CosineLRScheduler(
            self.optimizer,
            t_initial=self.steps_per_epoch * settings.epochs,
            warmup_t=round(self.steps_per_epoch * settings.warmup_epochs),
            warmup_lr_init=settings.learning_rate * WARMUP_START,
            t_in_epochs=False,
        )
        self.scaler = torch.amp.GradScaler(worker.device.type, enabled=settings.precision == "fp16")
        self.loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
        # a generator each, so that every method is shown the same images in the same order
        seeds = np.random.SeedSequence(settings.seed).spawn(2)
        self.path_rng, self.image_rng = map(np.random.default_rng, seeds)

    def keep(self, run_dir: Path, metrics: EpochMetrics) -> None:
        """Write down an epoch, and all that it takes to go on from there."""
        append_metrics(run_dir, metrics)
        write_checkpoint(run_dir, self.checkpoint())

    def checkpoint(self) -> Checkpoint:
        """Return everything, as it is now."""
        device = self.worker.device
        return Checkpoint(
            epoch=self.epoch,
            model=self.supernet.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict(),
            rng={
                "paths": self.path_rng.bit_generator.state,
                "images": self.image_rng.bit_generator.state,
                "torch": torch.get_rng_state(),
                **({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}),
            },
            sampler=self.paths.state(),
            scaler=self.scaler.state_dict(),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from what `checkpoint` returned."""
        self.epoch = checkpoint.epoch
        self.supernet.load_state_dict(checkpoint.model)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.scheduler.load_state_dict(checkpoint.scheduler)
        self.path_rng.bit_generator.state = checkpoint.rng["paths"]
        self.image_rng.bit_generator.state = checkpoint.rng["images"]
        torch.set_rng_state(checkpoint.rng["torch"])
        if "cuda" in checkpoint.rng and self.worker.device.type == "cuda":
            torch.cuda.set_rng_state(checkpoint.rng["cuda"], self.worker.device)
        self.paths.restore(checkpoint.sampler)
        self.scaler.load_state_dict(checkpoint.scaler)

    def finished(self) -> bool:
        """Whether no epoch is left, or the method has had enough after one."""
        if self.epoch == 0:
            return False
        return self.epoch >= self.settings.epochs or self.worker.agree(lambda: self.paths.done)

    def run_epoch(self, data: ImageData, on_step: OnStep | None) -> EpochMetrics:
        """Go through the training split once.

        Raises:
            _NotFinite: A step would have spoilt the weights.
        """
        start_s = time.perf_counter()
        settings, done = self.settings, self.epoch * self.steps_per_epoch
        batches = prefetched(
            data.training.batches(
                settings.batch, rng=self.image_rng, augment=settings.augment, drop_last=True
            ),
            self.worker.device,
        )
        loss, right, seen, scored = 0.0, 0, 0, self.paths.scored_images
        self.supernet.train()
        for step, (images, labels) in enumerate(batches, start=1):
            archs = self.worker.agree(self._draw)
            try:
                step_loss, step_right = self._step(images, labels, archs)
            except _NotFinite as problem:
                where = f"epoch {self.epoch + 1}, step {step} of {self.steps_per_epoch}"
                raise _NotFinite(f"{where}: {problem}") from problem
            self.scheduler.step_update(done + step)
            loss += step_loss
            right += step_right
            seen += len(archs) * len(labels)
            if on_step is not None and self.worker.leads:
                on_step(done + step, self.steps_per_epoch * settings.epochs)
        self.epoch += 1
        return EpochMetrics(
            epoch=self.epoch,
            loss=loss / self.steps_per_epoch,
            accuracy=right / seen,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            images=seen,
            train_s=time.perf_counter() - start_s,
            scored_images=self.paths.scored_images - scored,
        )

    def _draw(self) -> tuple[Architecture, ...]:
        with self._autocast():
            return tuple(self.paths(self.supernet, self.path_rng))

    def _autocast(self) -> torch.autocast:
        dtype = AUTOCAST[self.settings.precision]
        return torch.autocast(self.worker.device.type, dtype=dtype, enabled=dtype is not None)

    def _step(
        self, images: Tensor, labels: Tensor, archs: Sequence[Architecture]
    ) -> tuple[float, int]:
        """Step once; return the mean loss and how many answers of all paths were right.

        Raises:
            _NotFinite: The step would have spoilt the weights; it was not taken.
        """
        # None, not zero: momentum and weight decay must not move a block that was not drawn
        self.optimizer.zero_grad(set_to_none=True)
        loss, right = self._gradients(self.worker.share(images), self.worker.share(labels), archs)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.supernet.parameters(), self.settings.gradient_clip)
        if not math.isfinite(loss):
            raise _NotFinite(f"the loss is {loss}")
        if not math.isfinite(norm) and not self._scaled():
            raise _NotFinite(f"the norm of the gradient is {norm:g}")
        self.scaler.step(self.optimizer)  # in fp16 it skips a step whose gradients overflowed
        self.scaler.update()
        return loss, right

    def _gradients(
        self, images: Tensor, labels: Tensor, archs: Sequence[Architecture]
    ) -> tuple[float, int]:
        """Leave the mean gradient over paths, micro-batches and processes, scaled in fp16."""
        parts = self.settings.accumulate
        sums = torch.zeros(2, dtype=torch.float64, device=images.device)  # loss, right answers
        for arch in archs:
            for few, answers in zip(images.chunk(parts), labels.chunk(parts), strict=True):
                with self._autocast():
                    logits = self._logits(few, arch)  # (micro-batch, classes)
                    loss = self.loss(logits, answers) / (parts * len(archs))
                self.scaler.scale(loss).backward()
                right = (logits.argmax(dim=1) == answers).sum()
                sums += torch.stack((loss.detach().double(), right.double()))
        grads = [weight.grad for weight in self.supernet.parameters() if weight.grad is not None]
        self.worker.average(grads)
        self.worker.average([sums])
        mean_loss, mean_right = sums.tolist()  # waits for the device: once a step
        return mean_loss, round(mean_right * self.worker.size)

    def _logits(self, images: Tensor, arch: Architecture) -> Tensor:
        """Return what is trained of a path; a method that relaxes paths answers otherwise."""
        logits: Tensor = self.supernet(images, arch)
        return logits

    def _scaled(self) -> bool:
        """Whether a smaller scale of the loss may still save gradients from overflowing."""
        return self.scaler.is_enabled() and self.scaler.get_scale() >= LOWEST_SCALE


def _diverged(problem: _NotFinite, state: Training, run_dir: Path) -> TrainingDiverged:
    kept = (
        f"the weights after epoch {state.epoch} are safe in {run_dir / CHECKPOINT}"
        if state.epoch
        else "no epoch was finished"
    )
    return TrainingDiverged(
        f"training diverged in {problem}; {kept}; lower learning_rate, "
        f"it is {state.settings.learning_rate:g}, and train into another directory"
    )
