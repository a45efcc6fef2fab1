"""The search loop: the same for every method."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lut import LatencyBudget, within
from lut.plans.memory import MemoryBudget
from search.exact import NoFeasibleArchitecture, check_feasible, megabytes, milliseconds
from search.score import Score, Scoring, as_score
from search.space import Architecture, SearchSpace, as_choices

Accuracy = Callable[[Sequence[Architecture]], Sequence[float]]
"""Evaluates top-1 accuracy in [0, 1], one number for each architecture, in their order."""


@dataclass(frozen=True, slots=True, order=True)
class Trial:
    """An architecture, and how much effort its accuracy is worth.

    Attributes:
        arch: The architecture.
        effort: Level of effort, from 1. What a level is, epochs of training say, is agreed between
            who proposes and who evaluates; accuracies of one level compare, of two they do not.
    """

    arch: Architecture
    effort: int = 1


TrialAccuracy = Callable[[Sequence[Trial]], Sequence[float]]
"""Evaluates top-1 accuracy in [0, 1] at the effort asked, one number for each trial, in order."""

TrialScoring = Callable[[Sequence[Trial]], Sequence[float | Score]]
"""Judges trials at the effort asked, in their order, as a `Scoring` judges architectures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An architecture and what is known of it.

    Attributes:
        arch: The architecture, in canonical form.
        latency_s: Predicted seconds per inference, one for each budget.
        interval_s: Where the measured seconds should lie, one pair for each budget.
        accuracy: Top-1 in [0, 1]; None if it breaks a budget and was not worth evaluating.
        effort: Level of effort behind the accuracy; 1 where a method knows only one.
        loss: Mean cross-entropy on the same images; None where nobody measured it.
    """

    arch: Architecture
    latency_s: tuple[float, ...]
    interval_s: tuple[tuple[float, float], ...]
    accuracy: float | None
    effort: int = 1
    loss: float | None = None

    @property
    def error(self) -> float:
        """What a search makes small: the loss, or minus the accuracy; infinite if not evaluated."""
        if self.accuracy is None:
            return math.inf
        return -self.accuracy if self.loss is None else self.loss

    @property
    def rank(self) -> tuple[float, tuple[float, ...], Architecture]:
        """Sort key, best first: error, then speed, then the choices; unevaluated ones last."""
        return (self.error, self.latency_s, self.arch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Where a search stands after one more round.

    Attributes:
        number: Rounds done, from 1.
        evaluations: Accuracies that were asked so far.
        best: Candidate of least error so far that keeps every budget, at the highest effort that
            any was worth; None without any.
    """

    number: int
    evaluations: int
    best: Candidate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        candidates: All that keep every budget and were evaluated at the highest effort that any
            was worth, the least error first; one or more.
        priced: Distinct architectures whose latency was predicted.
        judged: Every trial that was evaluated, at any effort, in the order of the search.
    """

    candidates: tuple[Candidate, ...]
    priced: int
    judged: tuple[Candidate, ...]

    @property
    def best(self) -> Candidate:
        """The candidate of least error."""
        return self.candidates[0]

    @property
    def evaluations(self) -> int:
        """How many accuracies were asked: what the search cost."""
        return len(self.judged)


class Searcher(Protocol):
    """A search method: it proposes, and learns from what became of its proposals.

    The driver calls ``ask`` and ``tell`` in turn. Prices, accuracies, limits and rounds are the
    driver's: a method that wants to know the budgets takes them when it is made. Proposals belong
    to the space and come from the generator that the method was given, so that equal seeds propose
    alike. They may break a budget, repeat each other or earlier ones; a repetition costs nothing.
    A method that spends more on some than on others proposes trials.
    """

    def ask(self) -> Sequence[Architecture | Trial]:
        """Return what to judge next; none to stop early. An architecture alone has effort 1."""
        ...

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Take in the verdicts on the last proposals, one for each and in their order.

        A candidate holds the canonical form of what was proposed. Its accuracy is None where it
        breaks a budget.
        """
        ...


