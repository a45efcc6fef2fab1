"""Children of a few-shot supernet: what each starts from, and how all are trained.

One after another, side by side in processes of this machine, or by the processes that ``torchrun``
started: these share the batches of one child after another, or have children of their own. Each
child is a run like any other, and goes on where it stopped.

Source:
    Zhao et al., Few-Shot Neural Architecture Search, ICML 2021, section 4.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from devices.host import allowed_cpus
from search.images.data import ImageData
from search.space import Architecture
from search.splits.routed import CHILD, child_dir, keep_part
from search.splits.split import Part, Partition
from search.supernets.supernet import Supernet
from search.training.loop import run_training
from search.training.path_samplers import CountedPaths, MemorylessPaths
from search.training.pool import pool_of
from search.training.runs import read_checkpoint, record_of
from search.training.settings import TrainSettings
from search.training.state import OnStep, Training
from search.training.workers import UnevenShares, Worker, this_worker

Prepare = Callable[[Supernet, Part], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """One child to train.

    Attributes:
        part: What it holds.
        run_dir: Its run.
        weights: Run of the parent whose weights it starts from; None for fresh ones.
        options: Written into its record beside its part.
        prepare: Changes it before its optimizer is made, after its weights were set; for
            experiments.
    """

    part: Part
    run_dir: Path
    weights: Path | None = None
    options: Mapping[str, Any]
    prepare: Prepare | None = None

    def prepared(self, supernet: Supernet) -> None:
        """Turn a fresh supernet into this child, untrained."""
        if self.weights is not None:
            supernet.load_state_dict(read_checkpoint(self.weights).model)
        keep_part(supernet, self.part)
        if self.prepare is not None:
            self.prepare(supernet, self.part)

    @property
    def paths(self) -> CountedPaths:
        """Uniform paths of the part."""
        space = self.part.space
        draw = partial(_one_path, self.part)
        return CountedPaths(MemorylessPaths(draw), space)


def _one_path(part: Part, rng: Any) -> tuple[Architecture]:
    return (part.sample(rng),)


def train_children(
    partition: Partition,
    data: ImageData,
    settings: TrainSettings,
    run_dir: Path,
    *,
    weights: Path | None,
    options: Mapping[str, Any],
    processes: int = 1,
    source: str | None = None,
    prepare: Prepare | None = None,
    on_step: OnStep | None = None,
) -> None:
    """Train the children of all parts, or go on where they stopped.

    Args:
        partition: The parts.
        data: The images.
        settings: How to train each child.
        run_dir: Holds a run for every child.
        weights: Run of the parent whose weights they start from; None for fresh ones.
        options: What a child's run must share with the one that it takes up, beside its part.
        processes: Children that are trained at once; under ``torchrun`` 1, or as many as it
            started.
        source: What `search.images.data.load_data` was given; None where that is the name of
            ``data``.
        prepare: Changes every child before its optimizer is made; for experiments.
        on_step: As of `search.fewshot.training.train_fewshot`.

    Raises:
        LatkitError: What `search.training.loop.train` raises.
        UnevenShares: ``torchrun`` started another number of processes.
    """
    worker = this_worker(settings)
    check_processes(processes, worker)
    children = [
        Child(
            part=part,
            run_dir=child_dir(run_dir, number),
            weights=weights,
            options=options,
            prepare=prepare,
        )
        for number, part in enumerate(partition.parts)
    ]
    if processes == 1:
        _in_turn(children, data, settings, worker, source=source, on_step=on_step)
    elif worker.size == 1:
        _side_by_side(children, data, settings, processes=processes, source=source, on_step=on_step)
    else:
        worker.join()
        mine, alone = children[worker.rank :: worker.size], worker.alone()
        counted = on_step if worker.leads else None
        worker.apart(partial(_in_turn, mine, data, settings, alone, source=source, on_step=counted))


def check_processes(processes: int, worker: Worker) -> None:
    """Check that ``torchrun``, where it is used, started as many processes as train children.

    Raises:
        UnevenShares: It started another number.
    """
    if worker.size > 1 and processes not in (1, worker.size):
        raise UnevenShares(
            f"processes = {processes} in [fewshot], and torchrun started {worker.size}: set "
            f"{worker.size}, so that each trains children of its own, or 1, so that all share the "
            "batches of each child"
        )


def _in_turn(
    children: Sequence[Child],
    data: ImageData,
    settings: TrainSettings,
    worker: Worker,
    *,
    source: str | None,
    on_step: OnStep | None,
) -> None:
    """Train children one after another."""
    for number, child in enumerate(children):
        counted = offset(on_step, number, len(children))
        train_child(child, data, settings, worker, source=source, on_step=counted)


def train_child(
    child: Child,
    data: ImageData,
    settings: TrainSettings,
    worker: Worker,
    *,
    source: str | None = None,
    on_step: OnStep | None = None,
) -> None:
    """Train one child, or go on where it stopped; arguments and errors as `train_children`."""
    space = child.part.space
    options = {"part": child.part.name, **child.options}
    record = record_of(CHILD, space, data, settings, source=source, options=options)
    run_training(
        lambda worker: Training(space, data, settings, child.paths, worker, prepare=child.prepared),
        space,
        data,
        settings,
        child.run_dir,
        record=record,
        worker=worker,
        on_step=on_step,
    )


def offset(on_step: OnStep | None, number: int, children: int) -> OnStep | None:
    """Return what counts the steps of one child among those of all; None for None."""
    if on_step is None:
        return None
    return lambda done, total: on_step(number * total + done, children * total)


def _side_by_side(
    children: Sequence[Child],
    data: ImageData,
    settings: TrainSettings,
    *,
    processes: int,
    source: str | None,
    on_step: OnStep | None,
) -> None:
    """Train children in processes of their own, so many at once."""
    threads = max(1, len(allowed_cpus()) // processes)
    work = partial(_train_in_process, data=data, settings=settings, source=source, threads=threads)
    with pool_of(work, workers=processes) as pool:
        for done, _ in enumerate(pool(children), start=1):
            if on_step is not None:
                on_step(done, len(children))


def _train_in_process(
    child: Child, *, data: ImageData, settings: TrainSettings, source: str | None, threads: int
) -> None:
    torch.set_num_threads(threads)
    train_child(child, data, settings, this_worker(settings), source=source)
