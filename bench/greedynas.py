"""What greedy training of a supernet is worth, at equal cost, against networks' true accuracies.

Supernets of the macro space are trained on real CIFAR-10 images (recompressed as JPEG) by every
rule of drawing paths, at equal cost: a scored image counts as the share of a trained one that this
machine measures (phi). A sample of the 3,969 distinct networks, the same for all methods, is then
scored with inherited weights on held-out images, each batch normalised by itself, and ranked
against the accuracies in NAS-Bench-Macro. Beside them: counting operations, random scores, and a
layer-additive predictor fitted to some scores of the uniform supernet.

    LATKIT_DATA=DIR python bench/greedynas.py [--quick] [--json] [--seeds N] [--runs DIR]
                                              [--table T.lut] [--workers N] [--csv F] [--png F]

With --runs the supernets stay, and a run that was cut off goes on. With --table regret is asked
under limits of latency on that device, too.
"""

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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
from lut import latency_model, load_table
from search.greedynas.sampler import GreedyPaths, GreedySettings, cost_images, greedy_paths
from search.images.data import ImageData, Split
from search.metrics import kendall_tau
from search.predictor import fit_additive
from search.space import SearchSpace, as_choices
from search.spaces import space_named
from search.supernets.evaluation import Evaluator, calibration_images
from search.supernets.ranking import Scores
from search.supernets.supernet import Supernet
from search.training.loop import train
from search.training.path_samplers import PathSampler, fair_paths, sandwich_paths, uniform_paths
from search.training.settings import TrainSettings
from search.training.trained import TrainedRun
from search.truths.truth import Truth

LATENCY_QUANTILES = (0.2, 0.4, 0.6, 0.8)
"""Budgets on a device: these shares of the networks keep them."""

FITTED = 100
"""Networks that the additive predictor sees."""

PROTOCOL_NETWORKS = 24
"""Networks that every batch-norm protocol evaluates."""

SURROGATES = (50, 100)
"""Sizes of surrogate sets that are compared with all images that rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is trained and evaluated.

    Attributes:
        training: Training images.
        networks: Distinct networks that are ranked.
        validation: Held-out images that networks are ranked by; none of them is the surrogate's.
        surrogate: Other held-out images.
        many: Held-out images of the surrogate set of the paper's size, none of them ranking.
        epochs: Of uniform training; the others get as many as cost the same.
        seeds: Repetitions.
    """

    training: int = 4000
    networks: int = 300
    validation: int = 400
    surrogate: int = 500
    many: int = 1000
    epochs: int = 12
    seeds: int = 3


QUICK = Scale(
    training=640, networks=200, validation=256, surrogate=200, many=300, epochs=4, seeds=1
)


