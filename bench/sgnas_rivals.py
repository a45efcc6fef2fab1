"""Rivals of a generator on many budgets: what else may be done with so many evaluations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from bench.sgnas_question import Evaluations, Question
from lut import LatencyBudget
from search.methods.evolution import Evolution
from search.methods.nsga2 import NSGA2Search
from search.predictor import PENALTIES, fit_additive
from search.searcher import Candidate, Searcher, run_search
from search.sgnas.projection import project
from search.space import Architecture, as_choices

ANCHORS = 10
"""Budgets that evolution searches one after another; what it evaluates serves all targets."""

ROUNDS = 40
"""Rounds of a rival's search at most: under tight budgets nothing is new any more."""


@dataclass(slots=True, kw_only=True)
class Until:
    """A searcher that stops once so many networks have been evaluated."""

    inner: Searcher
    evaluations: Evaluations
    most: int

    def ask(self) -> Sequence[Any]:
        """Return the next proposals, or none."""
        return self.inner.ask() if len(self.evaluations.known) < self.most else []

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Pass the verdicts on."""
        self.inner.tell(judged)


def random_search(question: Question, most: int, seed: int) -> Evaluations:
    """Draw networks uniformly within budgets, a random budget each."""
    rng, asked = np.random.default_rng(seed), Evaluations(question=question)
    for _ in range(20 * most):
        if len(asked.known) >= most:
            break
        draw = question.draws[int(rng.integers(len(question.draws)))]
        asked([draw.sample(rng)])
    return asked


def evolution(question: Question, most: int, seed: int) -> Evaluations:
    """Search some budgets one after another; what was evaluated serves all of them."""
    asked = Evaluations(question=question)
    anchors = np.linspace(0, len(question.budgets) - 1, ANCHORS).astype(int)
    for i, anchor in enumerate(anchors.tolist(), start=1):
        budgets = [question.budgets[anchor]]
        rng = np.random.default_rng([seed, i])
        inner = Evolution(space=question.space, budgets=budgets, rng=rng, population=10)
        _search(question, inner, asked, budgets, most * i // ANCHORS)
    return asked


def nsga2(question: Question, most: int, seed: int) -> Evaluations:
    """Search once, for the whole front of accuracy and cost."""
    asked, budgets = Evaluations(question=question), question.budgets[-1:]
    rng = np.random.default_rng(seed)
    inner = NSGA2Search(space=question.space, budgets=budgets, rng=rng, population=40)
    _search(question, inner, asked, budgets, most)
    return asked


def _search(
    question: Question,
    searcher: Searcher,
    asked: Evaluations,
    budgets: Sequence[LatencyBudget],
    most: int,
) -> None:
    until = Until(inner=searcher, evaluations=asked, most=most)
    if len(asked.known) < most:
        run_search(until, space=question.space, budgets=budgets, accuracy=asked, rounds=ROUNDS)


def additive(question: Question, most: int, seed: int) -> Evaluations:
    """Fit layers' contributions, and evaluate the optimum of the fit under each budget."""
    count = most
    for _ in range(3):  # what the optima need is not known before they are
        asked = random_search(question, count, seed)
        archs = [question.truth.archs[i] for i in sorted(asked.known)]
        scores = fit_additive(question.space, archs, asked(archs)).scores
        choices = project(scores[None], question.budgets, space=question.space)
        asked([Architecture(tuple(row)) for row in choices[0].tolist()])
        count -= max(0, len(asked.known) - most)
    return asked


def fitted_pairs(question: Question, asked: Evaluations) -> NDArray[np.float64]:
    """Fit layers and pairs of layers to what was evaluated: accuracies of all networks."""
    rows = np.array(sorted(asked.known), np.intp)
    choices = as_choices(list(question.truth.archs))
    options = max(map(len, question.space.layers))
    count = choices.shape[1] * options
    chosen = (choices[:, :, None] == np.arange(options)).reshape(-1, count).astype(float)
    first, second = np.triu_indices(count, 1)
    features = np.concatenate([chosen, chosen[:, first] * chosen[:, second]], axis=1)
    ridge = RidgeCV(alphas=PENALTIES).fit(features[rows], question.seen[rows])
    predicted: NDArray[np.float64] = ridge.predict(features).clip(0.0, 1.0)
    return predicted


def enumerated(question: Question, most: int, seed: int) -> Evaluations:
    """Fit pairs of layers, and evaluate what the fit says is best under each budget."""
    asked = random_search(question, most // 2, seed)
    predicted = fitted_pairs(question, asked)
    ranked = np.lexsort((question.cost_s, -predicted))
    fits = question.cost_s[ranked] <= question.allowed_s[:, None]  # (budgets, networks)
    turns = [ranked[row] for row in fits]  # of each budget the best first
    for place in range(len(ranked)):
        for own in turns:
            if len(asked.known) < most and place < len(own):
                asked.known.add(int(own[place]))
        if len(asked.known) >= most:
            break
    return asked


RIVALS: dict[str, Callable[[Question, int, int], Evaluations]] = {
    "additive": additive,
    "evolution": evolution,
    "nsga2": nsga2,
    "random": random_search,
    "pairs, enumerated": enumerated,
}
