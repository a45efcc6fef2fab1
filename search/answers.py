"""What a search answered, as a file: the architectures with everything they rest on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import InvalidFile
from devices.files import write_atomically
from lut import LatencyBudget
from search.searcher import Candidate
from search.space import Architecture, SearchSpace, architecture_from_text
from search.spaces import space_from_label, space_label


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
        accuracy: Top-1 in [0, 1] on data that the search selected by; optimistic therefore.
        accuracy_from: How the accuracy was estimated, for people.
        method: Who proposed it.
        seed: Of the search.
    """

    arch: Architecture
    space: SearchSpace
    devices: tuple[str, ...]
    limits_s: tuple[float, ...]
    confidence: float
    predicted_s: tuple[float, ...]
    interval_s: tuple[tuple[float, float], ...]
    table_hashes: tuple[str, ...]
    accuracy: float | None
    accuracy_from: str
    method: str
    seed: int

    def as_json(self) -> dict[str, Any]:
        """Return plain data; latencies in milliseconds, one entry for each device."""
        return {
            "arch": str(self.arch),
            "space": self.space.name,
            "space_label": space_label(self.space),
            "devices": list(self.devices),
            "limits_ms": [limit * 1e3 for limit in self.limits_s],
            "confidence": self.confidence,
            "predicted_ms": [seconds * 1e3 for seconds in self.predicted_s],
            "interval_ms": [[low * 1e3, high * 1e3] for low, high in self.interval_s],
            "table_hashes": list(self.table_hashes),
            "accuracy": self.accuracy,
            "accuracy_from": self.accuracy_from,
            "method": self.method,
            "seed": self.seed,
        }


def answer_of(
    candidate: Candidate,
    space: SearchSpace,
    budgets: Sequence[LatencyBudget],
    *,
    accuracy_from: str,
    method: str,
    seed: int,
) -> Answer:
    """Put a candidate together with what it was found for and priced by."""
    return Answer(
        arch=candidate.arch,
        space=space,
        devices=tuple(budget.target.device for budget in budgets),
        limits_s=tuple(budget.target.limit_s for budget in budgets),
        confidence=budgets[0].target.confidence,
        predicted_s=candidate.latency_s,
        interval_s=candidate.interval_s,
        table_hashes=tuple(budget.model.table_hash for budget in budgets),
        accuracy=candidate.accuracy,
        accuracy_from=accuracy_from,
        method=method,
        seed=seed,
    )


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
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidFile(
            f"{path} holds no architectures ({error!r}). Make it again: latkit search"
        ) from error


def _answer(values: dict[str, Any]) -> Answer:
    space = space_from_label(values["space_label"])
    arch = architecture_from_text(values["arch"])
    space.check(arch)
    return Answer(
        arch=arch,
        space=space,
        devices=tuple(map(str, values["devices"])),
        limits_s=tuple(limit * 1e-3 for limit in values["limits_ms"]),
        confidence=float(values["confidence"]),
        predicted_s=tuple(value * 1e-3 for value in values["predicted_ms"]),
        interval_s=tuple((low * 1e-3, high * 1e-3) for low, high in values["interval_ms"]),
        table_hashes=tuple(map(str, values["table_hashes"])),
        accuracy=values["accuracy"],
        accuracy_from=str(values["accuracy_from"]),
        method=str(values["method"]),
        seed=int(values["seed"]),
    )
