"""Devices and spaces, as plain figures for machines and as tables for people."""

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from devices import DeviceSpec, LatkitError, backend_for
from devices.backend import ON_PAPER
from export.figures.listing import Facts, listing
from profiler import total_macs, total_parameters
from search.pricing.coverage import chains_to_measure
from search.space import SearchSpace
from search.spaces.published import published_in


def device_facts(device: DeviceSpec, *, closely: bool) -> Facts:
    """Return what a device is, whether it is usable here, and if not, why.

    Args:
        device: The device.
        closely: Whether to look at its conditions and doubts too, which takes a second. A device
            elsewhere is not asked otherwise, nor is one on paper ever: ``usable`` is None.
    """
    facts: Facts = {"name": device.name, "description": device.description}
    if device.transport is not None and not closely:
        why = f"not asked: latkit devices {device.name}"
        return facts | {"usable": None, "why_not": why}
    if device.backend in ON_PAPER:
        settings = {"settings": asdict(device)} if closely else {}
        return facts | {"usable": None, "why_not": "on paper: latkit profile"} | settings
    try:
        backend = backend_for(device)
        facts |= {"usable": True, "why_not": ""}
        if closely:
            facts["settings"] = asdict(device)
            facts["environment"] = dict(backend.environment())
            facts["doubts"] = list(backend.host.preflight())
            if device.gpu is not None:
                from export.bundle.gpu_facts import gpu_facts

                facts |= gpu_facts(device)
    except LatkitError as error:
        facts |= {"usable": False, "why_not": str(error)}
    return facts


def devices_view(facts: Sequence[Facts]) -> RenderableType:
    """List devices; one alone with everything known of it."""
    if len(facts) == 1:
        return listing({**facts[0], **facts[0].get("environment", {})}, leave={"environment"})
    view = Table("device", "usable here", "description", box=None)
    for each in facts:
        no = "" if each["usable"] is None else "no: "
        usable = "yes" if each["usable"] else no + escape(each["why_not"])  # [extras]
        view.add_row(each["name"], usable, each["description"])
    return view


def space_facts(space: SearchSpace, *, closely: bool) -> Facts:
    """Return how large a space is and what a table of it measures.

    Args:
        space: The space.
        closely: Whether to list the operators of every layer, and published architectures.
    """
    chains = chains_to_measure(space)
    facts: Facts = {
        "name": space.name,
        "layers": len(space.layers),
        "architectures": space.size,
        "input_shape": list(space.input_shape),
        "classes": space.classes,
        "operators": len(space.operators),
        "chains_to_measure": len(chains),
    }
    if closely:
        facts["choices"] = [list(space.described(i)) for i in range(len(space.layers))]
        facts["codes"] = [len(layer) for layer in space.layers]
        facts["published"] = [
            {
                "name": name,
                "arch": str(each.arch),
                "macs": total_macs(space.chain(each.arch)),
                "parameters": total_parameters(space.chain(each.arch)),
                "source": each.source,
            }
            for name, each in published_in(space.name).items()
        ]
    return facts


def spaces_view(facts: Sequence[Facts]) -> RenderableType:
    """List spaces; one alone with the choices of its layers and its published architectures."""
    view = Table("space", "layers", "architectures", "input", "operators to measure", box=None)
    for each in facts:
        size = each["architectures"]
        view.add_row(
            each["name"],
            str(each["layers"]),
            f"{size:,}" if size < 1e9 else f"{size:.2g}",
            "x".join(map(str, each["input_shape"])),
            str(each["operators"]),
        )
    layers = Table("layer", "choices", box=None)
    pairs = zip(facts[0].get("codes", []), facts[0].get("choices", []), strict=True)
    for i, (codes, choices) in enumerate(pairs):
        layers.add_row(str(i), _choices_text(codes, choices))
    published = Table("published", "million MACs", "million parameters", box=None)
    published.add_column("architecture", overflow="fold")  # one word, to be copied whole
    for each in facts[0].get("published", []):
        figures = (f"{each['macs'] / 1e6:.2f}", f"{each['parameters'] / 1e6:.2f}")
        published.add_row(each["name"], *figures, each["arch"])
    tables = [table for table in (layers, published) if table.row_count]
    return Group(view, *(part for table in tables for part in ("", table)))


def _choices_text(codes: int, operators: Sequence[str]) -> str:
    """Say what a layer may choose; of codes that share operators only how many, and the ends."""
    if codes == len(operators):
        return "; ".join(f"{j}: {text}" for j, text in enumerate(operators))
    first, *_, last = sorted(operators, key=lambda text: (len(text), text))
    return f"{codes:,} codes of {len(operators)} operators, {first} to {last}"
