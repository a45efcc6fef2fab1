"""A model file under load without a pause: from the file to the figures, each window on disk."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from devices import DeviceSpec, Graph, InvalidFile
from devices.files import CannotWrite
from devices.graphs.model_file import read_model, shapes_from_text
from export.figures.model_views import Facts, percentile_facts, percentiles_line
from export.progress import bar
from lut import current_conditions
from profiler import Event, Judged, Sustained, measure_sustained
from profiler.campaigns.jobs import Line, appended, event_of, line_of

LOAD = "load"
"""Kind of the first line of a file, which says what was loaded where."""

BEGINNING = b'{"n": 0, "kind": "load"'
"""Of every such file. What begins otherwise is somebody's, and must not be cut."""


def profile_sustained(
    path: Path,
    device: DeviceSpec,
    *,
    load_s: float,
    shapes: Sequence[str] = (),
    output: Path | None = None,
    quiet: bool,
) -> Facts:
    """Run a whole ONNX file without a pause.

    Args:
        path: The file.
        device: Where; its batch is taken where the file leaves only the batch open.
        load_s: Seconds.
        shapes: ``NAME=1,3,224,224``, for inputs whose sizes are open.
        output: Where every window goes as it is taken; what an interrupted load left there is gone
            on with. None for nowhere.
        quiet: Whether to show no progress.

    Returns:
        The keys of `sustained_facts`, and what was loaded where.

    Raises:
        InvalidFile: The file cannot be read, or ``output`` is of another model or device.
        UnfitShape: Its shapes are open or do not fit.
        CannotWrite: ``output`` is no place for a file, or the disk is full.
        LatkitError: The device cannot run it.
    """
    model = read_model(path, shapes=shapes_from_text(shapes), batch=device.batch)
    as_it_is = replace(device, precision="fp32", quantization=None)  # see `profile_model`
    header = _header(model.graph, as_it_is)
    title = f"loading {device.name} with {path}"
    with _stored(output, header) as (earlier, store), bar(title, quiet=quiet) as update:

        def on_event(event: Event) -> None:
            store(event)
            if isinstance(event, Judged):
                update(event.elapsed_s, load_s, f"{event.elapsed_s:.0f} of {load_s:.0f} s")

        found = measure_sustained(
            model.graph, as_it_is, load_s=load_s, earlier=earlier, on_event=on_event
        )
    return {
        "model": str(path),
        "device": device.name,
        **sustained_facts(found),
        "assumed": list(model.assumed),
        "saved": None if output is None else str(output),
    }


def sustained_facts(found: Sustained) -> Facts:
    """Return the promised keys of ``latkit profile --sustained --json``; times in milliseconds.

    ``slope_per_min`` and ``slowdown`` are shares of the burst.
    """
    burst, plateau, slope = found.burst, found.plateau, found.slope_per_min
    return {
        "load_s": found.load_s,
        "windows": len(found.windows),
        "burst_ms": burst.value * 1e3,
        "burst_interval_ms": [burst.low * 1e3, burst.high * 1e3],
        "plateau_ms": plateau.value * 1e3,
        "plateau_interval_ms": [plateau.low * 1e3, plateau.high * 1e3],
        "slowdown": found.slowdown,
        "slope_per_min": slope.value,
        "slope_interval_per_min": [slope.low, slope.high],
        "settled": found.settled,
        "percentiles_ms": percentile_facts(found.percentiles),
        "single_runs": len(found.plateau_runs_s),
        "status": found.status,
        "doubts": found.doubts(),
    }


def sustained_view(facts: Facts) -> RenderableType:
    """Show how fast a network is at first and in the end, and how it gets there."""
    low, high = facts["slope_interval_per_min"]
    lines = [
        f"{facts['model']} on {facts['device']} without a pause for {facts['load_s']:.0f} s, "
        f"status {facts['status']}",
        f"at first    {_ms(facts, 'burst')}",
        f"in the end  {_ms(facts, 'plateau')}, {facts['slowdown']:+.1%}",
        f"slope       {facts['slope_per_min']:+.2%} a minute ({low:+.2%} to {high:+.2%}); the end "
        f"is {'flat' if facts['settled'] else 'not flat yet'}",
        f"single runs in the end: {percentiles_line(facts)}",
        *(f"  {line}" for line in (*facts["assumed"], *facts["doubts"])),
    ]
    if facts["saved"]:
        lines.append(f"every window is in {facts['saved']}")
    return Text("\n".join(lines))


def _ms(facts: Facts, which: str) -> str:
    low, high = facts[f"{which}_interval_ms"]
    return f"{facts[f'{which}_ms']:.4g} ms (95% {low:.4g} to {high:.4g})"


def _header(graph: Graph, device: DeviceSpec) -> Facts:
    return {
        "kind": LOAD,
        "sha256": hashlib.sha256(graph.onnx).hexdigest(),
        "conditions": current_conditions(device).as_meta(),
    }


@contextmanager
def _stored(
    path: Path | None, header: Mapping[str, Any]
) -> Iterator[tuple[list[Event], Callable[[Event], None]]]:
    """Yield the events that a file has of this load, and what adds to them."""
    if path is None:
        yield [], lambda _: None
        return
    with ExitStack() as stack:
        try:
            if path.exists() and not BEGINNING.startswith(path.read_bytes()[: len(BEGINNING)]):
                raise InvalidFile(f"{path} holds no load; name another file: -o")
            lines, file = stack.enter_context(appended(path))
            if not lines:
                file.write(header)
        except OSError as error:
            raise CannotWrite(f"cannot write {path}: {error.strerror}. Name a file") from error
        except ValueError as error:
            raise InvalidFile(f"{path} holds no load; name another file: -o") from error
        yield _of_this_load(path, lines, header), lambda event: file.write(line_of(event))


def _of_this_load(path: Path, lines: Sequence[Line], header: Mapping[str, Any]) -> list[Event]:
    """Return the events in a file.

    Raises:
        InvalidFile: It is of another load.
    """
    plain = {"n": 0, **json.loads(json.dumps(header))}
    if lines and lines[0] != plain:
        same = lines[0].get("sha256") == plain["sha256"]
        other = "device, or under other conditions" if same else "model"
        raise InvalidFile(f"{path} holds a load of another {other}; name another file: -o")
    return [event for line in lines[1:] if (event := event_of(line)) is not None]
