"""What scores of children and of their rivals are worth: a row of figures each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.fewshot_subjects import EQUAL, PARENT, Method
from bench.fewshot_training import Trials
from bench.ranking_truth import Costs, judged
from search.greedynas.sampler import cost_images
from search.ledger import Cost
from search.predictor import fit_additive
from search.splits.split import Partition
from search.supernets.ranking import Scores

MENDING = 10
"""Networks of each child that a mend compares with the parent."""

FITTED = 100
"""Networks that the additive predictor sees."""

PICKED = 10
"""Networks of the highest scores, of which the truly best one is asked."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Makes rows of what was trained.

    Attributes:
        trials: What was trained.
        only: Which methods; empty for all.
        phi: Cost of scoring an image over that of training on it.
    """

    trials: Trials
    only: str
    phi: float

    def rows(self) -> list[Row]:
        """Return the figures of all that was scored so far, and of what costs nothing."""
        seeds = range(self.trials.scale.seeds)
        return [*(row for seed in seeds for row in self.trained(seed)), *self.free()]

    def trained(self, seed: int) -> Iterator[Row]:
        """Return the figures of all methods of a seed that have been scored."""
        trials, subject = self.trials, self.trials.subject
        asked: tuple[Method | str, ...] = (PARENT, EQUAL, *subject.methods(self.only, seed))
        for method in asked:
            if not trials.kept(seed, method).exists():
                continue
            cost = _row_cost(trials.costs(seed, method), self.phi)
            found = trials.known(seed, method)
            if isinstance(method, str):
                partition, count, name = subject.partition(subject.usual), 1, method
            else:
                partition, name = subject.partition(method.splits), method.name
                count = len(partition.parts)
            pairs = partition if count > 1 else subject.partition(subject.usual)
            yield self.row(name, count, seed, cost, found.accuracy, pairs, loss=found.loss)
            if isinstance(method, str) or method in subject.core:
                values = self.additive(seed, found)
                yield self.row(f"{name}, additive", count, seed, cost, values, pairs)
            if isinstance(method, Method) and method in subject.core and count > 1:
                scores = (trials.known(seed, PARENT), found)
                yield from self.mended(method, partition, seed, cost, scores)

    def mended(
        self,
        method: Method,
        partition: Partition,
        seed: int,
        cost: dict[str, float],
        scores: tuple[Scores, Scores],
    ) -> Iterator[Row]:
        """Return the rows of children whose scores were made to compare.

        Args:
            method: Its name.
            partition: Its parts.
            seed: Its seed, and that of the draws.
            cost: Its cost so far.
            scores: The parent's, and the children's.
        """
        of_parent, of_children = (each.accuracy for each in scores)
        groups = self.trials.groups(partition)
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
            "cost_images": cost["cost_images"] + self.phi * compared * self.trials.scale.validation,
        }
        count = len(partition.parts)
        for name, mended in both.items():
            yield self.row(f"{method.name}, {name}", count, seed, more, mended, partition)

    def additive(self, seed: int, found: Scores) -> NDArray[np.float64]:
        """Return what a layer-additive predictor says that saw some scores of a method.

        Args:
            seed: Of the draw of those; all methods of a seed show it the same networks.
            found: The scores.
        """
        archs = self.trials.subject.truth.archs
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(archs), min(FITTED, len(archs)), replace=False)
        some_scores = found.accuracy[rows].tolist()
        fitted = fit_additive(self.trials.subject.space, [archs[i] for i in rows], some_scores)
        return np.array(fitted(archs))

    def free(self) -> Iterator[Row]:
        """Return the rows of what costs nothing."""
        nothing = {"cost_images": 0.0, "cost_macs": 0.0}
        subject = self.trials.subject
        usual = subject.partition(subject.usual)
        yield self.row("flops", 0, 0, nothing, subject.truth.macs, usual)
        rng = np.random.default_rng(0)
        for seed in range(self.trials.scale.seeds):
            scores = rng.random(len(subject.truth.archs))
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
    ) -> Row:
        """Return one row; pairs are within or across the parts of a partition."""
        scale, subject = self.trials.scale, self.trials.subject
        truth = subject.truth
        groups = self.trials.groups(partition)
        same = groups[:, None] == groups
        best = np.argsort(-scores, kind="stable")[:PICKED]
        costs: Costs = {"macs": (truth.macs, subject.limits)}
        return {
            "space": subject.space.name,
            "method": method,
            "k": k,
            "seed": seed,
            "training_images": scale.training,
            **cost,
            **judged(scores, truth, costs),
            "tau_across": tau_of_pairs(scores, truth.mean, ~same),
            "tau_within": tau_of_pairs(scores, truth.mean, same),
            "best_of_top10": float(100 * truth.mean[best].max()),
            **({} if loss is None else by_loss(judged(-loss, truth, costs))),
        }


def by_loss(figures: Row) -> Row:
    """Return what networks ranked by their loss are worth, beside what they are by accuracy."""
    names = ("tau", "tau_top20", "regret")
    return {f"{name}_by_loss": figures[name] for name in names}


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


def line_of(row: Row) -> str:
    """Return a row for people."""
    return (
        f"{row['method']:32} seed {row['seed']}: cost {row['cost_images']:9.0f} images, "
        f"{row['cost_macs']:.2e} MACs; tau {row['tau']:.3f} (within {row['tau_within']:.3f}, "
        f"across {row['tau_across']:.3f}), top 20 % {row['tau_top20']:.3f}, regret "
        f"{row['regret']:.2f} points, best of top 10 {row['best_of_top10']:.2f} %"
    )
