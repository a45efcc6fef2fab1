"""Every verdict on a bundle, a line each: added, and read back."""

import errno
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from devices import InvalidFile
from devices.files import CannotWrite
from export.bundle.manifest import HISTORY
from export.verdicts.verdict import Verdict
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


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was found of a bundle whenever somebody verified it.

    Attributes:
        verdicts: Oldest first.
        damaged: Numbers of lines that cannot be read, from 1: cut short, or of a later latkit.
    """

    verdicts: tuple[PastVerdict, ...] = ()
    damaged: tuple[int, ...] = ()

    @property
    def doubt(self) -> str:
        """What people should know of lines that were left out; empty where none was."""
        if not self.damaged:
            return ""
        numbers = ", ".join(map(str, self.damaged))
        return f"Left out of {HISTORY}, since they cannot be read: lines {numbers}"


def read(folder: Path) -> History:
    """Read the history of a bundle; empty where nobody verified it.

    A line that is damaged says nothing, and hides none of the others.

    Raises:
        InvalidFile: The file cannot be read at all.
    """
    path = folder / HISTORY
    if not path.is_file():
        return History()
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InvalidFile(f"cannot read {path}: {error.strerror}") from error
    verdicts: list[PastVerdict] = []
    damaged: list[int] = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                verdicts.append(_verdict(json.loads(line)))
        except (AttributeError, KeyError, TypeError, ValueError):
            damaged.append(number)
    return History(verdicts=tuple(verdicts), damaged=tuple(damaged))


def append(folder: Path, summary: Mapping[str, Any], verdict: Verdict) -> None:
    """Add a verdict with its samples: one write at the end, so that several at once lose none.

    Args:
        folder: The bundle.
        summary: Of the verdict, plain data, see `Verdict.as_json`; when, of which model, and under
            which conditions.
        verdict: Whose samples are kept.

    Raises:
        CannotWrite: The disk is full, or the place is not writable.
    """
    slices = [
        {"process": s.process, "round": s.round, "gate": s.gate, "samples_s": s.samples_s}
        for s in verdict.measurement.slices
    ]
    blocks = [
        {"process": part.process, "gate": part.gate, "runs_s": [round(s, 9) for s in part.runs_s]}
        for part in verdict.single_runs
    ]
    line = json.dumps({**summary, "slices": slices, "blocks": blocks}) + "\n"
    path = folder / HISTORY
    try:
        with path.open("a+b", buffering=0) as file:
            content = _after(file) + line.encode()
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
    except OSError as error:
        raise CannotWrite(
            f"cannot write {path}: {error.strerror}. Free some space, and verify again"
        ) from error


def _after(file: FileIO) -> bytes:
    """Return what ends a last line that was cut short; nothing where it is whole."""
    if not file.seek(0, os.SEEK_END):
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"


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
