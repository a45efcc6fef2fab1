"""The steps of a device: measured, kept in a file, shown; and the file read, to snap widths."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from devices import DeviceSpec, InvalidFile
from devices.files import write_atomically
from devices.places import check_place
from export.progress import counting
from lut import current_conditions
from profiler import HardwareSteps, Measurement, Sweep, measure_steps
from search.spaces import space_named

Facts = dict[str, Any]

COVERAGE = 0.95
"""Of the intervals in the file."""

SNAP_CURE = "write channels, as in --snap 16, or the file that latkit profile --steps -o left"


def profile_hardware_steps(
    device: DeviceSpec, *, processes: int, output: Path | None, quiet: bool
) -> Facts:
    """Find the steps of a device and keep them.

    Args:
        device: Where.
        processes: Fresh processes to measure in.
        output: The file to write; None for none.
        quiet: Whether to show no progress.

    Returns:
        What the file holds, see `steps_facts`.

    Raises:
        CannotWrite: ``output`` is no place for a file.
        LatkitError: The device cannot be measured.
    """
    if output is not None:
        check_place(output)
    conditions = current_conditions(device).as_meta()
    with counting(f"finding the steps of {device.name}", processes, quiet=quiet) as on_process:
        found = measure_steps(device, processes=processes, on_process=on_process)
    facts = steps_facts(found, conditions)
    if output is not None:
        write_atomically(output, (json.dumps(facts, indent=2) + "\n").encode())
    return facts


def steps_facts(found: HardwareSteps, conditions: Mapping[str, Any]) -> Facts:
    """Return the steps as plain data; times in microseconds.

    ``step`` is the one that all kinds share: what a space's widths may be snapped to, where
    expansions follow from them.
    """
    return {
        "step": found.common(),
        "kinds": [_kind_facts(sweep) for sweep in found.sweeps],
        "conditions": dict(conditions),
        "coverage": COVERAGE,
        "device_s": found.device_s,
        "doubts": _doubts(found),
    }


def _kind_facts(sweep: Sweep) -> Facts:
    return {
        "kind": sweep.kind,
        "step": sweep.step.period,
        "open": list(sweep.step.open),
        "sweep": [_row(width, measured) for width, measured in sweep.measured.items()],
    }


def _row(channels: int, measured: Measurement) -> Facts:
    return {
        "channels": channels,
        "latency_us": measured.latency_s * 1e6,
        "interval_us": [end * 1e6 for end in measured.interval_s(COVERAGE)],
        "status": measured.status,
    }


def _doubts(found: HardwareSteps) -> list[str]:
    """Return what speaks against these steps, each with its cure."""
    doubts = [
        f"{sweep.kind}: neither proven nor refuted is a step of "
        f"{', '.join(map(str, sweep.step.open))}: measure on a quieter machine, or in more "
        "--processes"
        for sweep in found.sweeps
        if sweep.step.open
    ]
    rows = [measured for sweep in found.sweeps for measured in sweep.measured.values()]
    bad = sum(measured.status != "ok" for measured in rows)
    if bad:
        doubts.append(f"{bad} of {len(rows)} rows are not ok: stop other programs, profile again")
    return doubts


def steps_view(facts: Facts) -> RenderableType:
    """Show the steps, and latency over channels for every kind."""
    kinds = facts["kinds"]
    view = Table("channels", *(f"{each['kind']}, us" for each in kinds), box=None)
    columns = [{row["channels"]: row for row in each["sweep"]} for each in kinds]
    for channels in sorted(set().union(*columns)):
        view.add_row(str(channels), *(_cell(column.get(channels)) for column in columns))
    device = facts["conditions"]["device"]["name"]
    lines = [
        *(f"{each['kind']}: {_phrase(each['step'])}" for each in kinds),
        f"all kinds share a step of {facts['step']} on {device}: what --snap takes from the file",
        *(f"  {doubt}" for doubt in facts["doubts"]),
    ]
    return Group(view, "", *lines)


def _cell(row: Facts | None) -> str:
    if row is None:
        return "refused"
    low, high = row["interval_us"]
    return f"{row['latency_us']:.1f} ±{(high - low) / 2:.1f}"


def _phrase(step: int) -> str:
    if step == 1:
        return "no step was proven"
    return f"latency jumps every {step} channels; up to the next multiple they cost next to nothing"


def snap_from_text(text: str | None) -> int:
    """Return what widths are to be rounded up to multiples of; 1 where nothing is said.

    Args:
        text: Channels, ``"16"``, or the file of a device's steps.

    Raises:
        InvalidFile: It is neither.
    """
    if text is None:
        return 1
    step = int(text) if text.isdecimal() else _step_in(Path(text))
    if step < 1:
        raise InvalidFile(f"--snap {text}: {SNAP_CURE}")
    return step


def snapped_name(space: str, snap: str | None) -> str:
    """Return the name of a space whose widths are rounded up to what a text says, if it does.

    Raises:
        UnknownName: There is no such space.
        InvalidFile: The text is no width, see `snap_from_text`.
    """
    return space_named(space, snap=snap_from_text(snap)).name


def _step_in(path: Path) -> int:
    """Return the step that all kinds share, as a file has it.

    Raises:
        InvalidFile: There is none in it.
    """
    try:
        step = int(json.loads(path.read_bytes())["step"])
    except OSError as error:
        raise InvalidFile(f"cannot read {path}: {error.strerror}; {SNAP_CURE}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidFile(f"{path} holds no steps of a device; {SNAP_CURE}") from error
    if step == 1:
        raise InvalidFile(f"{path} proves no step that all kinds share, so nothing is free there")
    return step