def main() -> None:
    """Train, rank and print."""
    args = _arguments()
    torch.set_num_threads(1)
    scale = QUICK if args.quick else Scale()
    scale = replace(scale, seeds=args.seeds or scale.seeds)
    data, truth = material(
        training=scale.training,
        held_out=scale.many + scale.validation,
        networks=scale.networks,
    )
    space = space_named("macro", resolution=RESOLUTION, classes=len(data.class_names))
    costs: dict[str, tuple[NDArray[np.float64], tuple[float, ...]]] = {
        "macs": (truth.macs, MAC_LIMITS)
    }
    if args.table:
        latency_s = latency_model(load_table(args.table), truth.space).latency_s(
            as_choices(list(truth.archs))
        )
        costs["latency"] = (latency_s, tuple(np.quantile(latency_s, LATENCY_QUANTILES)))
    bench = Bench(space=space, data=data, truth=truth, costs=costs, scale=scale)
    with kept_in(args.runs) as runs:
        rows, more = bench.run(runs, workers=args.workers)
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        for line in (*map(line_of, rows), *more):
            print(line)
    if args.csv:
        write_csv(args.csv, rows)
    if args.png:
        plot(args.png, rows, titles=TITLES)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--workers", type=int, default=len(allowed_cpus()))
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--png", type=Path)
    return parser.parse_args()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The experiment.

    Attributes:
        space: What is trained.
        data: Images; the first of the validation split are the surrogate's, the others rank.
        truth: True accuracies, at 32 pixels.
        costs: Name to ``(networks,)`` costs and limits that regret is asked under.
        scale: How much.
    """

    space: SearchSpace
    data: ImageData
    truth: Truth
    costs: Costs
    scale: Scale

    def run(self, runs: Path, *, workers: int) -> tuple[list[dict[str, Any]], list[str]]:
        """Train and judge all methods; return rows, and lines on the side experiments."""
        phi = measured_phi(self.space, self.data, runs / "phi.json")
        jobs = [(seed, method) for seed in range(self.scale.seeds) for method in METHODS]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            waiting = [
                pool.submit(train_one, self, runs, method, seed, phi) for seed, method in jobs
            ]
            for each in waiting:
                each.result()
        rows: list[dict[str, Any]] = []
        more = [f"phi, a scored image over a trained one: {phi:.2f}"]
        for seed in range(self.scale.seeds):
            for method in METHODS:
                trained, paths = self.trained(runs, method, seed, phi)
                scores = self.scored(runs, method, seed, phi)
                row = {"method": method, "seed": seed, **self.cost(paths, trained, phi)}
                rows.append(row | judged(scores.accuracy, self.truth, self.costs))
                rows[-1]["tau_by_loss"] = kendall_tau(-scores.loss, self.truth.mean)
                if method == "uniform":
                    cost = self.cost(paths, trained, phi)
                    rows.append(self.additive(scores, seed) | cost)
                more += self.aside(method, seed, trained, paths, scores)
        rng = np.random.default_rng(0)
        for seed in range(self.scale.seeds):
            rows.append(self.free("random", seed, rng.random(len(self.truth.archs))))
        rows.append(self.free("flops", 0, self.truth.macs))
        return rows, more

    @property
    def ranking(self) -> Split:
        """Held-out images that networks are ranked by: none of the surrogate's."""
        return first(self.data.validation, self.scale.validation, start=self.scale.surrogate)

    def aside(
        self, method: str, seed: int, run: TrainedRun, paths: Unstopped, scores: Scores
    ) -> list[str]:
        """Return what else a run shows."""
        if method == "greedy":
            return [turnover_line(paths, seed)]
        if method == "uniform" and seed == 0:
            return [*self.on_batch_norm(run, seed), *self.on_scoring(run.supernet, scores)]
        return []

    def trained(
        self, runs: Path, method: str, seed: int, phi: float
    ) -> tuple[TrainedRun, Unstopped]:
        """Train a supernet by one method at the common cost, or load it."""
        torch.set_num_threads(1)  # this may be a process of its own
        settings = TrainSettings(
            epochs=self.epochs(method),
            batch=BATCH,
            learning_rate=LEARNING_RATE,
            seed=seed,
            threads=1,
            warmup_epochs=1.0,
        )
        paths = Unstopped(self.sampler(method, settings, phi), self.space)
        run_dir = runs / f"{method}-{seed}"
        run = train(self.space, self.data, settings, run_dir, method=method, paths=paths)
        return run, paths

    def epochs(self, method: str) -> int:
        """Return epochs that cost what uniform training does."""
        return max(2, round(self.scale.epochs / METHODS[method]))

    def sampler(self, method: str, settings: TrainSettings, phi: float) -> PathSampler:
        """Return what draws the paths of a method."""
        if method == "greedy":
            return self.greedy(settings, phi)
        if method == GREEDY_MANY:
            return self.greedy_many(settings, phi)
        make = {"uniform": uniform_paths, "fair": fair_paths, "sandwich": sandwich_paths}
        return make[method](self.space)

    def greedy(self, settings: TrainSettings, phi: float) -> GreedyPaths:
        """Return the greedy sampler, its surrogate as large as fills up the common cost."""
        plain = GreedySettings()
        steps = len(self.data.training) // BATCH
        spare = (self.scale.epochs - settings.epochs) * steps * BATCH / phi
        groups = -(-settings.epochs * steps * (1 - plain.warmup) // plain.kept)
        surrogate = round(spare / (groups * plain.paths))
        surrogate = min(max(2, surrogate), self.scale.surrogate)
        return greedy_paths(self.space, self.data, settings, replace(plain, surrogate=surrogate))

    def greedy_many(self, settings: TrainSettings, phi: float) -> GreedyPaths:
        """Return the greedy sampler with a surrogate of the paper's size, warm until it pays."""
        plain, held_out = GreedySettings(), self.data.validation
        others = first(
            held_out, self.scale.many, start=self.scale.surrogate + self.scale.validation
        )
        mine = first(held_out, self.scale.surrogate)
        validation = replace(
            held_out,
            rows=np.concatenate([mine.rows, others.rows]),
            labels=np.concatenate([mine.labels, others.labels]),
        )
        steps = len(self.data.training) // BATCH
        spare = (self.scale.epochs - settings.epochs) * steps * BATCH / phi
        groups = round(spare / (self.scale.many * plain.paths))
        warmup = 1 - groups * plain.kept / (settings.epochs * steps)
        greedy = replace(plain, surrogate=self.scale.many, warmup=max(0.0, warmup))
        data = replace(self.data, validation=validation)
        return greedy_paths(self.space, data, settings, greedy)

    def cost(self, paths: Unstopped, run: TrainedRun, phi: float) -> dict[str, float]:
        """Return what a training cost, in trained images and in operations."""
        per_step = {"fair": 3, "sandwich": 4}.get(run.record.method, 1)
        steps = run.epoch * (len(self.data.training) // BATCH)
        trained = steps * per_step * BATCH
        mean_macs = paths.macs / (steps * per_step)
        return {
            "cost_images": cost_images(trained, scored=paths.scored_images, phi=phi),
            # a training image goes forward once and backward at twice the cost
            "cost_macs": 3 * paths.macs * BATCH + paths.scored_images * mean_macs,
        }

    def scored(self, runs: Path, method: str, seed: int, phi: float) -> Scores:
        """Score all networks on images that no training and no surrogate has seen, once."""
        kept = runs / f"{method}-{seed}" / f"scores-{self.scale.validation}.npz"
        if kept.exists():
            known = np.load(kept)
            return Scores(archs=self.truth.archs, loss=known["loss"], accuracy=known["accuracy"])
        run, _ = self.trained(runs, method, seed, phi)
        images, labels = next(self.ranking.batches(len(self.ranking)))
        scores = score_some(run.supernet, self.truth.archs, images, labels)
        np.savez(kept, loss=scores.loss, accuracy=scores.accuracy)
        return scores

    def free(self, method: str, seed: int, scores: NDArray[np.float64]) -> dict[str, Any]:
        """Return the row of scores that cost nothing."""
        nothing = {"cost_images": 0.0, "cost_macs": 0.0}
        return {"method": method, "seed": seed, **nothing, **judged(scores, self.truth, self.costs)}

    def additive(self, scores: Scores, seed: int) -> dict[str, Any]:
        """Fit the additive predictor to some scores of the supernet, and rank by it."""
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(scores.archs), FITTED, replace=False)
        fitted = fit_additive(
            self.space, [scores.archs[i] for i in rows], scores.accuracy[rows].tolist()
        )
        return self.free("uniform, additive", seed, np.array(fitted(scores.archs)))

    def on_scoring(self, supernet: Supernet, full: Scores) -> Iterator[str]:
        """Say how few images rank like all of them, by loss and by accuracy."""
        split = self.ranking
        images, labels = next(split.batches(len(split)))
        for count in (n for n in SURROGATES if n < len(split)):
            some = score_some(supernet, full.archs, images[:count], labels[:count])
            taus = (kendall_tau(values, full.accuracy) for values in (-some.loss, some.accuracy))
            by_loss, by_accuracy = taus
            yield (
                f"{count} images against {len(split)}: tau {by_loss:.3f} by loss, "
                f"{by_accuracy:.3f} by accuracy"
            )

    def on_batch_norm(self, run: TrainedRun, seed: int) -> Iterator[str]:
        """Say how the protocols of batch norm rank a sample of networks."""
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(self.truth.archs), PROTOCOL_NETWORKS, replace=False)
        archs = [self.truth.archs[i] for i in rows]
        split = self.ranking
        calibration = calibration_images(self.data.training)
        for protocol in ("recalibrate", "batch", "inherit"):
            judge = Evaluator(run.supernet, split, calibration=calibration, batch_norm=protocol)
            found = np.array(judge(archs))
            yield (
                f"batch norm {protocol}, seed {seed}: mean accuracy {found.mean():.1%}, tau "
                f"{kendall_tau(found, self.truth.mean[rows]):.3f} on {len(rows)} networks"
            )


