"""Generators on many budgets, trained on tables of accuracies in place of cross-entropy."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.sgnas_figures import Row, row_of
from bench.sgnas_question import Evaluations, Question
from bench.sgnas_rivals import fitted_pairs, random_search
from bench.sgnas_scale import Scale
from search.searcher import run_search
from search.sgnas.gaps import GapFilling, Opinion
from search.sgnas.generators import train_generator
from search.sgnas.network import TrainedGenerator
from search.sgnas.objectives import ExpectedError, accuracy_table
from search.sgnas.projection import project
from search.sgnas.proposing import opinion_of, propose
from search.sgnas.settings import GeneratorSettings
from search.space import Architecture

SCALE = 5.0
"""Weight of a share of errors beside the distance to the target: of 2, 5, 20 and 100 the last two
lost more."""

TIMED = (1, 10, 181)


ABLATIONS: dict[str, dict[str, Any]] = {
    "no prior": {"prior": False},
    "symmetric": {"over": 1.0},
    "only above": {"under": 0.0},
    "hard": {"hard": True},
}
"""Name to the settings that differ; the projection is switched off without training anew."""


def fitted(question: Question, scale: Scale, seed: int) -> list[Row]:
    """Return the rows of a generator that learns from a fit, with and without filling gaps."""
    rows = []
    for method, filling in (("sgnas", scale.filling), ("sgnas, no filling", 0)):
        asked, made, train_s = searched(question, scale, seed, filling=filling)
        more: dict[str, Any] = {"train_s": train_s}
        if filling:
            more["seconds"] = seconds(made, question)
        evaluations = len(asked.known)
        rows.append(row_of(question, method, seed, asked.answers, evaluations=evaluations, **more))
    asked = random_search(question, scale.evaluations - scale.filling, seed)
    rng = np.random.default_rng([seed, 2])
    fill(asked, (), scale, seed, opinion=lambda archs: rng.random(len(archs)))
    evaluations = len(asked.known)
    method = "filling, no generator"
    return [*rows, row_of(question, method, seed, asked.answers, evaluations=evaluations)]


def searched(
    question: Question, scale: Scale, seed: int, *, filling: int
) -> tuple[Evaluations, TrainedGenerator, float]:
    """Evaluate some networks, train a generator on a fit to them, evaluate what it proposes.

    Args:
        question: Budgets, and what may be seen.
        scale: How much.
        seed: Of everything.
        filling: Evaluations that are left for gaps.

    Returns:
        Also the generator, and the seconds that it was trained for.
    """
    asked = random_search(question, scale.fitted, seed)
    predicted = fitted_pairs(question, asked)

    def of(archs: list[Architecture]) -> list[float]:
        values: list[float] = predicted[question.truth.rows(archs)].tolist()
        return values

    made, train_s = trained(question, scale, seed, accuracy_table(question.space, of))
    answer(made, asked, scale, seed, filling=filling)
    return asked, made, train_s


def answer(
    made: TrainedGenerator, asked: Evaluations, scale: Scale, seed: int, *, filling: int
) -> None:
    """Evaluate what a generator proposes for all budgets, and then what fills gaps.

    Args:
        made: The generator.
        asked: What was evaluated before; takes in what is evaluated here.
        scale: How much.
        seed: Of the proposals and of the gaps.
        filling: Evaluations that are left for gaps.
    """
    question = asked.question
    known = [question.truth.archs[i] for i in sorted(asked.known)]
    most = scale.evaluations - filling
    new = proposed(made, question, seed, most=most)
    fresh = [arch for arch in new if arch not in set(known)][: most - len(known)]
    if not filling:
        asked(fresh)
        return
    fill(
        asked,
        fresh,
        scale,
        seed,
        opinion=lambda archs: opinion_of(made, archs, model=question.model),
    )


def fill(
    asked: Evaluations,
    fresh: Sequence[Architecture],
    scale: Scale,
    seed: int,
    *,
    opinion: Opinion,
) -> None:
    """Evaluate some networks, and then what fills gaps between the answers to all budgets.

    Args:
        asked: What was evaluated before; takes in what is evaluated here.
        fresh: Networks to evaluate first.
        scale: How much.
        seed: Of the gaps.
        opinion: Chooses among networks that would fill a gap.
    """
    question = asked.question
    known = [question.truth.archs[i] for i in sorted(asked.known)]
    filler = GapFilling(
        space=question.space,
        budgets=question.budgets,
        archs=[*known, *fresh],
        opinion=opinion,
        most=scale.evaluations,
        rng=np.random.default_rng([seed, 1]),
    )
    run_search(
        filler,
        space=question.space,
        budgets=question.budgets[-1:],
        accuracy=asked,
        rounds=scale.evaluations,
    )


def whole_tables(question: Question, scale: Scale, seed: int) -> list[Row]:
    """Return the rows of generators that saw all accuracies, as published and otherwise."""
    rows = []
    for name, changes in {"": {}, **ABLATIONS}.items():
        rows += whole_table(question, scale, seed, name, changes)
    return rows


def whole_table(
    question: Question, scale: Scale, seed: int, name: str, changes: dict[str, Any]
) -> list[Row]:
    """Return the rows of one generator that saw all accuracies there are to see."""
    asked = Evaluations(question=question)
    table = accuracy_table(question.space, asked)
    made, train_s = trained(question, scale, seed, table, **changes)
    candidates = question.truth.rows(proposed(made, question, seed, most=scale.evaluations))
    picks = question.best(candidates, question.seen)
    method = f"sgnas, whole table{', ' + name if name else ''}"
    counted: dict[str, Any] = {"evaluations": len(asked.known), "train_s": train_s}
    found = [row_of(question, method, seed, picks, **counted)]
    own = question.truth.rows(own_answers(made, question))
    found.append(row_of(question, f"{method}, own answers", seed, own, **counted))
    if not name:
        raw = question.truth.rows(unprojected(made, question))
        found.append(row_of(question, f"{method}, no projection", seed, raw, **counted))
    return found


def trained(
    question: Question, scale: Scale, seed: int, table: NDArray[np.float64], **changes: Any
) -> tuple[TrainedGenerator, float]:
    """Train a generator on a table of accuracies; return the seconds that it took, too."""
    settings = GeneratorSettings(
        **{"epochs": scale.epochs, "steps": scale.steps, "targets": 32, "seed": seed, **changes}
    )
    start = perf_counter()
    objective = ExpectedError(table, scale=SCALE)
    made = train_generator(question.space, question.model, objective, settings)
    return made, perf_counter() - start


def proposed(
    made: TrainedGenerator, question: Question, seed: int, *, most: int
) -> list[Architecture]:
    """Return the networks to evaluate for all budgets."""
    rng = np.random.default_rng(seed)
    return propose(made, question.budgets, space=question.space, most=most, rng=rng)


def own_answers(made: TrainedGenerator, question: Question) -> list[Architecture]:
    """Return what a generator says for each budget itself, projected, unevaluated."""
    scores = made.scores(made.latency.shares(question.allowed_s))
    choices = project(scores, question.budgets, space=question.space)
    count = range(len(question.budgets))
    return [Architecture(tuple(choices[i, i].tolist())) for i in count]


def unprojected(made: TrainedGenerator, question: Question) -> list[Architecture]:
    """Return the likeliest choices for each budget, whatever they cost."""
    best = made.scores(made.latency.shares(question.allowed_s)).argmax(axis=2)
    return [Architecture(tuple(row)) for row in best.tolist()]


def seconds(made: TrainedGenerator, question: Question) -> dict[str, float]:
    """Return how long so many answers take, from the generator to the networks to evaluate."""
    times = {}
    for count in TIMED:
        places = np.linspace(0, len(question.budgets) - 1, count).astype(int)
        budgets = [question.budgets[i] for i in places]
        taken = []
        for _ in range(3):
            start = perf_counter()
            rng = np.random.default_rng(0)
            propose(made, budgets, space=question.space, most=2 * count, rng=rng)
            taken.append(perf_counter() - start)
        times[str(count)] = float(np.median(taken))
    return times
