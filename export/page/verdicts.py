"""The verdicts on a deployment, read back from its history."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import InvalidFile
from export.bundle.manifest import HISTORY
from profiler import Slice


@dataclass(frozen=True, slots=True, kw_only=True)
class PastVerdict:
    """One line of the history.

    Attributes:
        at: When, ISO 8601 in UTC; empty where it was not kept.
        device: Where.
        verdict: ``met``, ``missed`` or ``undecided``.
        status: Whether the measurement is to be trusted, in one word.
        limit_s: Largest acceptable latency.
        predicted_s: What had been predicted there; None: nothing.
        measured_s: Median by the clock.
        interval_s: Where that would lie if it was measured again.
        processes: Fresh processes.
        doubts: Reasons not to trust it.
        conditions: What it depends on: device and environment.
        slices: Every sample, in the order taken.
        blocks: Every single run, in the order taken; none in lines of latkit 0.1.
        percentiles_s: Name such as ``p99`` to its seconds and their interval, of single runs; those
            that need more runs are left out.
        sha256: Of the model that was measured.
        more: What else was noted, see `NOTED`.
    """

    at: str
    device: str
    verdict: str
    status: str
    limit_s: float
    predicted_s: float | None
    measured_s: float
    interval_s: tuple[float, float]
    processes: int
    doubts: tuple[str, ...]
    conditions: Mapping[str, Any]
    slices: tuple[Slice, ...]
    blocks: tuple[Slice, ...]
    percentiles_s: Mapping[str, tuple[float, ...]]
    sha256: str
    more: Mapping[str, Any]


NOTED = ("acceptance", "sustained", "test_accuracy", "single_runs", "same_device", "differences")
"""What else a page says of a verdict, of all that a line may hold."""


def read_verdicts(folder: Path) -> list[PastVerdict]:
    """Read the history of a deployment, oldest first; none where nobody verified it.

    Raises:
        InvalidFile: A line is damaged.
    """
    path = folder / HISTORY
    if not path.is_file():
        return []
    try:
        return [_verdict(json.loads(line)) for line in path.read_text().splitlines() if line]
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidFile(
            f"{path} is damaged ({error!r}). Remove the file, and verify again: latkit verify"
        ) from error


def _verdict(values: dict[str, Any]) -> PastVerdict:
    predicted_ms = values.get("predicted_ms")
    low_ms, high_ms = values["interval_ms"]
    return PastVerdict(
        at=str(values.get("at", "")),
        device=str(values["device"]),
        verdict=str(values["verdict"]),
        status=str(values["status"]),
        limit_s=float(values["limit_ms"]) * 1e-3,
        predicted_s=None if predicted_ms is None else float(predicted_ms) * 1e-3,
        measured_s=float(values["measured_ms"]) * 1e-3,
        interval_s=(float(low_ms) * 1e-3, float(high_ms) * 1e-3),
        processes=int(values["processes"]),
        doubts=tuple(map(str, values.get("doubts", []))),
        conditions=dict(values.get("conditions", {})),
        slices=tuple(_slice(each, each["samples_s"]) for each in values.get("slices", [])),
        blocks=tuple(_slice(each, each["runs_s"]) for each in values.get("blocks", [])),
        percentiles_s={
            str(name): tuple(float(each) * 1e-3 for each in found)
            for name, found in (values.get("percentiles_ms") or {}).items()
            if found
        },
        sha256=str(values.get("sha256", "")),
        more={key: values[key] for key in NOTED if key in values},
    )


def _slice(values: dict[str, Any], seconds: Sequence[Any]) -> Slice:
    return Slice(
        process=int(values["process"]),
        round=int(values.get("round", 0)),
        repeats=1,  # how many runs a sample is the mean of is not kept
        samples_s=tuple(map(float, seconds)),
        gate=values["gate"],
    )
