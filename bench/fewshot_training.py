"""Parents, children and their rivals, trained and scored once; what is there is not done again."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.fewshot_subjects import EQUAL, PARENT, Method, Scale, Subject
from bench.ranking_truth import BATCH, Unstopped, first, score_some
from search.fewshot.children import train_children
from search.images.data import ImageData
from search.ledger import Cost, run_cost
from search.space import Architecture
from search.splits.routed import RoutedSupernet, child_dir, load_children
from search.splits.split import Part, Partition
from search.supernets.ranking import Scores
from search.supernets.supernet import Supernet
from search.training.loop import train
from search.training.path_samplers import uniform_paths
from search.training.settings import TrainSettings


def freeze_convolutions(supernet: Supernet, part: Part) -> None:
    """Leave the convolutions of the split layers as they are, whatever is trained around them."""
    for layer, _ in part.groups:
        for module in supernet.layers[layer].modules():
            if isinstance(module, nn.Conv2d):
                module.requires_grad_(False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """All that is trained for a subject.

    A method is given by its `Method`, or one of the names `PARENT` and `EQUAL`.

    Attributes:
        subject: What is asked about.
        scale: How much is trained.
        runs: Directory of all runs.
    """

    subject: Subject
    scale: Scale
    runs: Path

    def run(self, only: str, *, workers: int) -> None:
        """Train and score everything, in so many processes."""
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for jobs in self.stages(only):
                waiting = [pool.submit(score_one, self, *job) for job in jobs]
                for each in waiting:
                    each.result()

    def stages(self, only: str) -> list[list[tuple[int, Method | str]]]:
        """Return what may be trained at once: children beside the parent of the next seed's."""
        seeds = range(self.scale.seeds)
        alone = [[(seed, EQUAL), (seed, PARENT)] for seed in seeds]
        children = [[(seed, each) for each in self.subject.methods(only, seed)] for seed in seeds]
        return [[*some, *more] for some, more in zip([[], *children], [*alone, []], strict=True)]

    def folder(self, seed: int, method: Method | str) -> Path:
        """Return where a method's run is."""
        name = method if isinstance(method, str) else method.name
        return self.runs / f"{name.replace(',', '').replace(' ', '-')}-{seed}"

    def groups(self, partition: Partition) -> NDArray[np.intp]:
        """Return for each network the part that it is in, ``(networks,)``."""
        return np.array([partition.index(arch) for arch in self.subject.truth.archs], np.intp)

    def costs(self, seed: int, method: Method | str) -> list[Cost]:
        """Return what a method has cost, the parent of its children included."""
        if isinstance(method, str):
            return [run_cost(self.folder(seed, method), what="parent")]
        folder = self.folder(seed, method)
        count = len(self.subject.partition(method.splits).parts)
        children = [run_cost(child_dir(folder, i), what="child") for i in range(count)]
        return [*(self.costs(seed, PARENT) if method.transfer else ()), *children]

    def kept(self, seed: int, method: Method | str) -> Path:
        """Return where the scores of a method are, once it is trained."""
        return self.folder(seed, method) / f"scores-{self.scale.validation}.npz"

    def known(self, seed: int, method: Method | str) -> Scores:
        """Return the scores of a method that was trained."""
        known = np.load(self.kept(seed, method))
        archs = self.subject.truth.archs
        return Scores(archs=archs, loss=known["loss"], accuracy=known["accuracy"])

    def score(self, seed: int, method: Method | str) -> Scores:
        """Train a method and score all networks, each by the child that holds it.

        On images that no training has seen.
        """
        validation, archs = self.subject.data.validation, self.subject.truth.archs
        images, labels = next(validation.batches(len(validation)))
        if isinstance(method, str):
            return score_some(self.train_supernet(seed, method), archs, images, labels)
        routed = self.train_children(seed, method)
        loss, accuracy = np.empty((2, len(archs)))
        groups = self.groups(routed.partition)
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            some: Sequence[Architecture] = [archs[i] for i in rows]
            found = score_some(routed.child(some[0]), some, images, labels)
            loss[rows], accuracy[rows] = found.loss, found.accuracy
        return Scores(archs=archs, loss=loss, accuracy=accuracy)

    def train_supernet(self, seed: int, name: str) -> Supernet:
        """Train the parent, or the supernet that has the whole cost to itself; or load it."""
        data, epochs = self.spent(self.scale.images / (2 if name == PARENT else 1))
        space = self.subject.space
        paths = Unstopped(uniform_paths(space), space)
        settings = self.settings(seed, epochs, warmup=1.0)
        folder = self.folder(seed, name)
        return train(space, data, settings, folder, method="uniform", paths=paths).supernet

    def train_children(self, seed: int, method: Method) -> RoutedSupernet:
        """Train the children of a method, or load them.

        From scratch they have the parent's half as well: nothing was spent on one.
        """
        partition = self.subject.partition(method.splits)
        share = self.scale.images / (2 if method.transfer else 1)
        data, epochs = self.spent(share / len(partition.parts))
        folder = self.folder(seed, method)
        train_children(
            partition,
            data,
            self.settings(seed, epochs, warmup=0.0 if method.transfer else 1.0),
            folder,
            weights=self.folder(seed, PARENT) if method.transfer else None,
            options={"frozen": method.frozen, "images": len(data.training)},
            prepare=freeze_convolutions if method.frozen else None,
        )
        return RoutedSupernet(partition, [child for child, _ in load_children(folder, partition)])

    def settings(self, seed: int, epochs: int, *, warmup: float) -> TrainSettings:
        """Return how a supernet is trained."""
        return TrainSettings(
            epochs=epochs,
            batch=BATCH,
            learning_rate=self.scale.learning_rate,
            seed=seed,
            threads=1,
            warmup_epochs=min(warmup, epochs / 2),
        )

    def spent(self, images: float) -> tuple[ImageData, int]:
        """Return data and epochs that come to so many training images, to half a batch each.

        Two batches at least: a cosine over one is none.
        """
        data = self.subject.data
        epochs = max(1, -(-round(images) // len(data.training)))
        batches = max(2, round(images / epochs / BATCH))
        return replace(data, training=first(data.training, batches * BATCH)), epochs


def score_one(trials: Trials, seed: int, method: Method | str) -> None:
    """Train and score one method in a process of its own, unless that was done; both are kept."""
    torch.set_num_threads(1)
    kept = trials.kept(seed, method)
    if not kept.exists():
        found = trials.score(seed, method)
        np.savez(kept, loss=found.loss, accuracy=found.accuracy)
