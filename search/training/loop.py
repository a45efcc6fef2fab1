"""Supernet training: one loop for every method, on a CPU, a GPU, or several.

How a method draws the paths of a step is a `search.training.path_samplers.PathSampler`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from devices import LatkitError
from search.images.data import ImageData, InvalidData
from search.space import SearchSpace
from search.supernets.supernet_for import check_supernet
from search.training.path_samplers import PathSampler, uniform_paths
from search.training.runs import (
    CHECKPOINT,
    EpochMetrics,
    RunRecord,
    open_run,
    record_of,
    working_in,
)
from search.training.settings import TrainSettings
from search.training.state import NotFinite, OnStep, Training
from search.training.trained import TrainedRun
from search.training.workers import Worker, check_shares, this_worker

__all__ = ["OnEpoch", "TrainingDiverged", "run_training", "train", "train_uniform"]

State = TypeVar("State", bound="Training")

OnEpoch = Callable[[EpochMetrics], None]


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
        source: What `search.images.data.load_data` was given; None where that is the name of
            ``data``.
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
            except NotFinite as problem:
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


def _diverged(problem: NotFinite, state: Training, run_dir: Path) -> TrainingDiverged:
    kept = (
        f"the weights after epoch {state.epoch} are safe in {run_dir / CHECKPOINT}"
        if state.epoch
        else "no epoch was finished"
    )
    return TrainingDiverged(
        f"training diverged in {problem}; {kept}; lower learning_rate, "
        f"it is {state.settings.learning_rate:g}, and train into another directory"
    )
