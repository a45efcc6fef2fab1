"""What a generator's answers are worth by inherited weights, and whether fair paths pay.

Supernets of the macro space at half its width are trained on CIFAR-10 (JPEGs, 16 pixels) by fair
paths and score all networks on held-out images that normalise themselves. Those scores are what
every method sees, and NAS-Bench-Macro judges. A generator is trained over the frozen weights with
cross-entropy, as published, on other held-out images. What that costs is counted in operations
and given to evolution as well, as so many networks more.

Whether paths are drawn fairly or uniformly is asked of the unified blocks: from equal numbers of
images, how accurate are random networks with inherited weights?
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.kept import kept_in
from bench.ranking_truth import BATCH, LEARNING_RATE, RESOLUTION, first, material
from bench.sgnas_figures import Row, knowing_all, row_of, show, summaries
from bench.sgnas_generators import answer, seconds
from bench.sgnas_question import Evaluations, Question, operations_model
from bench.sgnas_rivals import RIVALS, evolution
from bench.sgnas_scale import Scale
from profiler import total_macs
from search.images.data import ImageData, Split
from search.proxies.narrow import narrowed
from search.sgnas.gates import gates_of
from search.sgnas.generators import train_generator
from search.sgnas.objectives import CrossEntropy
from search.sgnas.settings import GeneratorSettings
from search.space import SearchSpace
from search.spaces import space_named
from search.supernets.evaluation import Evaluator, calibration_images
from search.supernets.ranking import Scores, score_all
from search.training.loop import train
from search.training.path_samplers import sampler_named
from search.training.settings import TrainSettings
from search.training.trained import TrainedRun
from search.truths.truth import Truth

CUT = 2
"""Halvings of the operations, through the widths."""

NETWORKS = 3969
"""All distinct networks of the macro space."""

FAIR_PATHS = {"macro": 3, "unified-macro": 6}
"""Paths of a fair step, each of which takes a batch of images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetScale:
    """How much is trained and evaluated.

    Attributes:
        training: Training images.
        ranking: Held-out images that networks are scored by.
        guiding: Other held-out images: those that the generator learns from.
        epochs: Of the macro supernets, in uniform training; fair epochs are fewer and cost as much.
        unified: Of the unified supernets, likewise.
        networks: Random unified networks that are evaluated.
        generator: Epochs of a generator.
    """

    training: int = 4000
    ranking: int = 500
    guiding: int = 1000
    epochs: int = 12
    unified: int = 6
    networks: int = 30
    generator: int = 25


