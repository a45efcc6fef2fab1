"""The best score under a budget: many rankings and many budgets in one dynamic program.

A generator scores every choice of every layer, and nothing makes its favourite keep the budget.
So the favourite among what does keep it is looked up: the largest sum of scores over the layers,
by dynamic programming over how much of the budget is spent. Costs are rounded up to a grid, so
that no answer is over budget, and one table answers every budget at once.

`search.exact.best_additive` does without a grid, for one ranking and one budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lut import LatencyBudget, LatencyModel
from lut.sums import parted
from search.exact import check_feasible
from search.searcher import Candidate
from search.space import Architecture, SearchSpace

BINS = 4096
"""Steps that the largest budget above the fastest network is cut into: over 21 layers an answer
leaves half a percent of the range unused at most."""

RETRIES = 3
"""Times that answers get a bin less; one is enough for the rounding of a sum."""

Numbers = NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class Proposals:
    """A search method whose proposals are made before it starts: it asks for all of them, once.

    Where the same proposals are judged for several budgets, the answers are monotone: whatever
    keeps a budget keeps a larger one, so as budgets grow latency never falls and the error never
    rises.

    Attributes:
        archs: What it proposes.
    """

    archs: Sequence[Architecture]

    def ask(self) -> Sequence[Architecture]:
        """Return all proposals, then none."""
        asked, self.archs = self.archs, ()
        return asked

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Learn nothing: there is no second round."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Layer:
    """The choices of a layer that may be best: of those in one step of the grid the best scored.

    Attributes:
        steps: ``(kept,)`` bins beyond the cheapest choice, ascending.
        score: ``(rankings, kept)``.
        choice: ``(rankings, kept)`` which choice of the layer it is.
    """

    steps: NDArray[np.intp]
    score: Numbers
    choice: NDArray[np.intp]


def project(
    scores: Numbers, budgets: Sequence[LatencyBudget], *, space: SearchSpace, bins: int = BINS
) -> NDArray[np.intp]:
    """Return the architecture of the largest sum of scores for each ranking under each budget.

    It takes ``O(R B C)`` time for ``R`` rankings, ``B`` bins and ``C`` choices of all layers that
    differ in cost, whatever the number of budgets.

    Args:
        scores: ``(rankings, layers, choices)``, larger is better; ignored where a layer has no
            such choice. Layers that are priced together are one, as in ``cost_s`` of their model.
        budgets: Of one model, one or more; each can be kept.
        space: The space that scores and budgets are about.
        bins: Of the grid. Rounding up costs an answer one bin a layer at most.

    Returns:
        Choices, ``(rankings, budgets, layers)``; of equal scores the fastest, to within the grid.

    Raises:
        NoFeasibleArchitecture: No architecture keeps one of the budgets; names the minimum.
        ValueError: The shape of the scores is wrong, one is no number, the budgets are of
            several models, or the model is of another space.
    """
    check_feasible(space, budgets)
    model = budgets[0].model
    if any(budget.model is not model for budget in budgets):
        raise ValueError("budgets are projected to by one model; project to each on its own")
    cost_s = model.cost_s
    exists = np.isfinite(cost_s)
    if scores.shape[1:] != cost_s.shape or not np.isfinite(scores[:, exists]).all():
        raise ValueError(
            f"scores must be (rankings, {cost_s.shape[0]}, {cost_s.shape[1]}) finite numbers, "
            f"got {scores.shape}"
        )
    extra_s = cost_s - cost_s.min(axis=1, keepdims=True)
    steps, left = _on_grid(extra_s, _room_s(model, [b.allowed_s for b in budgets]), bins)
    layers = [
        _reduced(of, scores[:, i], most=int(left.max()))
        for i, of in enumerate(np.split(steps, len(steps)))
    ]
    return _kept(layers, left, budgets)


def _room_s(model: LatencyModel, allowed_s: Sequence[float]) -> Numbers:
    """Return what each budget leaves above the fastest network in the sum of costs: 0 or more."""
    floor_s = model.base_s + model.cost_s.min(axis=1).sum()
    line_s = np.array([model.undone(each) for each in allowed_s])
    return np.maximum(0.0, line_s - floor_s)


def _on_grid(extra_s: Numbers, room_s: Numbers, bins: int) -> tuple[Numbers, NDArray[np.intp]]:
    """Return the bins of each choice, rounded up, and those of each budget, rounded down."""
    most_s = np.where(np.isfinite(extra_s), extra_s, 0.0).max(axis=1)
    bin_s = min(float(room_s.max()), float(most_s.sum())) / bins
    if bin_s == 0.0:  # only the fastest fits, or all are as fast
        return np.where(extra_s > 0.0, np.inf, 0.0), np.zeros(len(room_s), np.intp)
    steps = np.ceil(extra_s / bin_s)
    all_of_them = np.ceil(most_s / bin_s).sum()  # a bin a layer more than what they cost
    left = np.where(room_s >= most_s.sum(), all_of_them, np.floor(room_s / bin_s))
    return steps, left.astype(np.intp)


def _reduced(steps: Numbers, scores: Numbers, *, most: int) -> _Layer:
    """Return one layer without the choices that another one beats at equal cost."""
    fitting = np.flatnonzero(steps[0] <= most)
    distinct, place = np.unique(steps[0, fitting], return_inverse=True)
    best = [fitting[place == k] for k in range(len(distinct))]
    winner = [members[scores[:, members].argmax(axis=1)] for members in best]
    choice = np.stack(winner, axis=1)  # (rankings, kept)
    return _Layer(
        steps=distinct.astype(np.intp),
        score=np.take_along_axis(scores, choice, axis=1),
        choice=choice,
    )


def _kept(
    layers: Sequence[_Layer], left: NDArray[np.intp], budgets: Sequence[LatencyBudget]
) -> NDArray[np.intp]:
    """Return the answers, ``(rankings, budgets, layers)``, each priced as the model prices.

    A sum in another order may be over budget by its last digit; such an answer gets a bin less.
    The fastest stays even then: `check_feasible` passed.
    """
    model, picks = budgets[0].model, _filled(layers, bins=int(left.max()) + 1)
    allowed_s = np.array([budget.allowed_s for budget in budgets])
    now = np.tile(left, (len(layers[0].score), 1))  # (rankings, budgets)
    for _ in range(RETRIES):
        choices = _followed(layers, picks, now)
        rows = parted(choices.reshape(-1, len(layers)), model.together)
        over = model.latency_s(rows).reshape(now.shape) > allowed_s
        if not (over & (now > 0)).any():
            break
        now = np.where(over, np.maximum(0, now - 1), now)
    return rows.reshape(*now.shape, -1)


def _filled(layers: Sequence[_Layer], *, bins: int) -> list[NDArray[np.uint16]]:
    """Return for each layer which choice is best where so many bins may be spent up to it."""
    value, pick = _begun(layers[0], bins=bins)
    picks = [pick]
    for layer in layers[1:]:
        value, pick = _extended(value, layer)
        picks.append(pick)
    return picks


def _followed(
    layers: Sequence[_Layer], picks: Sequence[NDArray[np.uint16]], left: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Follow the table back from so many bins, ``(rankings, budgets)``: the choices of layers."""
    row, now = np.arange(len(left))[:, None], left.copy()
    choices = np.empty((*left.shape, len(layers)), np.intp)
    for i in reversed(range(len(layers))):
        kept = picks[i][row, now]
        choices[:, :, i] = layers[i].choice[row, kept]
        now -= layers[i].steps[kept]
    return choices


