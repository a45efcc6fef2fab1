"""What a search answered, as a file: the architectures with everything they rest on."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from devices import InvalidFile
from devices.errors import reason_of
from devices.files import write_atomically
from lut import LatencyBudget
from search.memory import MemoryPromise, promise_from_json
from search.searcher import Candidate, non_dominated
from search.space import Architecture, SearchSpace, architecture_from_text
from search.spaces import space_from_label, space_label
from search.spaces.published import network_from_text

RUNNERS_UP = 3
"""How many more an answer names."""

PER_DEVICE = ("devices", "limits_ms", "predicted_ms", "interval_ms", "table_hashes")
"""Keys of a file that have one entry for each device."""

Times: TypeAlias = tuple[float, ...]
Intervals: TypeAlias = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One architecture for one set of limits.

    The file speaks milliseconds, as the command line does; see `as_json`.

    Attributes:
        arch: The architecture.
        space: Its space.
        devices: Names of the devices that the limits hold on.
        limits_s: Largest acceptable latency on each, in seconds.
        confidence: How sure each limit was to hold when the architecture was picked.
        predicted_s: Predicted seconds on each.
        interval_s: Where the measured seconds should lie, a pair for each.
        table_hashes: Conditions and rows of the tables that priced it.
        revisions: How many verdicts the calibration of each table had learnt from.
        accuracy: Top-1 in [0, 1] on data that the search selected by; optimistic therefore.
        accuracy_from: How the accuracy was estimated, for people.
        method: Who proposed it.
        seed: Of the search.
        runners_up: What to take if the device says no: each faster than the one before, and the
            best that is.
        front: What the search had to choose from: of all that keep the limits those that no other
            beats in both accuracy (or loss) and latency, best first. Files of latkit 0.1 have none.
        memory: Its engine's memory, where that was limited; of runners-up it is not known.
        loss: Mean cross-entropy on the same data, by which networks were ranked; None where they
            were ranked by accuracy.
    """

    arch: Architecture
    space: SearchSpace
    devices: tuple[str, ...]
    limits_s: tuple[float, ...]
    confidence: float
    predicted_s: tuple[float, ...]
    interval_s: tuple[tuple[float, float], ...]
    table_hashes: tuple[str, ...]
    revisions: tuple[int, ...]
    accuracy: float | None
    accuracy_from: str
    method: str
    seed: int
    runners_up: tuple[Candidate, ...] = ()
    front: tuple[Candidate, ...] = ()
    memory: MemoryPromise | None = None
    loss: float | None = None

    @property
    def chosen(self) -> Candidate:
        """The network that answers, as a candidate like those beside it."""
        return Candidate(
            arch=self.arch,
            latency_s=self.predicted_s,
            interval_s=self.interval_s,
            accuracy=self.accuracy,
            loss=self.loss,
        )

    def next_best(self, *, device: str = "", within_s: float = math.inf) -> "Answer | None":
        """Return the answer with a runner-up in its place; None without any.

        It is the next in line; or the best of them and of the front that is fast enough, where one
        is.

        Args:
            device: Where it must be fast enough; the first of the answer's if left out.
            within_s: Largest prediction in seconds on that device.
        """
        if not self.runners_up:
            return None
        place = self.devices.index(device) if device else 0
        faster = [other for other in self.front if _all_less(other.latency_s, self.predicted_s)]
        later = tuple(dict.fromkeys((*self.runners_up, *faster)))
        enough = [other for other in later if other.latency_s[place] <= within_s]
        chosen = min(enough, key=lambda other: other.error, default=later[0])
        return replace(
            self,
            arch=chosen.arch,
            predicted_s=chosen.latency_s,
            interval_s=chosen.interval_s,
            accuracy=chosen.accuracy,
            loss=chosen.loss,
            runners_up=_after(chosen, self.runners_up),
            memory=None,
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain data; latencies in milliseconds, one entry for each device."""
        return {
            "arch": str(self.arch),
            "space": self.space.name,
            "space_label": space_label(self.space),
            "devices": list(self.devices),
            "limits_ms": [limit * 1e3 for limit in self.limits_s],
            "confidence": self.confidence,
            **_priced_json(self.predicted_s, self.interval_s),
            "table_hashes": list(self.table_hashes),
            "revisions": list(self.revisions),
            "accuracy": self.accuracy,
            **_loss_json(self.loss),
            "accuracy_from": self.accuracy_from,
            "method": self.method,
            "seed": self.seed,
            "runners_up": [_candidate_json(other) for other in self.runners_up],
            "front": [_candidate_json(other) for other in self.front],
            **({} if self.memory is None else {"memory": self.memory.as_json()}),
        }


def _all_less(mine: Times, theirs: Times) -> bool:
    return all(one < other for one, other in zip(mine, theirs, strict=True))


def _after(chosen: Candidate, line: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Return who is still in line: those behind the chosen one, or faster than it."""
    if chosen in line:
        return line[line.index(chosen) + 1 :]
    return tuple(other for other in line if _all_less(other.latency_s, chosen.latency_s))


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "arch": str(candidate.arch),
        **_priced_json(candidate.latency_s, candidate.interval_s),
        "accuracy": candidate.accuracy,
        **_loss_json(candidate.loss),
    }


def _loss_json(loss: float | None) -> dict[str, float]:
    return {} if loss is None else {"loss": loss}


