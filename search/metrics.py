"""How well networks are ranked: figures for experiments, pure functions of arrays.

Needs scipy, which scikit-learn brings; import it by name.

Two rules of fair figures live here. Rank correlations count ties (tau-b). And what is true of the
best networks is asked by other training runs than those that chose them: of networks that were
selected by a noisy accuracy, the same accuracy says little.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

Values = NDArray[np.float64]

TOP_SHARE = 0.2
"""Share of the networks that count as the best ones."""


def kendall_tau(scores: Values, truth: Values) -> float:
    """Return Kendall's tau-b of two rankings, in [-1, 1]; no number where one is all ties.

    Args:
        scores: ``(networks,)``, larger is better.
        truth: ``(networks,)``.
    """
    return float(stats.kendalltau(scores, truth, variant="b").statistic)


def spearman(scores: Values, truth: Values) -> float:
    """Return Spearman's correlation of ranks, in [-1, 1]; no number where one is all ties.

    Arguments are those of `kendall_tau`.
    """
    ranks = np.stack([stats.rankdata(scores), stats.rankdata(truth)])
    if (np.ptp(ranks, axis=1) == 0.0).any():
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def top_tau(scores: Values, accuracy: Values, *, share: float = TOP_SHARE) -> float:
    """Return the tau-b of the best networks, chosen by one training run and judged by the others.

    Args:
        scores: ``(networks,)``, larger is better.
        accuracy: ``(networks, runs)``, two runs or more. The first one chooses, and the mean of
            the others is the truth.
        share: Of the networks that are chosen, in (0, 1]; rounded to whole networks.
    """
    if accuracy.ndim != 2 or accuracy.shape[1] < 2:
        raise ValueError(f"one run chooses and others judge; got accuracies {accuracy.shape}")
    chosen = np.argsort(-accuracy[:, 0], kind="stable")[: round(share * len(accuracy))]
    return kendall_tau(scores[chosen], accuracy[chosen, 1:].mean(axis=1))


def regrets(scores: Values, truth: Values, costs: Values, *, limits: Sequence[float]) -> Values:
    """Return what picking by scores loses against knowing the truth, under each limit.

    The network of the highest score within a limit is picked, of equals the cheapest.

    Args:
        scores: ``(networks,)``, larger is better.
        truth: ``(networks,)`` accuracies.
        costs: ``(networks,)`` latencies or operations.
        limits: Largest acceptable costs.

    Returns:
        ``(limits,)``, in the unit of the truth, 0 or more.

    Raises:
        ValueError: No network keeps one of the limits.
    """
    lost = []
    for limit in limits:
        inside = np.flatnonzero(costs <= limit)
        if not len(inside):
            raise ValueError(f"no network costs {limit:g} or less; the cheapest {costs.min():g}")
        picked = inside[np.lexsort((costs[inside], -scores[inside]))[0]]
        lost.append(truth[inside].max() - truth[picked])
    return np.array(lost)


def bootstrap_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    *,
    count: int,
    rng: np.random.Generator,
    draws: int = 1000,
    coverage: float = 0.95,
) -> tuple[float, float]:
    """Return where a statistic would lie with other networks of the same kind.

    Args:
        statistic: Takes the rows of a sample, ``(count,)`` indices with repetitions.
        count: Networks.
        rng: Draws the samples.
        draws: Samples.
        coverage: Share of the samples whose statistic is inside, in (0, 1).

    Source:
        Efron, Better bootstrap confidence intervals, JASA 82, 1987: the percentile interval.
    """
    values = [statistic(rng.integers(count, size=count)) for _ in range(draws)]
    low, high = np.quantile(values, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)
