"""Searching number formats too: one device, several tables of it, the best answer of all.

Accuracies of a search are those in fp32. What another format costs is taken to be the same for
every network of the space: a constant, which changes no order within a format, only between them.
The answer says so, and which format it is in by the device that it names. What the chosen network
really loses is measured when it is exported.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from devices import DeviceSpec, InvalidFile
from lut import LatencyModel
from lut.on_paper.estimates import any_table
from search.answers import Answer
from search.exact import NoFeasibleArchitecture
from search.memory import MemoryLimit
from search.searcher import Candidate, SearchResult
from search.solve import Limits, Solution, Solver, budgets_of, check_limits
from search.space import SearchSpace

Searched: TypeAlias = SearchResult | NoFeasibleArchitecture
"""What a search within a set of limits came to, or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatCost:
    """What a number format costs every network of a space, as far as that is known.

    Attributes:
        drop_points: Points of top-1 that are lost beside fp32.
        loss_rise: Nats that the mean cross-entropy is higher; None where nobody measured it.
        known_from: Where that is known from, for people; empty for fp32, which costs nothing.
    """

    drop_points: float = 0.0
    loss_rise: float | None = None
    known_from: str = ""


FLOATS = FormatCost(loss_rise=0.0)
"""Of fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberFormat:
    """A number format that a network may be in.

    Attributes:
        models: Of the device in that format, and of others whose limits hold too.
        cost: Beside fp32.
    """

    models: tuple[LatencyModel, ...]
    cost: FormatCost = FLOATS


def solve_formats(
    formats: Sequence[NumberFormat], limits: Sequence[Limits], solver: Solver
) -> list[Solution]:
    """Return the best answer to each set of limits, whatever format it is in.

    Best is the smallest loss where what every format costs is known in loss, and the highest
    accuracy otherwise: in that one order networks are compared within a format, too, so that
    answer, runners-up and front agree. What the search of one format evaluates answers the others.

    Args:
        formats: One or more; of equal ones the first one's answer is taken.
        limits: What must hold.
        solver: Searches a format.

    Raises:
        NoFeasibleArchitecture: No format keeps one of the sets; as the first format says it, and
            before anything is searched where that can be known.
    """
    if len(formats) == 1:
        return solver.solve(formats[0].models, limits)
    refusals = refusals_of(
        [each.models for each in formats],
        limits,
        space=solver.space,
        confidence=solver.search.confidence,
        memory=solver.memory,
    )
    searched = [
        _searched(each, limits, refused, solver)
        for each, refused in zip(formats, refusals, strict=True)
    ]
    by_loss = all(each.cost.loss_rise is not None for each in formats)
    return [
        _best(formats, each, [results[number] for results in searched], solver, by_loss=by_loss)
        for number, each in enumerate(limits)
    ]


def refusals_of(
    formats: Sequence[Sequence[LatencyModel]],
    limits: Sequence[Limits],
    *,
    space: SearchSpace,
    confidence: float,
    memory: MemoryLimit | None,
) -> list[list[NoFeasibleArchitecture | None]]:
    """Return why no network keeps some limits, as far as that is known without a search.

    Args:
        formats: The models of each.
        limits: What must hold.
        space: Of the networks.
        confidence: How sure each limit must hold.
        memory: What must hold beside them; None for no limit.

    Returns:
        For each format one of each set of limits; None where a network may keep it.

    Raises:
        NoFeasibleArchitecture: Every format refuses one of the sets; as the first one says it.
    """
    refusals: list[list[NoFeasibleArchitecture | None]] = [[] for _ in formats]
    for each in limits:
        for models, found in zip(formats, refusals, strict=True):
            try:
                check_limits(space, [budgets_of(models, each, confidence)], memory)
                found.append(None)
            except NoFeasibleArchitecture as error:
                found.append(error)
        first, *others = (found[-1] for found in refusals)
        if first is not None and None not in others:
            raise first
    return refusals


def _searched(
    format_: NumberFormat,
    limits: Sequence[Limits],
    refusals: Sequence[NoFeasibleArchitecture | None],
    solver: Solver,
) -> list[Searched]:
    """Search a format within each set of limits that was not refused."""
    found: list[Searched] = []
    for number, (each, refused) in enumerate(zip(limits, refusals, strict=True)):
        if refused is not None:
            found.append(refused)
            continue
        try:
            found += solver.searched(format_.models, [each], first=number)
        except NoFeasibleArchitecture as error:
            found.append(error)
    return found


def _best(
    formats: Sequence[NumberFormat],
    limits: Limits,
    searched: Sequence[Searched],
    solver: Solver,
    *,
    by_loss: bool,
) -> Solution:
    """Return the best of the formats' answers to one set of limits, by loss where it is known."""
    solutions: list[Solution] = []
    refused: list[NoFeasibleArchitecture] = []
    for each, result in zip(formats, searched, strict=True):
        if isinstance(result, NoFeasibleArchitecture):
            refused.append(result)
            continue
        try:
            found = solver.solution(each.models, limits, result, by_loss=by_loss)
            solutions.append(_lowered(found, each.cost))
        except NoFeasibleArchitecture as error:  # of memory
            refused.append(error)
    if not solutions:
        raise refused[0]
    best = min(solutions, key=lambda solution: solution.answer.chosen.error)
    others = [_said(each.answer) for each in solutions if each is not best]
    others += [str(error) for error in refused]
    said = f"Of its formats {best.answer.devices[0]!r} is best; else {'; '.join(others)}"
    return replace(best, note=". ".join(filter(None, (best.note, said if others else ""))))