def _begun(layer: _Layer, *, bins: int) -> tuple[Numbers, NDArray[np.uint16]]:
    """Return the best scores of one layer within so many bins, and which choices they take.

    As `_extended` from nothing, in one step: where layers are priced together there is only this
    layer, and it has thousands of choices.
    """
    best = np.full((len(layer.score), bins), -np.inf)
    best[:, layer.steps] = layer.score
    running = np.maximum.accumulate(best, axis=1)
    before = np.concatenate([np.full((len(best), 1), -np.inf), running[:, :-1]], axis=1)
    number = np.zeros(bins, np.uint16)
    number[layer.steps] = np.arange(len(layer.steps))
    pick = np.where(best > before, number, 0).astype(np.uint16)
    return running, np.maximum.accumulate(pick, axis=1)


def _extended(value: Numbers, layer: _Layer) -> tuple[Numbers, NDArray[np.uint16]]:
    """Return the best sums one layer on, and which of its choices each takes."""
    bins = value.shape[1]
    best, pick = np.full_like(value, -np.inf), np.zeros(value.shape, np.uint16)
    for k, step in enumerate(layer.steps.tolist()):  # ascending: of equals the cheapest stays
        sums = value[:, : bins - step] + layer.score[:, k : k + 1]
        better = sums > best[:, step:]
        np.copyto(best[:, step:], sums, where=better)
        np.copyto(pick[:, step:], k, where=better)
    return best, pick


def nearest_first(
    choices: NDArray[np.intp], *, space: SearchSpace, distance: Numbers, most: int
) -> list[Architecture]:
    """Return the distinct architectures to evaluate, the budgets taking turns.

    Args:
        choices: ``(rankings, budgets, layers)``, as `project` returns them.
        space: Their space.
        distance: ``(rankings, budgets)``, how far each ranking is from the budget's own.
        most: Architectures in all; every budget gets that of its nearest ranking even so.

    Returns:
        Canonical: what the nearest rankings say for each budget, then the second nearest, and so
        on; none twice.
    """
    rankings, budgets, layers = choices.shape
    rows, place = np.unique(choices.reshape(-1, layers), axis=0, return_inverse=True)
    archs = [space.canonical(Architecture(tuple(row))) for row in rows.tolist()]
    order = np.argsort(distance, axis=0, kind="stable")  # (rankings, budgets)
    turns = np.take_along_axis(place.reshape(rankings, budgets), order, axis=0)
    found = dict.fromkeys(archs[i] for i in turns[0].tolist())
    for i in turns[1:].ravel().tolist():
        if len(found) >= most:
            break
        found[archs[i]] = None
    return list(found)
