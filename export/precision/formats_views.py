"""Number formats of a device, for people."""

from pathlib import Path

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from export.precision.formats import Comparison, MeasuredFormat


def formats_view(found: Comparison, output: Path | None) -> RenderableType:
    """Return a table of the formats, and what to do with it.

    Args:
        found: The formats.
        output: Device file that was to be written; None if none was.
    """
    view = Table("format", "time / fp32 (95 %)", "ms", "outputs off", "status", "", box=None)
    for each in found.formats:
        view.add_row(*_cells(each, found))
    untimed = [f"{each.name}: {each.why_not}" for each in found.formats if each.why_not]
    network = f"network {found.network}, random weights, on {found.device}"
    return Group(view, network, *map(escape, (*untimed, *_advice(found, output))))


def _cells(each: MeasuredFormat, found: Comparison) -> tuple[str, ...]:
    if each.beside is None:
        return each.name, "not timed"
    low, high = each.beside.ratio_interval
    remark = "take this" if each is found.integers else ""
    return (
        each.name,
        f"{each.beside.ratio:.2f} ({low:.2f} to {high:.2f})",
        f"{each.beside.other.median_s * 1e3:.3g}",
        "not shown" if each.error is None else f"{each.error:.1%}",
        each.beside.status,
        "wrong outputs" if found.too_coarse(each) else remark,
    )


def _advice(found: Comparison, output: Path | None) -> list[str]:
    """Return which integers to take, and where they are kept."""
    best = found.integers
    if best is None or best.beside is None:
        return ["no kind of int8 can be timed with right numbers here: no device file"]
    _, high = best.beside.ratio_interval
    slow = [] if high < 1.0 else ["int8 is not surely faster than fp32 here, whichever kind"]
    kept = f"-o my-{best.device.name}.yaml keeps it as a device file"
    if output is not None:
        kept = f"{output} is that device: latkit profile --device {output}"
    return [*slow, f"{best.name}: {kept}"]
