"""All that changes while a supernet is trained, and one epoch of it.

The loop around it, which opens and resumes runs, is `search.training.loop`.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.scheduler import CosineLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from search.images.data import ImageData
from search.space import Architecture, SearchSpace
from search.supernets.supernet import Supernet
from search.supernets.supernet_for import supernet_for
from search.training.path_samplers import PathSampler
from search.training.prefetch import prefetched
from search.training.runs import Checkpoint, EpochMetrics, append_metrics, write_checkpoint
from search.training.settings import TrainSettings
from search.training.workers import Worker

WARMUP_START = 0.01
"""Learning rate of the first warm-up step, as a share of the peak."""

LOWEST_SCALE = 1.0
"""In fp16 gradients that overflow at a lower scale of the loss than this are no matter of scale."""

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

OnStep = Callable[[int, int], None]
"""Called after a step, with the steps done since the run began and in all."""


class NotFinite(Exception):
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
            NotFinite: A step would have spoilt the weights.
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
            except NotFinite as problem:
                where = f"epoch {self.epoch + 1}, step {step} of {self.steps_per_epoch}"
                raise NotFinite(f"{where}: {problem}") from problem
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
            NotFinite: The step would have spoilt the weights; it was not taken.
        """
        # None, not zero: momentum and weight decay must not move a block that was not drawn
        self.optimizer.zero_grad(set_to_none=True)
        loss, right = self._gradients(self.worker.share(images), self.worker.share(labels), archs)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.supernet.parameters(), self.settings.gradient_clip)
        if not math.isfinite(loss):
            raise NotFinite(f"the loss is {loss}")
        if not math.isfinite(norm) and not self._scaled():
            raise NotFinite(f"the norm of the gradient is {norm:g}")
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
                    loss: Any = self._loss(few, logits, answers) / (parts * len(archs))
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

    def _loss(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return what is minimised; who has a teacher asks it about the images, too."""
        loss: Tensor = self.loss(logits, labels)
        return loss

    def _scaled(self) -> bool:
        """Whether a smaller scale of the loss may still save gradients from overflowing."""
        return self.scaler.is_enabled() and self.scaler.get_scale() >= LOWEST_SCALE
