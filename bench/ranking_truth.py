"""What benches of supernets share: images, networks with known accuracies, scores, judgement.

Supernets of the macro space are trained on real CIFAR-10 images (recompressed as JPEG, scaled to
16 pixels), score a sample of the distinct networks with inherited weights on held-out images, each
batch normalised by itself, and are judged by the accuracies in NAS-Bench-Macro.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search.greedynas.sampler import score
from search.images.data import ImageData, Split, load_data
from search.metrics import kendall_tau, regrets, top_tau
from search.space import Architecture, SearchSpace
from search.supernets.cells import CellSupernet
from search.supernets.evaluation import batch_statistics
from search.supernets.ranking import Scores
from search.supernets.supernet import Supernet
from search.supernets.supernet_for import supernet_for
from search.training.path_samplers import CountedPaths
from search.truths.truth import Truth, read_nas_bench_macro

RESOLUTION = 16
BATCH = 64
LEARNING_RATE = 0.03
"""NAS-Bench-Macro's 0.1 for a batch of 256, scaled; at 0.1 uniform training hardly learnt."""

MAC_LIMITS = (30e6, 45e6, 60e6, 80e6)
"""Budgets of papers on this benchmark, in operations of the networks at 32 pixels."""

Costs = Mapping[str, tuple[NDArray[np.float64], tuple[float, ...]]]
"""Name to ``(networks,)`` costs and the limits on them."""


def material(
    *, training: int, held_out: int, networks: int, resolution: int = RESOLUTION
) -> tuple[ImageData, Truth]:
    """Return the images, and some of the networks with what they are really worth.

    Args:
        training: Training images.
        held_out: Images of the validation split.
        networks: Distinct networks.
        resolution: Pixels a side.
    """
    data = real_images(training=training, held_out=held_out, resolution=resolution)
    published = Path(os.environ["LATKIT_DATA"], "nas_bench_macro/nas-bench-macro_cifar10.json.gz")
    return data, sampled(read_nas_bench_macro(published), networks)


def real_images(*, training: int, held_out: int, resolution: int = RESOLUTION) -> ImageData:
    """Return CIFAR-10: so many training images, and so many of the validation split."""
    folder = os.environ.get("LATKIT_DATA")
    if not folder:
        sys.exit("LATKIT_DATA is unset: this bench needs CIFAR-10 and published accuracies")
    data = load_data(f"{folder}/images", resolution=resolution)
    return cut(data, training=training, held_out=held_out)


def cut(data: ImageData, *, training: int, held_out: int) -> ImageData:
    """Return the first images of the training split, and of the validation split."""
    if len(data.training) < training or len(data.validation) < held_out:
        sys.exit(f"{data.name} has too few images: {training} and {held_out} are needed")
    return replace(
        data, training=first(data.training, training), validation=first(data.validation, held_out)
    )


def first(split: Split, count: int, *, start: int = 0) -> Split:
    """Return some images of a split; its order mixes the classes."""
    end = start + count
    return replace(split, rows=split.rows[start:end], labels=split.labels[start:end])


def sampled(truth: Truth, count: int) -> Truth:
    """Return some of the networks, the same ones for every run."""
    rows = np.random.default_rng(0).choice(len(truth.archs), count, replace=False)
    return picked(truth, np.sort(rows))


def picked(truth: Truth, rows: NDArray[np.intp]) -> Truth:
    """Return the networks of some rows."""
    return replace(
        truth,
        archs=tuple(truth.archs[i] for i in rows),
        accuracy=truth.accuracy[rows],
        macs=truth.macs[rows],
        seen=None if truth.seen is None else truth.seen[rows],
    )


class Unstopped(CountedPaths):
    """A path sampler that counts operations and never stops early: all methods cost the same."""

    @property
    def done(self) -> bool:
        """Never."""
        return False


def measured_phi(space: SearchSpace, data: ImageData, known: Path) -> float:
    """Measure the cost of scoring an image over that of training on it, side by side, once.

    Args:
        space: What is trained.
        data: Images.
        known: File where it is kept.
    """
    if not known.exists():
        known.write_text(json.dumps(_phi(space, data)))
    return float(json.loads(known.read_text()))


