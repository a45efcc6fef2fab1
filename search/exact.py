"""What is possible at all: exact answers wherever latency is a sum over layers.

A network is a path through the layers and its predicted latency the length of that path, so the
fastest and the slowest are shortest and longest paths, and the best sum of scores within a
budget is a shortest path under a resource constraint.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices import LatkitError
from lut import LatencyBudget, LatencyModel
from search.space import Architecture, SearchSpace, as_choices

MAX_LABELS = 4_000_000
"""Partial networks that `best_additive` compares in one layer at most: some 200 MB."""

ROUNDING = 1e-12
"""Relative difference between one sum and the same sum in another order."""


class NoFeasibleArchitecture(LatkitError):
    """No network of the space, or none that was found, keeps every budget."""


class NotAdditive(LatkitError):
    """A method needs latencies that are sums over layers, and they are not."""


class TooManyNetworks(LatkitError):
    """The exact answer would have to compare more networks than fit in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedArchitecture:
    """An architecture with its prediction on one device.

    Attributes:
        arch: The architecture.
        latency_s: Predicted seconds per inference.
        interval_s: Where the measured seconds should lie, see `lut.model.COVERAGE`.
    """

    arch: Architecture
    latency_s: float
    interval_s: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRange:
    """What a space spans on one device.

    Attributes:
        fastest: Smallest prediction of the space; the first of equal choices.
        slowest: Largest prediction.
    """

    fastest: PricedArchitecture
    slowest: PricedArchitecture


@dataclass(frozen=True, slots=True, kw_only=True)
class AdditiveOptimum:
    """The architecture of the largest sum of scores within a budget.

    Attributes:
        arch: The architecture; of equal scores the fastest.
        score: Sum of the scores of its choices.
        latency_s: Predicted seconds per inference.
    """

    arch: Architecture
    score: float
    latency_s: float


def feasible_range(model: LatencyModel) -> LatencyRange:
    """Return the fastest and the slowest architecture, exactly, see `LatencyModel.ends`."""
    ends = model.ends  # (2, layers)
    prices = model.price(ends)
    fastest, slowest = (
        PricedArchitecture(
            arch=Architecture(tuple(ends[i].tolist())),
            latency_s=float(prices.latency_s[i]),
            interval_s=(float(prices.low_s[i]), float(prices.high_s[i])),
        )
        for i in range(2)
    )
    return LatencyRange(fastest=fastest, slowest=slowest)


def check_feasible(space: SearchSpace, budgets: Sequence[LatencyBudget]) -> None:
    """Refuse budgets that no architecture of the space can keep; call it before any search.

    One budget is answered exactly. With several, each is checked on its own, which is necessary
    but not sufficient: the networks that suit one device may all be too slow on the other. Such a
    search runs to its end and then raises `NoFeasibleArchitecture` with the nearest that it met.

    Args:
        space: Where a search would look.
        budgets: The bounds to keep, one or more; their models price this space.

    Raises:
        NoFeasibleArchitecture: A budget is below the minimum of the space; says how far.
        ValueError: There is no budget, or a model is of another space.
    """
    if not budgets:
        raise ValueError("a search needs a latency budget")
    for budget in budgets:
        _check_model(space, budget.model)
    reasons = [_shortfall(space, budget) for budget in budgets]
    if any(reasons):
        raise NoFeasibleArchitecture("; ".join(filter(None, reasons)))


def check_additive(space: SearchSpace, model: LatencyModel) -> None:
    """Check that a model prices every choice of every layer on its own.

    Raises:
        NotAdditive: It does not.
    """
    if model.together:
        raise NotAdditive(
            f"the latency of space {space.name!r} is no sum over its layers, they are priced "
            "together: what needs such a sum (exact optima, relaxations, explain) cannot be had "
            "there; evolution, nsga2 and random can"
        )


def _check_model(space: SearchSpace, model: LatencyModel) -> None:
    counts = [len(layer) for layer in space.layers]
    if model.counts.tolist() != counts:
        raise ValueError(
            f"the model of {model.device!r} has {model.counts.tolist()} choices a layer, "
            f"space {space.name!r} has {counts}"
        )