def _said(answer: Answer) -> str:
    loss = "" if answer.loss is None else f" (loss {answer.loss:.3f})"
    return f"{answer.accuracy or 0.0:.1%}{loss} on {answer.devices[0]!r}"


def _lowered(solution: Solution, cost: FormatCost) -> Solution:
    """Return an answer with what its format costs off its accuracies and on its losses."""
    if not cost.known_from:
        return solution
    answer = solution.answer
    lowered: Answer = replace(
        answer,
        accuracy=_less(answer.accuracy, cost),
        loss=_more(answer.loss, cost),
        accuracy_from=(
            f"{answer.accuracy_from}, in fp32; less {cost.drop_points:.2f} points, which this "
            f"format is assumed to cost every network: {cost.known_from}"
        ),
        runners_up=tuple(_lowered_candidate(each, cost) for each in answer.runners_up),
        front=tuple(_lowered_candidate(each, cost) for each in answer.front),
    )
    return replace(solution, answer=lowered)


def _lowered_candidate(candidate: Candidate, cost: FormatCost) -> Candidate:
    return replace(
        candidate,
        accuracy=_less(candidate.accuracy, cost),
        loss=_more(candidate.loss, cost),
    )


def _less(accuracy: float | None, cost: FormatCost) -> float | None:
    return None if accuracy is None else min(1.0, max(0.0, accuracy - cost.drop_points / 100.0))


def _more(loss: float | None, cost: FormatCost) -> float | None:
    """Return a loss in a format; None where what that costs is not known in nats."""
    return None if loss is None or cost.loss_rise is None else loss + cost.loss_rise


def check_formats(first: Path, others: Sequence[Path]) -> None:
    """Check that tables are of one device in several number formats.

    Raises:
        InvalidFile: One is of another device, or of a format that another one is of.
    """
    devices = [any_table(path).conditions.device for path in (first, *others)]
    formats: set[str] = set()
    for path, device in zip((first, *others), devices, strict=True):
        if _hardware(device) != _hardware(devices[0]):
            raise InvalidFile(
                f"{path} is of {device.name!r}, which is not {devices[0].name!r} in another number "
                "format: a limit on another device is --also TABLE:MS"
            )
        if device.precision in formats:
            raise InvalidFile(f"{path} is in {device.precision}, as another table is: give one")
        formats.add(device.precision)


def _hardware(device: DeviceSpec) -> DeviceSpec:
    return replace(device, name="", description="", precision="fp32", quantization=None)