def run_search(
    searcher: Searcher,
    *,
    space: SearchSpace,
    budgets: Sequence[LatencyBudget],
    accuracy: Scoring,
    rounds: int,
    on_round: Callable[[Round], None] | None = None,
    memory: MemoryBudget | None = None,
) -> SearchResult:
    """Search for accurate architectures that keep every latency budget.

    Latency is a look-up and accuracy a validation run, so latency is asked first and accuracy
    only of what keeps all budgets. Architectures are judged in canonical form, and none twice.

    Args:
        searcher: The method.
        space: Where it looks.
        budgets: The bounds to keep, one or more, on one device or several.
        accuracy: Judges the architectures of a round that are new and within the budgets: by
            accuracy, or by a loss beside it, which then ranks.
        rounds: Most ask-tell rounds, 1 or more.
        on_round: Called after every round, to show progress.
        memory: A bound on the memory of the engine that holds, too; None without any.

    Raises:
        NoFeasibleArchitecture: A budget is below the minimum of the space (raised at once), or no
            proposal keeps all of them; says how far off the nearest is.
        InvalidFile: A proposal is not of the space.
        ValueError: No round or no budget is given, a model is of another space, or an accuracy
            or a loss is no number.
    """
    return run_trials(
        searcher,
        space=space,
        budgets=budgets,
        accuracy=lambda trials: accuracy([trial.arch for trial in trials]),
        rounds=rounds,
        on_round=on_round,
        memory=memory,
    )


def run_trials(
    searcher: Searcher,
    *,
    space: SearchSpace,
    budgets: Sequence[LatencyBudget],
    accuracy: TrialScoring,
    rounds: int,
    on_round: Callable[[Round], None] | None = None,
    memory: MemoryBudget | None = None,
) -> SearchResult:
    """Search as `run_search` does, where an accuracy has levels of effort.

    A trial is judged once: the same architecture at another effort is another trial.

    Args:
        searcher: The method.
        space: Where it looks.
        budgets: The bounds to keep, one or more, on one device or several.
        accuracy: Evaluates the trials of a round that are new and within the budgets.
        rounds: Most ask-tell rounds, 1 or more.
        on_round: Called after every round, to show progress.
        memory: As of `run_search`.

    Raises:
        LatkitError: What `run_search` raises.
        ValueError: What `run_search` raises.
    """
    if rounds < 1:
        raise ValueError(f"a search needs a round or more, got {rounds}")
    check_feasible(space, budgets)
    judged: dict[Trial, Candidate] = {}
    for number in range(1, rounds + 1):
        proposals = [_canonical(space, proposal) for proposal in searcher.ask()]
        if not proposals:
            break
        new = [trial for trial in dict.fromkeys(proposals) if trial not in judged]
        judged |= zip(new, _judge(new, budgets, accuracy, memory), strict=True)
        searcher.tell([judged[trial] for trial in proposals])
        if on_round is not None:
            found = _feasible(judged)
            best = found[0] if found else None
            on_round(Round(number=number, evaluations=len(_evaluated(judged)), best=best))
    found = _feasible(judged)
    if not found:
        raise NoFeasibleArchitecture(_nearest_miss(space, budgets, memory, list(judged.values())))
    priced = len({trial.arch for trial in judged})
    return SearchResult(candidates=found, priced=priced, judged=_evaluated(judged))


def candidates_among(
    known: Mapping[Architecture, Score], budgets: Sequence[LatencyBudget]
) -> tuple[Candidate, ...]:
    """Return the architectures that keep all of some budgets, priced, the least error first.

    Args:
        known: What was evaluated, in canonical form, whatever it was evaluated for.
        budgets: The bounds to keep, one or more.
    """
    trials = [Trial(arch) for arch in known]

    def scores(kept: Sequence[Trial]) -> list[Score]:
        return [known[trial.arch] for trial in kept]

    return _feasible(dict(zip(trials, _judge(trials, budgets, scores, None), strict=True)))


def relative_excess(
    latency_s: NDArray[np.float64], budgets: Sequence[LatencyBudget]
) -> NDArray[np.float64]:
    """Return by which share predictions exceed what is allowed; negative where they do not.

    Args:
        latency_s: ``(batch, budgets)`` seconds.
        budgets: One for each column.

    Returns:
        ``(batch, budgets)``.
    """
    allowed_s = np.array([budget.allowed_s for budget in budgets])
    return (latency_s - allowed_s) / allowed_s  # in this order, zero means exactly allowed