def _shortfall(space: SearchSpace, budget: LatencyBudget) -> str:
    """Return why no architecture keeps the budget; empty where one does."""
    fastest = feasible_range(budget.model).fastest
    # Priced as a search prices it: in canonical form, where sums round in another order.
    arch = space.canonical(fastest.arch)
    latency_s = float(budget.model.latency_s(as_choices([arch]))[0])
    if latency_s <= budget.allowed_s:
        return ""
    target, (low_s, high_s) = budget.target, fastest.interval_s
    enough_s = latency_s * target.limit_s / budget.allowed_s
    return (
        f"no network of space {space.name!r} keeps {milliseconds(target.limit_s)} on "
        f"{target.device!r}: the fastest, {arch}, is predicted to take {milliseconds(latency_s)} "
        f"({milliseconds(low_s)} to {milliseconds(high_s)}), and with {target.confidence:.3g} "
        f"confidence at most {milliseconds(budget.allowed_s)} may be predicted. Allow "
        f"{milliseconds(enough_s, up=True)} or more, or take a smaller space or resolution"
    )


def excluding_nothing(space: SearchSpace, budgets: Sequence[LatencyBudget]) -> str:
    """Say that every network keeps all budgets, so that they ask for the best of all; else empty.

    Args:
        space: Where a search looks.
        budgets: Of models that price this space, one or more.
    """
    slowest = [feasible_range(budget.model).slowest for budget in budgets]
    pairs = list(zip(slowest, budgets, strict=True))
    if any(each.latency_s > budget.allowed_s for each, budget in pairs):
        return ""
    each, budget = pairs[0]
    return (
        f"{milliseconds(budget.target.limit_s)} on {budget.target.device!r} exclude no network of "
        f"space {space.name!r}: the slowest, {space.canonical(each.arch)}, is predicted to take "
        f"{milliseconds(each.latency_s)}. So this is the best of all"
    )


def milliseconds(seconds: float, *, up: bool = False) -> str:
    """Return a duration for people: ``"8.25 ms"``; see `rounded`."""
    return f"{rounded(seconds * 1e3, up=up)} ms"


def megabytes(size: float, *, up: bool = False) -> str:
    """Return bytes for people, in millions: ``"12.35 MB"``; see `rounded`."""
    return f"{rounded(size / 1e6, up=up)} MB"


def rounded(value: float, *, up: bool = False) -> str:
    """Return a number for people, with four digits or all before the point.

    Args:
        value: The number, positive.
        up: Round up, so that a limit which is copied from a message is enough.
    """
    if up:
        unit = 10.0 ** (math.floor(math.log10(value)) - 3)
        value = math.ceil(value / unit * (1 + ROUNDING)) * unit
    return f"{value:.4g}" if value < 1e4 else f"{value:.0f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Front:
    """The partial networks up to a layer that no other beats in both cost and score.

    Attributes:
        cost_s: ``(labels,)`` seconds so far, increasing.
        score: ``(labels,)`` scores so far, strictly increasing.
        parent: ``(labels,)`` which label of the layer before each one extends.
        choice: ``(labels,)`` what each one chose in this layer.
    """

    cost_s: NDArray[np.float64]
    score: NDArray[np.float64]
    parent: NDArray[np.intp]
    choice: NDArray[np.intp]