QUICK_SUPERNET = SupernetScale(
    training=640, ranking=200, guiding=128, epochs=6, unified=6, networks=6, generator=3
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Supernets:
    """Runs on the images, kept in a folder.

    Attributes:
        data: Images; of the validation split the first rank networks, the others guide generators.
        truth: True accuracies of the macro space, at 32 pixels.
        runs: Where runs are kept; one that was cut off goes on.
        scale: How much.
    """

    data: ImageData
    truth: Truth
    runs: Path
    scale: SupernetScale

    @property
    def ranking(self) -> Split:
        """Held-out images that networks are scored by."""
        return first(self.data.validation, self.scale.ranking)

    @property
    def guiding(self) -> Split:
        """Held-out images that generators learn from."""
        return first(self.data.validation, self.scale.guiding, start=self.scale.ranking)

    def trained(self, name: str, method: str, seed: int, *, epochs: int) -> TrainedRun:
        """Train a supernet, or load it.

        Args:
            name: Of the space.
            method: How paths are drawn.
            seed: Of weights, paths and images.
            epochs: Of uniform training; a fair step takes more images, so there are fewer of them.
        """
        if method == "fair":
            epochs = max(1, round(epochs / FAIR_PATHS[name]))
        settings = TrainSettings(
            epochs=epochs,
            batch=BATCH,
            learning_rate=LEARNING_RATE,
            seed=seed,
            threads=1,
            warmup_epochs=min(1.0, epochs / 4),
        )
        space = self.space(name)
        return train(
            space,
            self.data,
            settings,
            self.runs / f"{name}-{method}-{seed}",
            method=method,
            paths=sampler_named(method, space),
        )

    def space(self, name: str) -> SearchSpace:
        """Return a space of the images, at half its width."""
        space = space_named(name, resolution=RESOLUTION, classes=len(self.data.class_names))
        return narrowed(space, CUT)

    def scored(self, run: TrainedRun, seed: int) -> Scores:
        """Score all networks of the macro space by one run, once."""
        kept = self.runs / f"macro-fair-{seed}" / f"scores-{self.scale.ranking}.npz"
        if kept.exists():
            known = np.load(kept)
            return Scores(archs=self.truth.archs, loss=known["loss"], accuracy=known["accuracy"])
        images, labels = next(self.ranking.batches(len(self.ranking)))
        scores = score_all(run.supernet, images, labels, batch=len(labels))
        np.savez(kept, loss=scores.loss, accuracy=scores.accuracy)
        return scores


def supernets(runs: Path, scale: SupernetScale) -> Supernets:
    """Return the images and the networks with what they are really worth."""
    held_out = scale.ranking + scale.guiding
    data, truth = material(training=scale.training, held_out=held_out, networks=NETWORKS)
    return Supernets(data=data, truth=truth, runs=runs, scale=scale)


def answer_rows(nets: Supernets, scale: Scale, seed: int) -> list[Row]:
    """Return the rows of all methods that see what one supernet says.

    ``evolution, the generator's cost too`` has as many evaluations more as training the generator
    took operations.
    """
    run = nets.trained("macro", "fair", seed, epochs=nets.scale.epochs)
    seen = nets.scored(run, seed).accuracy
    truth = replace(nets.truth, seen=seen, protocol=("inherited weights", "trained alone"))
    model = operations_model(truth.space)
    question = Question(name="inherited", truth=truth, model=model, count=scale.targets)
    rows = [row | {"seed": seed} for row in knowing_all(question)]
    most = question.best(np.arange(len(seen)), truth.macs)
    rows.append(row_of(question, "most operations", seed, most, evaluations=0))
    settings = GeneratorSettings(epochs=nets.scale.generator, batch=32, decay=0.9, seed=seed)
    start = perf_counter()
    gates = gates_of(question.space, model)
    objective = CrossEntropy(run.supernet, gates, nets.guiding, batch=settings.batch)
    made = train_generator(question.space, model, objective, settings)
    train_s = perf_counter() - start
    asked = Evaluations(question=question)
    answer(made, asked, scale, seed, filling=scale.filling)
    more = {"train_s": train_s, "seconds": seconds(made, question)}
    rows.append(_row(asked, "sgnas", seed, **more))
    worth = scale.evaluations + generator_cost(nets, settings)
    for method in ("evolution", "nsga2", "random", "additive"):
        rows.append(_row(RIVALS[method](question, scale.evaluations, seed), method, seed))
    name = "evolution, the generator's cost too"
    rows.append(_row(evolution(question, worth, seed), name, seed))
    return rows


def _row(asked: Evaluations, method: str, seed: int, **more: Any) -> Row:
    return row_of(asked.question, method, seed, asked.answers, evaluations=len(asked.known), **more)


def generator_cost(nets: Supernets, settings: GeneratorSettings) -> int:
    """Return how many networks can be evaluated for the operations of training a generator.

    Every image goes forward and back through all choices of all layers; the weights are frozen, so
    the way back costs as much as the way forth.
    """
    space = nets.space("macro")
    images = settings.epochs * settings.steps * settings.targets * settings.batch
    ends = total_macs((*space.before, *space.after))
    every = ends + sum(total_macs(layer) for layer in space.layers)
    mean = ends + sum(total_macs(layer) / len(layer) for layer in space.layers)
    return round(2 * images * every / (nets.scale.ranking * mean))


def path_rows(nets: Supernets, seeds: int) -> list[Row]:
    """Train unified supernets by fair and by uniform paths; return a row for each.

    The accuracies are those of the same random networks, on the images that rank.
    """
    space = nets.space("unified-macro")
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(nets.scale.networks)]
    calibration = calibration_images(nets.data.training)
    rows: list[Row] = []
    for seed in range(seeds):
        for method in ("uniform", "fair"):
            start = perf_counter()
            run = nets.trained("unified-macro", method, seed, epochs=nets.scale.unified)
            judge = Evaluator(run.supernet, nets.ranking, calibration=calibration)
            found: NDArray[np.float64] = np.array(judge(archs))
            rows.append(
                {
                    "bounded": "paths",
                    "method": method,
                    "seed": seed,
                    "mean": float(found.mean()),
                    "least": float(found.min()),
                    "most": float(found.max()),
                    "networks": len(archs),
                    "seconds": perf_counter() - start,
                }
            )
    return rows


def path_line(row: Row) -> str:
    """Return a row of `path_rows` for people."""
    return (
        f"unified-macro, {row['method']:7} paths, seed {row['seed']}: {row['networks']} random "
        f"networks {row['mean']:.1%} on average ({row['least']:.1%} to {row['most']:.1%})"
    )


def supernet(args: argparse.Namespace, scale: Scale) -> None:
    """Ask methods that see inherited accuracies, and compare rules of drawing paths."""
    with kept_in(args.runs) as runs:
        nets = supernets(runs, QUICK_SUPERNET if args.quick else SupernetScale())
        rows = [row for seed in range(scale.seeds) for row in answer_rows(nets, scale, seed)]
        paths = path_rows(nets, min(2, scale.seeds))
    figures = summaries(rows, targets=scale.targets)["inherited"] | {"paths": paths}
    show(args, rows, figures, [path_line(row) for row in paths])