def non_dominated(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the front: those that no other beats or equals in error and every latency.

    Args:
        candidates: Evaluated, the least error first, as `SearchResult` holds them.

    Returns:
        The least error first; on one device each is faster than the one before. Of equals the
        first.
    """
    front: list[Candidate] = []
    for each in candidates:
        # All before are at least as good, so only one that is nowhere slower beats this one.
        if not any(_nowhere_slower(before, each) for before in front):
            front.append(each)
    return tuple(front)


def _nowhere_slower(one: Candidate, other: Candidate) -> bool:
    pairs = zip(one.latency_s, other.latency_s, strict=True)
    return all(mine <= theirs for mine, theirs in pairs)


def _canonical(space: SearchSpace, proposal: Architecture | Trial) -> Trial:
    trial = proposal if isinstance(proposal, Trial) else Trial(proposal)
    space.check(trial.arch)
    return replace(trial, arch=space.canonical(trial.arch))


def _judge(
    trials: list[Trial],
    budgets: Sequence[LatencyBudget],
    accuracy: TrialScoring,
    memory: MemoryBudget | None,
) -> list[Candidate]:
    """Price architectures and evaluate those that keep every budget."""
    if not trials:
        return []
    choices = as_choices([trial.arch for trial in trials])
    prices = [budget.model.price(choices) for budget in budgets]
    kept = within(budgets, choices)
    if memory is not None:
        kept &= memory.excess(choices) <= 0.0
    known = _evaluate([trial for trial, keeps in zip(trials, kept, strict=True) if keeps], accuracy)
    return [
        Candidate(
            arch=trial.arch,
            latency_s=tuple(float(price.latency_s[i]) for price in prices),
            interval_s=tuple((float(p.low_s[i]), float(p.high_s[i])) for p in prices),
            accuracy=known[trial].accuracy if trial in known else None,
            effort=trial.effort,
            loss=known[trial].loss if trial in known else None,
        )
        for i, trial in enumerate(trials)
    ]


def _evaluate(trials: list[Trial], accuracy: TrialScoring) -> dict[Trial, Score]:
    if not trials:
        return {}
    known = dict(zip(trials, map(as_score, accuracy(trials)), strict=True))
    for trial, score in known.items():
        if not 0.0 <= score.accuracy <= 1.0:
            raise ValueError(
                f"an accuracy is in [0, 1]; architecture {trial.arch} got {score.accuracy}"
            )
        if score.loss is not None and not math.isfinite(score.loss):
            raise ValueError(f"a loss is finite; architecture {trial.arch} got {score.loss}")
    return known


def _evaluated(judged: dict[Trial, Candidate]) -> tuple[Candidate, ...]:
    return tuple(each for each in judged.values() if each.accuracy is not None)


def _feasible(judged: dict[Trial, Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates evaluated at the highest effort, best first."""
    evaluated = _evaluated(judged)
    highest = max((each.effort for each in evaluated), default=1)
    finalists = (each for each in evaluated if each.effort == highest)
    return tuple(sorted(finalists, key=lambda candidate: candidate.rank))


def _nearest_miss(
    space: SearchSpace,
    budgets: Sequence[LatencyBudget],
    memory: MemoryBudget | None,
    judged: list[Candidate],
) -> str:
    """Say how far off a search without a result ended, and which of several bounds were broken."""
    limits = [f"{milliseconds(each.target.limit_s)} on {each.target.device!r}" for each in budgets]
    if memory is not None:
        limits.append(_memory_on(memory, memory.limit_bytes))
    if not judged:
        return f"nothing was proposed for {' and '.join(limits)} in space {space.name!r}"
    excess = relative_excess(np.array([each.latency_s for each in judged]), budgets)
    if memory is not None:
        choices = as_choices([each.arch for each in judged])
        excess = np.column_stack([excess, memory.excess(choices)])
    place = int(excess.max(axis=1).argmin())
    reached = " and ".join(_reached(judged[place], budgets, memory))
    names = [*(f"more time on {each.target.device!r}" for each in budgets), "more memory"]
    broken = [name for name, by in zip(names, excess[place], strict=False) if by > 0.0]
    more = " and ".join(broken) if len(limits) > 1 else "more"
    return (
        f"none of {len(judged)} networks of space {space.name!r} keeps {' and '.join(limits)}; the "
        f"nearest, {judged[place].arch}, is predicted to take {reached}. Allow {more}, or search "
        "more rounds"
    )


def _reached(
    candidate: Candidate, budgets: Sequence[LatencyBudget], memory: MemoryBudget | None
) -> list[str]:
    """Return what a candidate takes of each bound, and what of it is allowed."""
    reached = [
        f"{milliseconds(seconds)} on {budget.target.device!r} "
        f"({milliseconds(budget.allowed_s)} allowed)"
        for seconds, budget in zip(candidate.latency_s, budgets, strict=True)
    ]
    if memory is not None:
        size = float(memory.model.total_bytes(as_choices([candidate.arch]))[0])
        allowed = f"({megabytes(memory.limit_bytes)} allowed)"
        reached.append(f"{_memory_on(memory, size)} {allowed}")
    return reached


def _memory_on(memory: MemoryBudget, size: float) -> str:
    return f"{megabytes(size)} on compute capability {memory.model.capability}"