def train_one(bench: Bench, runs: Path, method: str, seed: int, phi: float) -> None:
    """Train one supernet in a process of its own, and score all networks; both are kept."""
    bench.scored(runs, method, seed, phi)


TITLES = {"tau": "Kendall tau-b", "tau_top20": "tau-b, best 20 %", "regret": "regret, points"}

GREEDY_MANY = "greedy-1000"
"""Greedy with a surrogate set of the paper's size: with few training images, nearly all of the
cost is scoring then."""

METHODS = {"uniform": 1.0, "greedy": 1.5, GREEDY_MANY: 6.0, "fair": 3.0, "sandwich": 4.0}
"""Method to what an epoch costs, in epochs of uniform training; greedy's surrogate makes it so."""


def turnover_line(paths: Unstopped, seed: int) -> str:
    """Say how the pool settled, and what stopping by it would have saved."""
    turnovers = paths.state()["paths"]["turnovers"]
    alpha = GreedySettings().turnover
    stop = next((i for i, share in enumerate(turnovers, start=1) if share <= alpha), None)
    ends = f"would stop after {stop}" if stop else f"never falls to {alpha}"
    values = " ".join(f"{share:.2f}" for share in turnovers)
    return f"turnover of the pool, seed {seed}, epoch by epoch since it was full: {values}; {ends}"


def line_of(row: dict[str, Any]) -> str:
    """Return a row for people."""
    extra = f", under latency {row['regret_latency']:.2f}" if "regret_latency" in row else ""
    return (
        f"{row['method']:18} seed {row['seed']}: cost {row['cost_images']:9.0f} images, "
        f"{row['cost_macs']:.2e} MACs; tau {row['tau']:.3f}, top 20 % {row['tau_top20']:.3f}, "
        f"regret {row['regret']:.2f} points{extra}"
    )


if __name__ == "__main__":
    main()
