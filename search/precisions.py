"""Searching number formats too: one device, several tables of it, the best answer of all.

Accuracies of a search are those in fp32. What another format costs is taken to be the same for
every network of the space: a constant, which changes no order within a format, only between them.
The answer says so, and which format it is in by the device that it names. What the chosen network
really loses is measured when it is exported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from devices import DeviceSpec, InvalidFile
from lut import LatencyModel, load_table
from search.answers import Answer
from search.exact import NoFeasibleArchitecture
from search.searcher import Candidate
from search.solve import Limits, Solution

Solve = Callable[[Sequence[LatencyModel], Sequence[Limits]], list[Solution]]
"""Finds the answers to some sets of limits by the models of one format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberFormat:
    """A number format that a network may be in.

    Attributes:
        models: Of the device in that format, and of others whose limits hold too.
        drop_points: Points of top-1 that it costs beside fp32.
        drop_from: Where that is known from, for people; empty where nothing is lost.
    """

    models: tuple[LatencyModel, ...]
    drop_points: float = 0.0
    drop_from: str = ""


def solve_formats(
    formats: Sequence[NumberFormat], limits: Sequence[Limits], solve: Solve
) -> list[Solution]:
    """Return the most accurate answer to each set of limits, whatever format it is in.

    Args:
        formats: One or more; of equal accuracies the first one's answer is taken.
        limits: What must hold; each set is a search of its own in each format.
        solve: Searches one format.

    Raises:
        NoFeasibleArchitecture: No format keeps one of the sets; as the first format says it.
    """
    if len(formats) == 1:
        return solve(formats[0].models, limits)
    return [_best(formats, each, solve) for each in limits]


def _best(formats: Sequence[NumberFormat], limits: Limits, solve: Solve) -> Solution:
    found: list[Solution] = []
    refused: list[NoFeasibleArchitecture] = []
    for each in formats:
        try:
            (solution,) = solve(each.models, [limits])
            found.append(_lowered(solution, each))
        except NoFeasibleArchitecture as error:
            refused.append(error)
    if not found:
        raise refused[0]
    best = max(found, key=lambda solution: solution.answer.accuracy or 0.0)
    others = [
        f"{other.answer.accuracy or 0.0:.1%} on {other.answer.devices[0]!r}"
        for other in found
        if other is not best
    ]
    others += [str(error) for error in refused]
    said = f"Of its formats {best.answer.devices[0]!r} is best; else {'; '.join(others)}"
    return replace(best, note=". ".join(filter(None, (best.note, said if others else ""))))


def _lowered(solution: Solution, format_: NumberFormat) -> Solution:
    """Return an answer with what its format costs taken off all of its accuracies."""
    if not format_.drop_from:
        return solution
    drop, answer = format_.drop_points / 100.0, solution.answer
    lowered: Answer = replace(
        answer,
        accuracy=_less(answer.accuracy, drop),
        accuracy_from=(
            f"{answer.accuracy_from}, in fp32; less {format_.drop_points:.2f} points, which this "
            f"format is assumed to cost every network: {format_.drop_from}"
        ),
        runners_up=tuple(_lowered_candidate(each, drop) for each in answer.runners_up),
        front=tuple(_lowered_candidate(each, drop) for each in answer.front),
    )
    return replace(solution, answer=lowered)


def _lowered_candidate(candidate: Candidate, drop: float) -> Candidate:
    return replace(candidate, accuracy=_less(candidate.accuracy, drop))


def _less(accuracy: float | None, drop: float) -> float | None:
    return None if accuracy is None else min(1.0, max(0.0, accuracy - drop))


def check_formats(first: Path, others: Sequence[Path]) -> None:
    """Check that tables are of one device in several number formats.

    Raises:
        InvalidFile: One is of another device, or of a format that another one is of.
    """
    devices = [load_table(path).conditions.device for path in (first, *others)]
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
