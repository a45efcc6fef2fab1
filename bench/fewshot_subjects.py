"""What few-shot supernets are asked about: spaces whose networks others have trained, and methods.

Two subjects. The macro space by NAS-Bench-Macro, split at the first layer of the second stage and
at that of the third, where all parts are equally large. And cells of NAS-Bench-201 in a small
skeleton, one cell a stage at 16 pixels, split at the published edge, 0 to 1; its parts are not
equally large, since of a class the cheapest cell stands for all.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.ranking_truth import (
    LEARNING_RATE,
    MAC_LIMITS,
    RESOLUTION,
    material,
    picked,
    real_images,
)
from search.images.data import ImageData
from search.proxies.narrow import narrowed
from search.space import SearchSpace
from search.spaces import space_named
from search.spaces.nasbench201 import cell_space, has_path
from search.splits.split import Partition, partition_from_texts
from search.truths.nasbench201 import read_nas_bench_201
from search.truths.truth import Truth

PARENT, EQUAL = "one-shot", "one-shot at equal cost"

WIDTHS, DEPTH = (16, 32, 64), 1
"""Of the small skeleton of cells: the benchmark's channels, a fifth of its cells."""

LIMITED_TO = (0.2, 0.4, 0.6, 0.8)
"""Shares of the cells that keep a limit on operations, of which regret is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is trained and evaluated.

    Attributes:
        images: Training images of a method, all children and the parent together.
        training: Distinct ones.
        networks: Distinct networks that are ranked.
        validation: Held-out images that networks are ranked by.
        seeds: Repetitions.
        resolution: Pixels a side, of the macro space.
        narrow: Halvings of the operations through narrower layers; see `search.proxies.narrow`.
        learning_rate: Peak of every cosine.
    """

    images: int = 40_000
    training: int = 4000
    networks: int = 250
    validation: int = 300
    seeds: int = 3
    resolution: int = RESOLUTION
    narrow: int = 0
    learning_rate: float = LEARNING_RATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to spend the second half of the images.

    Attributes:
        name: For people.
        splits: Of the space.
        transfer: Whether children start from the parent's weights.
        frozen: Whether the convolutions of split layers are never trained, as in the released code.
    """

    name: str
    splits: tuple[str, ...] = ()
    transfer: bool = True
    frozen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A space, what its networks are worth, and the ways to split it.

    Attributes:
        space: What is trained.
        data: Images; the validation split ranks.
        truth: True accuracies.
        limits: On the operations of the truth's networks; regret is asked under each.
        core: Methods by numbers of children.
        ablations: Methods that leave something out.
        layers: Methods that split another layer; for the first seed alone.
        usual: Splits whose pairs tell within from across where a method has no children.
    """

    space: SearchSpace
    data: ImageData
    truth: Truth
    limits: tuple[float, ...]
    core: tuple[Method, ...]
    ablations: tuple[Method, ...] = ()
    layers: tuple[Method, ...] = ()
    usual: tuple[str, ...]

    def methods(self, only: str, seed: int) -> tuple[Method, ...]:
        """Return what is trained for a seed.

        Args:
            only: ``"core"``, or it with ``"layers"`` or ``"ablations"``; empty for all.
            seed: Other layers are for the first one alone.
        """
        layers = self.layers if seed == 0 else ()
        chosen = {
            "core": self.core,
            "layers": (*self.core, *self.layers),
            "ablations": (*self.core, *self.ablations),
        }
        return chosen.get(only, (*self.core, *self.ablations, *layers))

    def partition(self, splits: Sequence[str]) -> Partition:
        """Return the parts of some splits."""
        return partition_from_texts(splits, self.space)


def macro(scale: Scale) -> Subject:
    """Return the macro space at the resolution and width of the scale."""
    data, truth = material(
        training=scale.training,
        held_out=scale.validation,
        networks=scale.networks,
        resolution=scale.resolution,
    )
    space = space_named("macro", resolution=scale.resolution, classes=len(data.class_names))
    second, third = 2, 5  # the first layers of those stages
    splits = {
        1: (),
        2: (f"{second}:0,1/2",),
        3: (f"{second}",),
        6: (f"{second}", f"{third}:0,1/2"),
        9: (f"{second}", f"{third}"),
    }
    return Subject(
        space=narrowed(space, scale.narrow),
        data=data,
        truth=truth,
        limits=MAC_LIMITS,
        core=by_children(splits),
        ablations=(
            Method(name="few-shot 3, from scratch", splits=splits[3], transfer=False),
            Method(name="few-shot 3, frozen convolutions", splits=splits[3], frozen=True),
        ),
        layers=tuple(
            Method(name=f"few-shot 3, layer {i}", splits=(f"{i}",))
            for i in range(len(space.layers))
            if i != second
        ),
        usual=splits[3],
    )


def cells(scale: Scale) -> Subject:
    """Return the cells of NAS-Bench-201 that have a path, in a small skeleton."""
    data = real_images(training=scale.training, held_out=scale.validation)
    folder = os.environ.get("LATKIT_DATA")
    if scale.narrow or not folder:
        sys.exit("cells are not made narrower, and their accuracies are in LATKIT_DATA")
    all_cells = read_nas_bench_201(Path(folder) / "nas_bench_201" / "accuracy.csv.gz").truth()
    paths = np.flatnonzero([has_path(arch) for arch in all_cells.archs])
    rows = np.random.default_rng(0).choice(paths, scale.networks, replace=False)
    truth = picked(all_cells, np.sort(rows))
    # one figure a cell, the mean of its runs: it chooses the best ones and judges them, too
    truth = replace(truth, accuracy=np.repeat(truth.accuracy, 2, axis=1), seen=None)
    splits = {1: (), 2: ("0:0,1,4/2,3",), 5: ("0",)}
    image = (1, 3, RESOLUTION, RESOLUTION)
    return Subject(
        space=cell_space(
            "nasbench201-small",
            widths=WIDTHS,
            depth=DEPTH,
            image=image,
            classes=len(data.class_names),
        ),
        data=data,
        truth=truth,
        limits=tuple(np.quantile(truth.macs, LIMITED_TO).tolist()),
        core=by_children(splits),
        usual=splits[5],
    )


def by_children(splits: dict[int, tuple[str, ...]]) -> tuple[Method, ...]:
    """Return a method for each number of children."""
    return tuple(Method(name=f"few-shot {k}", splits=of) for k, of in splits.items())


SUBJECTS: dict[str, Callable[[Scale], Subject]] = {"macro": macro, "nasbench201": cells}
"""Name of a space to what is asked of it."""
