"""Training the chosen network alone, from scratch: what ships need not inherit its weights.

The network is a supernet of a single path, so everything but the recipe is that of
`search.training.loop`: the loop, devices and precision, processes, checkpoints, resuming. The
recipe, `search.final.settings.FinalSettings`, brings its own optimizer and schedule, dropout,
stronger augmentation, and the moving average of the weights, which is what is judged and exported.

A run has two more files: ``validation.jsonl`` has one `Validation` a line, and ``test.json`` the
accuracy on the test split, which is looked at once, when the last epoch is over.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler, StepLRScheduler
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from devices.files import write_atomically
from search.final.distillation import SECTION, Teacher
from search.final.files import (
    METHOD,
    TEST,
    FinalRun,
    Validation,
    append_validation,
    only_choice,
    only_network,
    read_test_accuracy,
    space_of_one,
    validation_of_epoch,
)
from search.final.settings import FinalSettings
from search.images.augmentation import StrongAugmentation
from search.images.data import ImageData, Split
from search.space import Architecture, SearchSpace
from search.supernets.evaluation import EVALUATION_BATCH, accuracy
from search.supernets.supernet import Supernet
from search.training.loop import run_training
from search.training.path_samplers import MemorylessPaths
from search.training.runs import (
    Checkpoint,
    EpochMetrics,
    record_of,
)
from search.training.state import OnStep, Training
from search.training.workers import Worker

OnValidation = Callable[[EpochMetrics, Validation], None]


def train_final(
    space: SearchSpace,
    arch: Architecture,
    data: ImageData,
    settings: FinalSettings,
    run_dir: Path,
    *,
    teacher: Teacher | None = None,
    source: str | None = None,
    on_epoch: OnValidation | None = None,
    on_step: OnStep | None = None,
) -> FinalRun:
    """Train one architecture alone, or go on where the run in ``run_dir`` stopped.

    Devices, processes, exact resuming and errors are as of `search.training.loop.train`.

    Args:
        space: Where it was chosen.
        arch: The choice; trained as `SearchSpace.alone` has it.
        data: Images of the space's resolution and number of classes. Weights see the training
            split; nothing is selected by the validation split, it is shown; the test split is
            looked at once, at the end.
        settings: How to train.
        run_dir: New, empty, or of an earlier run with the same arguments.
        teacher: Whose answers are learnt from, too; None for the labels alone.
        source: What `search.images.data.load_data` was given; None where that is the name of
            ``data``.
        on_epoch: Called after every epoch that was trained here.
        on_step: Called after every step, with the steps done since the run began and in all.

    Raises:
        InvalidFile: Also where ``arch`` does not belong to ``space``.
    """
    alone = space_of_one(space, arch)
    chosen = space.alone(arch)
    taught = {} if teacher is None else {SECTION: teacher.as_options()}
    options = {"arch": str(chosen), **settings.options(), **taught}
    record = record_of(METHOD, space, data, settings.shared(), source=source, options=options)
    state = run_training(
        lambda worker: _FinalTraining(alone, data, settings, worker, teacher),
        alone,
        data,
        settings,
        run_dir,
        record=record,
        on_epoch=None
        if on_epoch is None
        else lambda _, metrics: on_epoch(
            metrics, validation_of_epoch(run_dir, epoch=metrics.epoch)
        ),
        on_step=on_step,
    )
    agree = state.worker.agree
    validation = agree(lambda: validation_of_epoch(run_dir, epoch=state.epoch))
    test_accuracy = agree(lambda: _tested_once(run_dir, state, data.test))
    return FinalRun(
        network=_without_dropout(state.ema.module),
        space=space,
        arch=chosen,
        record=record,
        validation=validation,
        test_accuracy=test_accuracy,
    )


def _without_dropout(supernet: Supernet) -> nn.Sequential:
    """Return the only network of a supernet on the CPU, as it ships."""
    plain = Supernet(supernet.space).to(memory_format=torch.channels_last)
    plain.load_state_dict(supernet.state_dict())
    return only_network(plain)


class _FinalTraining(Training):
    """Everything that changes while one network is trained alone."""

    settings: FinalSettings

    def __init__(
        self,
        space: SearchSpace,
        data: ImageData,
        settings: FinalSettings,
        worker: Worker,
        teacher: Teacher | None,
    ) -> None:
        only = only_choice(space)
        self.teacher = None if teacher is None else teacher.to(worker.device)
        super().__init__(space, data, settings, MemorylessPaths(lambda _: (only,)), worker)
        _drop_inputs_of_the_classifier(self.supernet, settings.dropout)
        self.optimizer = _optimizer(self.supernet, settings)
        self.scheduler = _scheduler(self.optimizer, settings, self.steps_per_epoch)
        self.steps = 0
        self.validation_split = data.validation
        self.ema = ModelEmaV3(
            self.supernet, decay=settings.ema_decay, use_warmup=settings.ema_warmup
        )
        self.strengthen = StrongAugmentation(
            data.training,
            rand_augment=settings.rand_augment,
            random_erasing=settings.random_erasing,
        )
        # a third generator, so that a recipe without it is shown the same images
        seeds = np.random.SeedSequence(settings.seed).spawn(3)
        self.strengthen_rng = np.random.default_rng(seeds[2])

    def keep(self, run_dir: Path, metrics: EpochMetrics) -> None:
        append_validation(run_dir, self.validate(self.validation_split))
        super().keep(run_dir, metrics)

    def checkpoint(self) -> Checkpoint:
        shared = super().checkpoint()
        state = self.strengthen_rng.bit_generator.state
        return replace(
            shared,
            rng=shared.rng | {"augmentation": state},
            sampler={"averaged": self.ema.module.state_dict()},
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        super().restore(checkpoint)
        self.steps = checkpoint.epoch * self.steps_per_epoch
        self.strengthen_rng.bit_generator.state = checkpoint.rng["augmentation"]
        self.ema.module.load_state_dict(checkpoint.sampler["averaged"])

    def validate(self, split: Split) -> Validation:
        """Return how good the network is by now, with either weights."""
        averaged, raw = (self.accuracy(each, split) for each in (self.ema.module, self.supernet))
        return Validation(epoch=self.epoch, averaged=averaged, raw=raw)

    def accuracy(self, supernet: Supernet, split: Split) -> float:
        batches = split.batches(EVALUATION_BATCH)
        return accuracy(only_network(supernet), batches, device=self.worker.device)

    def _step(
        self, images: Tensor, labels: Tensor, archs: Sequence[Architecture]
    ) -> tuple[float, int]:
        outcome = super()._step(self.strengthen(images, self.strengthen_rng), labels, archs)
        self.steps += 1
        self.ema.update(self.supernet, step=self.steps)
        return outcome

    def _loss(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        alone = super()._loss(images, logits, labels)
        return alone if self.teacher is None else self.teacher.mixed(alone, logits, images)


def _drop_inputs_of_the_classifier(supernet: Supernet, share: float) -> None:
    """Add dropout; no weight changes its name by it, so that what is trained loads without."""
    for module in list(supernet.after.modules()):
        match list(module.children()):
            case [nn.Flatten() as flatten, nn.Linear()]:
                assert isinstance(module, nn.Sequential)  # see profiler.operators.modules
                module[0] = nn.Sequential(flatten, nn.Dropout(share))


def _optimizer(network: nn.Module, settings: FinalSettings) -> torch.optim.Optimizer:
    given = {"eps": settings.epsilon} if settings.optimizer == "rmsproptf" else {}
    nesterov = settings.optimizer != "sgd" or settings.momentum > 0
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        network,  # and no list of weights, so that biases and batch norm do not decay
        opt=settings.optimizer if nesterov else "momentum",  # timm's plain SGD
        lr=settings.peak_learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        **given,
    )
    return optimizer


def _scheduler(
    optimizer: torch.optim.Optimizer, settings: FinalSettings, steps_per_epoch: int
) -> Scheduler:
    warmup = {
        "warmup_t": round(steps_per_epoch * settings.warmup_epochs),
        "warmup_lr_init": settings.warmup_learning_rate,
        "t_in_epochs": False,
    }
    if settings.schedule == "cosine":
        return CosineLRScheduler(optimizer, t_initial=steps_per_epoch * settings.epochs, **warmup)
    return StepLRScheduler(
        optimizer,
        decay_t=steps_per_epoch * settings.decay_epochs,
        decay_rate=settings.decay_rate,
        warmup_prefix=False,
        **warmup,
    )


def _tested_once(run_dir: Path, state: _FinalTraining, test: Split) -> float:
    """Return the accuracy on the test split, which is measured only if no one has yet."""
    path = run_dir / TEST
    if not path.exists():
        found = {"accuracy": state.accuracy(state.ema.module, test), "images": len(test)}
        write_atomically(path, (json.dumps(found) + "\n").encode())
    return read_test_accuracy(run_dir)