def best_additive(
    scores: NDArray[np.float64], budget: LatencyBudget, *, space: SearchSpace
) -> AdditiveOptimum:
    """Return the architecture with the largest sum of scores within one latency budget.

    Labels (cost, score) are extended layer by layer. A label that another one beats or equals in
    both is dropped, since whatever completes it completes the other as well; so is one that even
    the cheapest completion takes beyond the budget. Nothing is rounded to a grid, so the answer
    is exact up to the rounding of a sum (`ROUNDING`).

    With ``n`` labels on the largest front, ``c`` choices and ``L`` layers it takes
    ``O(L n c log(n c))`` time and ``O(L n)`` memory. ``n`` is at most the number of partial
    networks, ``c ** L``; on 21 layers of 7 choices it was hundreds to thousands for most scores,
    and 256,000 (2 seconds) for scores that are the costs but for 0.1 % of noise.

    Args:
        scores: ``(layers, choices)``, larger is better; ignored where a layer has no such choice.
        budget: The bound to keep.
        space: The space that scores and budget are about.

    Raises:
        NoFeasibleArchitecture: No architecture keeps the budget.
        NotAdditive: Latency is no sum over the layers of the space.
        TooManyNetworks: A layer would need more than `MAX_LABELS` labels.
        ValueError: The shape of the scores is wrong, one is no number, or the model is of
            another space.

    Source:
        Nemhauser and Ullmann, Discrete dynamic programming and capital allocation, Management
        Science 15(9), 1969, with one choice per layer instead of an item taken or left.
    """
    check_additive(space, budget.model)
    check_feasible(space, [budget])
    cost_s = budget.model.cost_s
    if scores.shape != cost_s.shape or not np.isfinite(scores[np.isfinite(cost_s)]).all():
        raise ValueError(f"scores must be {cost_s.shape} finite numbers, got {scores.shape}")
    limit_s = budget.model.undone(budget.allowed_s) * (1 + ROUNDING)
    rest_s = np.append(cost_s.min(axis=1)[::-1].cumsum()[::-1], 0.0)  # cheapest way on, (layers+1,)
    none, base_s = np.zeros(1, np.intp), np.array([budget.model.base_s])
    fronts = [_Front(cost_s=base_s, score=np.zeros(1), parent=none, choice=none)]
    for i, count in enumerate(budget.model.counts):
        if len(fronts[-1].cost_s) * count > MAX_LABELS:
            raise TooManyNetworks(
                f"the exact optimum of space {space.name!r} needs more than {MAX_LABELS:,} "
                f"partial networks in layer {i} of {len(cost_s)}. Use another method: evolution"
            )
        room_s = limit_s - rest_s[i + 1]
        fronts.append(_extended(fronts[-1], cost_s[i, :count], scores[i, :count], room_s))
    return _first_within(fronts[1:], budget)


def _extended(
    front: _Front, cost_s: NDArray[np.float64], score: NDArray[np.float64], room_s: float
) -> _Front:
    """Return the front one layer on, of labels that cost ``room_s`` at most."""
    costs = (front.cost_s[:, None] + cost_s).ravel()  # (labels * choices,)
    totals = (front.score[:, None] + score).ravel()
    inside = np.flatnonzero(costs <= room_s)
    order = inside[np.lexsort((-totals[inside], costs[inside]))]  # by cost, of equals by score
    best_before = np.maximum.accumulate(np.append(-np.inf, totals[order]))[:-1]
    kept = order[totals[order] > best_before]
    parent, choice = np.divmod(kept, len(cost_s))
    return _Front(cost_s=costs[kept], score=totals[kept], parent=parent, choice=choice)


def _first_within(fronts: Sequence[_Front], budget: LatencyBudget) -> AdditiveOptimum:
    """Return the best complete label whose price, summed as a model sums, keeps the budget."""
    for label in reversed(range(len(fronts[-1].score))):
        choices = _choices(fronts, label)
        latency_s = float(budget.model.latency_s(choices)[0])
        if latency_s <= budget.allowed_s:
            break
    # The cheapest label stays even where it is over by rounding alone: check_feasible passed.
    return AdditiveOptimum(
        arch=Architecture(tuple(choices[0].tolist())),
        score=float(fronts[-1].score[label]),
        latency_s=latency_s,
    )


def _choices(fronts: Sequence[_Front], label: int) -> NDArray[np.intp]:
    """Return the choices behind a complete label, ``(1, layers)``."""
    choices = np.empty((1, len(fronts)), np.intp)
    for i in reversed(range(len(fronts))):
        choices[0, i] = fronts[i].choice[label]
        label = int(fronts[i].parent[label])
    return choices