def _phi(space: SearchSpace, data: ImageData) -> float:
    supernet, rng = supernet_for(space), np.random.default_rng(0)
    supernet.to(memory_format=torch.channels_last)
    images, labels = next(data.training.batches(BATCH))
    archs = [space.canonical(space.sample(rng)) for _ in range(24)]
    ratios = []
    for arch in archs:
        start = perf_counter()
        loss = nn.functional.cross_entropy(supernet(images, arch), labels)
        torch.autograd.backward(loss)
        middle = perf_counter()
        score(supernet, arch, [(images, labels)])
        ratios.append((perf_counter() - middle) / (middle - start))
    return float(np.median(ratios[4:]))


def score_some(
    supernet: Supernet, archs: Sequence[Architecture], images: Tensor, labels: Tensor
) -> Scores:
    """Score networks, in canonical form, on images that normalise themselves."""
    found: dict[Architecture, tuple[float, float]] = {}
    logits_of = _one_by_one if isinstance(supernet, CellSupernet) else _sharing
    with batch_statistics(supernet), torch.inference_mode():
        for arch, logits in logits_of(supernet, archs, images):
            loss = nn.functional.cross_entropy(logits, labels)
            right = (logits.argmax(dim=1) == labels).float().mean()
            found[arch] = float(loss), float(right)
    loss_of, accuracy_of = np.array([found[arch] for arch in archs]).T
    return Scores(archs=tuple(archs), loss=loss_of, accuracy=accuracy_of)


def _one_by_one(
    supernet: Supernet, archs: Sequence[Architecture], images: Tensor
) -> Iterator[tuple[Architecture, Tensor]]:
    for arch in archs:
        yield arch, supernet(images, arch)


def _sharing(
    supernet: Supernet, archs: Sequence[Architecture], images: Tensor
) -> Iterator[tuple[Architecture, Tensor]]:
    """Go through chains in ascending order: what one shares with the one before runs once."""
    behind: list[Tensor] = [supernet.before(images)]
    before: tuple[int, ...] = ()
    for arch in sorted(archs):
        shared = _shared(before, arch.choices)
        del behind[shared + 1 :]
        for layer in range(shared, len(arch.choices)):
            blocks = supernet.layers[layer]
            assert isinstance(blocks, nn.ModuleList)
            behind.append(blocks[arch.choices[layer]](behind[-1]))
        before = arch.choices
        yield arch, supernet.after(behind[-1])


def _shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Return how many first choices two networks share."""
    differing = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


def judged(scores: NDArray[np.float64], truth: Truth, costs: Costs) -> dict[str, Any]:
    """Return how well scores rank the networks, and what their picks lose in points."""
    lost = {
        name: 100 * regrets(scores, truth.mean, of, limits=limits)
        for name, (of, limits) in costs.items()
    }
    return {
        "tau": kendall_tau(scores, truth.mean),
        "tau_top20": top_tau(scores, truth.accuracy),
        "regret": float(np.mean(lost["macs"])),
        **{f"regret_{name}": float(np.mean(values)) for name, values in lost.items()},
    }


def plot(path: Path, rows: Sequence[dict[str, Any]], *, titles: Mapping[str, str]) -> None:
    """Draw some figures of every method, a dot a seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure((11, 1.2 + 0.34 * len(methods)), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (key, title) in enumerate(titles.items(), start=1):
        axes = figure.add_subplot(1, len(titles), place)
        for i, method in enumerate(methods):
            values = [row[key] for row in rows if row["method"] == method]
            axes.plot(values, [i] * len(values), "o", color="#1f5fa8", alpha=0.7)
            axes.plot(np.mean(values), i, "|", color="#d9730d", ms=16, mew=2)
        axes.set(title=title, yticks=range(len(methods)), yticklabels=methods if place == 1 else [])
        axes.grid(axis="x", color="#dddddd")
        axes.invert_yaxis()
    figure.savefig(path, dpi=100)
