"""What splitting a supernet is worth, at equal total cost, against networks' true accuracies.

Every method trains on the same number of images. One-shot spends them all on one supernet, under
one cosine. Few-shot spends half on a parent, the same one for all methods of a seed, and the other
half on its children together: K = 1 goes on with the parent under a second cosine, which shows what
the restart alone is worth. A sample of the distinct networks is then ranked, each by the child that
holds it, against the accuracies in NAS-Bench-Macro (see `bench.ranking_truth`).

Scores of children that were trained apart need not compare. So tau is also taken over the pairs
within a child and over the pairs across children; where there are none, over the pairs that the
three children of the first split layer would make. Three mends are tried. With some networks of
every child that the parent scores, too: shifting a child's scores so that their mean is the
parent's, and scaling them as well. And ranking by a layer-additive predictor that is fitted to some
scores of all children together.

    LATKIT_DATA=DIR python bench/fewshot.py [--quick] [--json] [--seeds N] [--images N] [--runs DIR]
                                            [--only core|layers|ablations] [--workers N]
                                            [--csv F] [--png F]

With --runs the supernets stay, and a run that was cut off goes on.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.kept import kept_in
from bench.ranking_truth import (
    BATCH,
    LEARNING_RATE,
    MAC_LIMITS,
    RESOLUTION,
    Costs,
    Unstopped,
    first,
    judged,
    material,
    measured_phi,
    plot,
    score_some,
)
from bench.rows import write_csv
from devices.host import allowed_cpus
from search.data import ImageData
from search.fewshot import train_children
from search.greedynas import cost_images
from search.ledger import Cost, run_cost
from search.metrics import kendall_tau
from search.path_samplers import uniform_paths
from search.predictor import fit_additive
from search.ranking import Scores
from search.routed import RoutedSupernet, child_dir, load_children
from search.settings import TrainSettings
from search.space import Architecture, SearchSpace
from search.spaces import space_named
from search.split import Part, Partition, partition_from_texts
from search.supernet import Supernet
from search.training import train
from search.truth import Truth

LAYER, SECOND = 2, 5
"""The first layers of the second and the third stage: all their parts are equally large."""

SPLITS = {
    1: (),
    2: (f"{LAYER}:0,1/2",),
    3: (f"{LAYER}",),
    6: (f"{LAYER}", f"{SECOND}:0,1/2"),
    9: (f"{LAYER}", f"{SECOND}"),
}
"""Number of children to splits."""

PARENT, EQUAL = "one-shot", "one-shot at equal cost"

MENDING = 10
"""Networks of each child that a mend compares with the parent."""

FITTED = 100
"""Networks that the additive predictor sees."""

PICKED = 10
"""Networks of the highest scores, of which the truly best one is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is trained and evaluated.

    Attributes:
        images: Training images of a method, all children and the parent together.
        training: Distinct ones.
        networks: Distinct networks that are ranked.
        validation: Held-out images that networks are ranked by.
        seeds: Repetitions.
    """

    images: int = 40_000
    training: int = 4000
    networks: int = 250
    validation: int = 300
    seeds: int = 3


QUICK = Scale(images=2560, training=640, networks=120, validation=128, seeds=1)


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


CORE = tuple(Method(name=f"few-shot {k}", splits=splits) for k, splits in SPLITS.items())
LAYERS = tuple(
    Method(name=f"few-shot 3, layer {i}", splits=(f"{i}",)) for i in range(8) if i != LAYER
)
ABLATIONS = (
    Method(name="few-shot 3, from scratch", splits=SPLITS[3], transfer=False),
    Method(name="few-shot 3, frozen convolutions", splits=SPLITS[3], frozen=True),
)


def methods_of(only: str, seed: int) -> tuple[Method, ...]:
    """Return what is trained for a seed: other layers than the first for the first seed alone."""
    layers = LAYERS if seed == 0 else ()
    chosen = {"core": CORE, "layers": (*CORE, *LAYERS), "ablations": (*CORE, *ABLATIONS)}
    return chosen.get(only, (*CORE, *ABLATIONS, *layers))


def main() -> None:
    """Train, rank and print."""
    args = _arguments()
    torch.set_num_threads(1)
    scale = QUICK if args.quick else Scale()
    scale = replace(scale, seeds=args.seeds or scale.seeds, images=args.images or scale.images)
    data, truth = material(
        training=scale.training, held_out=scale.validation, networks=scale.networks
    )
    space = space_named("macro", resolution=RESOLUTION, classes=len(data.class_names))
    bench = Bench(space=space, data=data, truth=truth, scale=scale, only=args.only)
    with kept_in(args.runs) as runs:
        rows = bench.run(runs, workers=args.workers)
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print(*map(line_of, rows), sep="\n")
    if args.csv:
        write_csv(args.csv, rows)
    if args.png:
        plot(args.png, rows, titles=TITLES)


TITLES = {
    "tau": "tau-b, all",
    "tau_top20": "tau-b, best 20 %",
    "tau_across": "tau-b, across children",
    "regret": "regret, points",
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--only", choices=("core", "layers", "ablations"), default="")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--workers", type=int, default=len(allowed_cpus()))
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--png", type=Path)
    return parser.parse_args()


def freeze_convolutions(supernet: Supernet, part: Part) -> None:
    """Leave the convolutions of the split layers as they are, whatever is trained around them."""
    for layer, _ in part.groups:
        for module in supernet.layers[layer].modules():
            if isinstance(module, nn.Conv2d):
                module.requires_grad_(False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The experiment.

    Attributes:
        space: What is trained.
        data: Images; the validation split ranks.
        truth: True accuracies, at 32 pixels.
        scale: How much.
        only: Which methods; empty for all.
    """

    space: SearchSpace
    data: ImageData
    truth: Truth
    scale: Scale
    only: str

    def run(self, runs: Path, *, workers: int) -> list[dict[str, Any]]:
        """Train and judge all methods; return a row for each and every seed."""
        phi = measured_phi(self.space, self.data, runs / "phi.json")
        seeds = range(self.scale.seeds)
        # the parents first: all children start from theirs
        supernets = [(seed, name) for name in (PARENT, EQUAL) for seed in seeds]
        children = [(seed, method) for seed in seeds for method in methods_of(self.only, seed)]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for jobs in (supernets, children):
                waiting = [pool.submit(score_one, self, runs, *job) for job in jobs]
                for each in waiting:
                    each.result()
        rows = [row for seed in seeds for row in self.rows(runs, seed, phi)]
        return [*rows, *self.free()]

    def rows(self, runs: Path, seed: int, phi: float) -> Iterator[dict[str, Any]]:
        """Return the figures of all methods of a seed."""
        parent = self.scored(runs, seed, PARENT)
        usual = self.partition(SPLITS[3])
        for name in (PARENT, EQUAL):
            cost = _row_cost([run_cost(self.folder(runs, seed, name), what="parent")], phi)
            found = self.scored(runs, seed, name)
            yield self.row(name, 1, seed, cost, found.accuracy, usual, loss=found.loss)
        before = run_cost(self.folder(runs, seed, PARENT), what="parent")
        for method in methods_of(self.only, seed):
            partition = self.partition(method.splits)
            folder = self.folder(runs, seed, method.name)
            count = len(partition.parts)
            costs = [run_cost(child_dir(folder, i), what="child") for i in range(count)]
            total = [before, *costs] if method.transfer else costs
            cost = _row_cost(total, phi)
            found = self.scored(runs, seed, method)
            pairs = partition if count > 1 else usual
            yield self.row(method.name, count, seed, cost, found.accuracy, pairs, loss=found.loss)
            if count > 1 and method in CORE:
                yield from self.mended(method, partition, seed, cost, (parent, found), phi)

    def mended(
        self,
        method: Method,
        partition: Partition,
        seed: int,
        cost: dict[str, float],
        scores: tuple[Scores, Scores],
        phi: float,
    ) -> Iterator[dict[str, Any]]:
        """Return the rows of children whose scores were made to compare.

        Args:
            method: Its name.
            partition: Its parts.
            seed: Its seed, and that of the draws.
            cost: Its cost so far.
            scores: The parent's, and the children's.
            phi: Cost of scoring an image over that of training on it.
        """
        of_parent, of_children = (each.accuracy for each in scores)
        groups = self.groups(partition)
        rng = np.random.default_rng(seed)
        both = {"shifted": of_children.copy(), "shifted and scaled": of_children.copy()}
        compared = 0
        for group in np.unique(groups):
            inside = np.flatnonzero(groups == group)
            some = rng.choice(inside, min(MENDING, len(inside)), replace=False)
            compared += len(some)
            mine, parents = of_children[some], of_parent[some]
            centred = of_children[inside] - mine.mean()
            both["shifted"][inside] = centred + parents.mean()
            spread = parents.std() / mine.std() if mine.std() > 0 else 1.0
            both["shifted and scaled"][inside] = centred * spread + parents.mean()
        more = {  # what the parent scored; the children's own scores are those that rank
            **cost,
            "cost_images": cost["cost_images"] + phi * compared * self.scale.validation,
        }
        for name, mended in both.items():
            label = f"{method.name}, {name}"
            yield self.row(label, len(partition.parts), seed, more, mended, partition)
        archs = self.truth.archs
        rows = rng.choice(len(archs), min(FITTED, len(archs)), replace=False)
        fitted = fit_additive(self.space, [archs[i] for i in rows], of_children[rows].tolist())
        label, values = f"{method.name}, additive", np.array(fitted(archs))
        yield self.row(label, len(partition.parts), seed, cost, values, partition)

    def free(self) -> Iterator[dict[str, Any]]:
        """Return the rows of what costs nothing."""
        nothing = {"cost_images": 0.0, "cost_macs": 0.0}
        usual = self.partition(SPLITS[3])
        yield self.row("flops", 0, 0, nothing, self.truth.macs, usual)
        rng = np.random.default_rng(0)
        for seed in range(self.scale.seeds):
            scores = rng.random(len(self.truth.archs))
            yield self.row("random", 0, seed, nothing, scores, usual)

    def row(
        self,
        method: str,
        k: int,
        seed: int,
        cost: dict[str, float],
        scores: NDArray[np.float64],
        partition: Partition,
        *,
        loss: NDArray[np.float64] | None = None,
    ) -> dict[str, Any]:
        """Return one row; pairs are within or across the parts of a partition."""
        groups = self.groups(partition)
        same = groups[:, None] == groups
        best = np.argsort(-scores, kind="stable")[:PICKED]
        costs: Costs = {"macs": (self.truth.macs, MAC_LIMITS)}
        by_loss = {} if loss is None else {"tau_by_loss": kendall_tau(-loss, self.truth.mean)}
        return {
            "method": method,
            "k": k,
            "seed": seed,
            **cost,
            **judged(scores, self.truth, costs),
            "tau_across": tau_of_pairs(scores, self.truth.mean, ~same),
            "tau_within": tau_of_pairs(scores, self.truth.mean, same),
            "best_of_top10": float(100 * self.truth.mean[best].max()),
            **by_loss,
        }

    def groups(self, partition: Partition) -> NDArray[np.intp]:
        """Return for each network the part that it is in, ``(networks,)``."""
        return np.array([partition.index(arch) for arch in self.truth.archs], np.intp)

    def partition(self, splits: Sequence[str]) -> Partition:
        """Return the parts of some splits."""
        return partition_from_texts(splits, self.space)

    def folder(self, runs: Path, seed: int, name: str) -> Path:
        """Return where a method's run is."""
        return runs / f"{name.replace(',', '').replace(' ', '-')}-{seed}"

    def settings(self, seed: int, epochs: int, *, warmup: float) -> TrainSettings:
        """Return how a supernet is trained."""
        return TrainSettings(
            epochs=epochs,
            batch=BATCH,
            learning_rate=LEARNING_RATE,
            seed=seed,
            threads=1,
            warmup_epochs=min(warmup, epochs / 2),
        )

    def spent(self, images: float) -> tuple[ImageData, int]:
        """Return data and epochs that come to so many training images, to half a batch each.

        Two batches at least: a cosine over one is none.
        """
        epochs = max(1, -(-round(images) // len(self.data.training)))
        batches = max(2, round(images / epochs / BATCH))
        return replace(self.data, training=first(self.data.training, batches * BATCH)), epochs

    def train_supernet(self, runs: Path, seed: int, name: str) -> Supernet:
        """Train the parent, or the supernet that has the whole cost to itself; or load it."""
        data, epochs = self.spent(self.scale.images / (2 if name == PARENT else 1))
        run_dir = self.folder(runs, seed, name)
        paths = Unstopped(uniform_paths(self.space), self.space)
        settings = self.settings(seed, epochs, warmup=1.0)
        return train(self.space, data, settings, run_dir, method="uniform", paths=paths).supernet

    def train_children(self, runs: Path, seed: int, method: Method) -> RoutedSupernet:
        """Train the children of a method, or load them.

        From scratch they have the parent's half as well: nothing was spent on one.
        """
        partition = self.partition(method.splits)
        share = self.scale.images / (2 if method.transfer else 1)
        data, epochs = self.spent(share / len(partition.parts))
        run_dir = self.folder(runs, seed, method.name)
        train_children(
            partition,
            data,
            self.settings(seed, epochs, warmup=0.0 if method.transfer else 1.0),
            run_dir,
            weights=self.folder(runs, seed, PARENT) if method.transfer else None,
            options={"frozen": method.frozen, "images": len(data.training)},
            prepare=freeze_convolutions if method.frozen else None,
        )
        return RoutedSupernet(partition, [child for child, _ in load_children(run_dir, partition)])

    def scored(self, runs: Path, seed: int, method: Method | str) -> Scores:
        """Score all networks on images that no training has seen, once."""
        name = method if isinstance(method, str) else method.name
        kept = self.folder(runs, seed, name) / f"scores-{self.scale.validation}.npz"
        if not kept.exists():
            found = self.score(runs, seed, method)
            np.savez(kept, loss=found.loss, accuracy=found.accuracy)
        known = np.load(kept)
        return Scores(archs=self.truth.archs, loss=known["loss"], accuracy=known["accuracy"])

    def score(self, runs: Path, seed: int, method: Method | str) -> Scores:
        """Train a method and score all networks, each by the child that holds it."""
        images, labels = next(self.data.validation.batches(len(self.data.validation)))
        if isinstance(method, str):
            supernet = self.train_supernet(runs, seed, method)
            return score_some(supernet, self.truth.archs, images, labels)
        routed = self.train_children(runs, seed, method)
        loss, accuracy = np.empty((2, len(self.truth.archs)))
        groups = self.groups(routed.partition)
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            archs: list[Architecture] = [self.truth.archs[i] for i in rows]
            found = score_some(routed.child(archs[0]), archs, images, labels)
            loss[rows], accuracy[rows] = found.loss, found.accuracy
        return Scores(archs=self.truth.archs, loss=loss, accuracy=accuracy)


def score_one(bench: Bench, runs: Path, seed: int, method: Method | str) -> None:
    """Train and score one method in a process of its own; both are kept."""
    torch.set_num_threads(1)
    bench.scored(runs, seed, method)


def tau_of_pairs(
    scores: NDArray[np.float64], truth: NDArray[np.float64], pairs: NDArray[np.bool_]
) -> float:
    """Return Kendall's tau-b over some of the pairs; no number where one side is all ties.

    Args:
        scores: ``(networks,)``.
        truth: ``(networks,)``.
        pairs: ``(networks, networks)``, symmetric; the diagonal does not count.
    """
    counted = np.triu(pairs, 1)
    one, other = (np.sign(v[:, None] - v)[counted] for v in (scores, truth))
    untied = np.count_nonzero(one) * np.count_nonzero(other)
    return float((one * other).sum() / np.sqrt(untied)) if untied else float("nan")


def _row_cost(costs: Sequence[Cost], phi: float) -> dict[str, float]:
    trained = sum(cost.images_trained for cost in costs)
    scored = sum(cost.images_scored for cost in costs)
    return {
        "cost_images": cost_images(trained, scored=scored, phi=phi),
        "cost_macs": float(sum(cost.macs for cost in costs)),
    }


def line_of(row: dict[str, Any]) -> str:
    """Return a row for people."""
    return (
        f"{row['method']:32} seed {row['seed']}: cost {row['cost_images']:9.0f} images, "
        f"{row['cost_macs']:.2e} MACs; tau {row['tau']:.3f} (within {row['tau_within']:.3f}, "
        f"across {row['tau_across']:.3f}), top 20 % {row['tau_top20']:.3f}, regret "
        f"{row['regret']:.2f} points, best of top 10 {row['best_of_top10']:.2f} %"
    )


if __name__ == "__main__":
    main()