def _priced_json(latency_s: Times, interval_s: Intervals) -> dict[str, Any]:
    return {
        "predicted_ms": [seconds * 1e3 for seconds in latency_s],
        "interval_ms": [[low * 1e3, high * 1e3] for low, high in interval_s],
    }


def answer_of(
    candidates: Sequence[Candidate],
    space: SearchSpace,
    budgets: Sequence[LatencyBudget],
    *,
    accuracy_from: str,
    method: str,
    seed: int,
    memory: MemoryPromise | None = None,
) -> Answer:
    """Put the best candidate together with what it was found for and priced by.

    Args:
        candidates: All that keep the budgets, most accurate first.
        space: Their space.
        budgets: What they keep.
        accuracy_from: How the accuracy was estimated, for people.
        method: Who proposed them.
        seed: Of the search.
        memory: Of the first candidate's engine.
    """
    candidate, *others = _ever_faster(candidates, RUNNERS_UP + 1)
    return Answer(
        arch=candidate.arch,
        space=space,
        devices=tuple(budget.target.device for budget in budgets),
        limits_s=tuple(budget.target.limit_s for budget in budgets),
        confidence=budgets[0].target.confidence,
        predicted_s=candidate.latency_s,
        interval_s=candidate.interval_s,
        table_hashes=tuple(budget.model.table_hash for budget in budgets),
        revisions=tuple(budget.model.revision for budget in budgets),
        accuracy=candidate.accuracy,
        loss=candidate.loss,
        accuracy_from=accuracy_from,
        method=method,
        seed=seed,
        runners_up=tuple(others),
        front=non_dominated(candidates),
        memory=memory,
    )


def _ever_faster(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """Return the first candidate, then the first that is faster everywhere, and so on."""
    kept: list[Candidate] = []
    for each in candidates:
        if len(kept) < count and (not kept or _all_less(each.latency_s, kept[-1].latency_s)):
            kept.append(each)
    return kept


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Write answers as a JSON list."""
    content = json.dumps([answer.as_json() for answer in answers], indent=2) + "\n"
    write_atomically(path, content.encode())


def read_answers(path: Path) -> list[Answer]:
    """Read answers back.

    Raises:
        InvalidFile: The file is missing or not what `write_answers` writes.
        UnknownName: It names a space that nobody knows.
    """
    try:
        entries = json.loads(path.read_text())
        if not isinstance(entries, list) or not entries:
            raise ValueError("not a list of one or more")
        return [_answer(values) for values in entries]
    except OSError as error:
        raise InvalidFile(
            f"cannot read {path}: {error.strerror}. Make it: latkit search"
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidFile(
            f"{path} holds no architectures ({reason_of(error)}). Make it again: latkit search"
        ) from error


def _answer(values: dict[str, Any]) -> Answer:
    lists = [values[key] for key in PER_DEVICE]
    if not all(isinstance(each, list) and len(each) == len(lists[0]) > 0 for each in lists):
        raise ValueError(f"{', '.join(PER_DEVICE)} need one entry for each device")
    space = space_from_label(values["space_label"])
    arch, _ = network_from_text(values["arch"], among=[space.name])
    space.check(arch)
    return Answer(
        arch=arch,
        space=space,
        devices=tuple(map(str, values["devices"])),
        limits_s=tuple(_number("limits_ms", limit) * 1e-3 for limit in values["limits_ms"]),
        confidence=_number("confidence", values["confidence"], most=1.0),
        predicted_s=_times(values),
        interval_s=_intervals(values),
        table_hashes=tuple(map(str, values["table_hashes"])),
        revisions=tuple(map(int, values.get("revisions", []))),  # latkit 0.1 had none
        accuracy=_known("accuracy", values["accuracy"], most=1.0),
        loss=_known("loss", values.get("loss")),
        accuracy_from=str(values["accuracy_from"]),
        method=str(values["method"]),
        seed=int(values["seed"]),
        runners_up=tuple(_candidate(other, space) for other in values.get("runners_up", [])),
        front=tuple(_candidate(other, space) for other in values.get("front", [])),
        memory=promise_from_json(values["memory"]) if "memory" in values else None,
    )


def _candidate(values: dict[str, Any], space: SearchSpace) -> Candidate:
    arch = architecture_from_text(values["arch"])
    space.check(arch)
    return Candidate(
        arch=arch,
        latency_s=_times(values),
        interval_s=_intervals(values),
        accuracy=_known("accuracy", values["accuracy"], most=1.0),
        loss=_known("loss", values.get("loss")),
    )


def _known(name: str, value: Any, *, most: float = math.inf) -> float | None:
    """Return a number that is not negative; None for one that is not known."""
    return None if value is None else _number(name, value, most=most)


def _number(name: str, value: Any, *, most: float = math.inf) -> float:
    """Return a number that is not negative; refuse what only looks like one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is no number: {value!r}")
    if not (0.0 <= value <= most and math.isfinite(value)):
        raise ValueError(f"{name} cannot be {value}")
    return float(value)


def _times(values: dict[str, Any]) -> Times:
    return tuple(_number("predicted_ms", value) * 1e-3 for value in values["predicted_ms"])


def _intervals(values: dict[str, Any]) -> Intervals:
    return tuple((low * 1e-3, high * 1e-3) for low, high in values["interval_ms"])
