"""What the verbs found, as plain figures for machines and as tables for people."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from devices import DeviceSpec, LatkitError, backend_for
from devices.backend import ON_PAPER
from export.model_views import percentiles_line
from export.precision_views import precision_lines
from export.verdict import Verdict
from lut import LatencyModel
from lut.sums import joined
from lut.table import EMULATED, ESTIMATED
from profiler import Cell, total_macs, total_parameters
from search.answers import Answer
from search.coverage import chains_to_measure
from search.exact import feasible_range
from search.space import Architecture, SearchSpace, as_choices
from search.spaces.darts_cells import DartsSpace
from search.spaces.published import published_in

if TYPE_CHECKING:
    from export.demo import DemoRow
    from export.deploy import Exported
    from export.ship import Shipped
    from search.data import ImageData
    from search.final_files import FinalRun
    from search.trained import TrainedRun

Facts = dict[str, Any]

FRONT_SHOWN = 4
"""Networks of a front that people are shown beside the answer."""

ORIGIN_LINES = {
    ESTIMATED: ("ESTIMATED from a spec sheet; nothing here was measured:",),
    EMULATED: ("EMULATED: measured where software pretends to be the device; no real latency:",),
}
"""What stands above figures that are no real device's, by their origin."""


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
                from export.gpu_facts import gpu_facts

                facts |= gpu_facts(device)
    except LatkitError as error:
        facts |= {"usable": False, "why_not": str(error)}
    return facts


def devices_view(facts: Sequence[Facts]) -> RenderableType:
    """List devices; one alone with everything known of it."""
    if len(facts) == 1:
        return _listing({**facts[0], **facts[0].get("environment", {})}, leave={"environment"})
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


def prediction_facts(model: LatencyModel, space: SearchSpace, arch: Architecture) -> Facts:
    """Return the predicted latency of a network and of its layers, in milliseconds."""
    space.check(arch)
    prices = model.price(as_choices([arch]))
    total_ms = float(prices.latency_s[0]) * 1e3
    fixed: Facts = {"layer": None, "operator": "stem, head and overhead", "ms": model.base_s * 1e3}
    layers = _layer_facts(model, space, arch)
    reach = feasible_range(model)
    chain = space.chain(arch)
    return {
        "arch": str(arch),
        "space": space.name,
        "device": model.device,
        "latency_ms": total_ms,
        "interval_ms": [float(prices.low_s[0]) * 1e3, float(prices.high_s[0]) * 1e3],
        "coverage": prices.coverage,
        "interval_kind": model.band.kind,
        "origin": model.origin,
        "macs": total_macs(chain),
        "parameters": total_parameters(chain),
        **({"genotype": space.genotype(arch)} if isinstance(space, DartsSpace) else {}),
        "space_ms": [reach.fastest.latency_s * 1e3, reach.slowest.latency_s * 1e3],
        "layers": [{**row, "share": row["ms"] / total_ms} for row in (fixed, *layers)],
    }


def _layer_facts(model: LatencyModel, space: SearchSpace, arch: Architecture) -> list[Facts]:
    """Return the share of every priced layer; of layers that are priced together, one."""
    if not model.together:
        return [
            {"layer": i, "operator": str(layer[c]), "ms": float(model.cost_s[i, c]) * 1e3}
            for i, (layer, c) in enumerate(zip(space.layers, arch.choices, strict=True))
        ]
    (index,) = joined(np.array([arch.choices]), model.together, model.groups)
    cost_s = model.cost_s[np.arange(len(index)), index]
    if isinstance(space, DartsSpace):
        return [
            {"layer": None, "operator": text, "ms": float(row_s) * 1e3}
            for text, row_s in zip(space.described_groups(arch), cost_s, strict=True)
        ]
    codes = [op.code for op in space.chain(arch) if isinstance(op, Cell)]
    text = f"{len(codes)} cells {codes[0]}, and the blocks between stages"
    return [{"layer": None, "operator": text, "ms": float(cost_s[0]) * 1e3}]


def prediction_view(facts: Facts) -> RenderableType:
    """Show a prediction and where the time goes."""
    low, high = facts["interval_ms"]
    least, most = facts["space_ms"]
    view = Table("layer", "operator", "us", "share", box=None)
    for row in facts["layers"]:
        layer = "" if row["layer"] is None else str(row["layer"])
        view.add_row(layer, row["operator"], f"{row['ms'] * 1e3:.1f}", f"{row['share']:.1%}")
    return Group(
        *ORIGIN_LINES.get(facts["origin"], ()),
        f"{facts['arch']} on {facts['device']}: {facts['latency_ms']:.4g} ms, "
        f"{facts['coverage']:.0%} between {low:.4g} and {high:.4g} ms "
        f"({facts['interval_kind']} interval)",
        f"the space {facts['space']} spans {least:.4g} to {most:.4g} ms there",
        *((escape(facts["genotype"]),) if "genotype" in facts else ()),
        "",
        view,
    )


def run_facts(run_dir: Path, run: "TrainedRun | FinalRun", data: "ImageData") -> Facts:
    """Return what a training run holds."""
    return {
        "run": str(run_dir),
        "space": run.record.space,
        "method": run.record.method,
        "data": data.name,
        "images": {
            "training": len(data.training),
            "validation": len(data.validation),
            "test": len(data.test),
        },
        "skipped": list(data.skipped),
        "epochs": run.epoch,
        "seed": run.record.settings.seed,
        **_pool_facts(run_dir, run.record.method),
    }


def _pool_facts(run_dir: Path, method: str) -> Facts:
    """Return how a greedy run's candidate pool stands; nothing of other runs."""
    from search import greedynas  # of torch, as every run is

    if method != greedynas.METHOD:
        return {}
    pool = greedynas.read_pool(run_dir)
    best = {str(path): loss for path, loss in pool.entries[:1]}
    turnovers = greedynas.read_turnovers(run_dir)
    return {
        "pool": {"paths": len(pool.losses), "capacity": pool.capacity, "best_loss": best},
        "turnover": [round(share, 3) for share in turnovers] or "the pool was not full for long",
    }


def run_view(facts: Facts) -> RenderableType:
    """Show a training run."""
    return _listing(facts)


def answers_view(answers: Sequence[Answer], *, notes: Sequence[str] = ()) -> RenderableType:
    """Show what a search found for each limit, and what is to be known of the limits."""
    view = Table("limit, ms", "architecture", "predicted, ms", "interval, ms", "accuracy", box=None)
    for answer in answers:
        view.add_row(
            ", ".join(f"{limit * 1e3:.4g}" for limit in answer.limits_s),
            str(answer.arch),
            ", ".join(f"{seconds * 1e3:.4g}" for seconds in answer.predicted_s),
            ", ".join(f"{low * 1e3:.4g} to {high * 1e3:.4g}" for low, high in answer.interval_s),
            "-" if answer.accuracy is None else f"{answer.accuracy:.1%}",
        )
    note = f"Accuracy: {answers[0].accuracy_from}; selected by it, so optimistic."
    fronts = [line for answer in answers if (line := _front_line(answer))]
    return Group(view, note, *fronts, *filter(None, notes))


def _front_line(answer: Answer) -> str:
    """Say what else a search had to choose from, fastest last; empty where nothing."""
    others = [each for each in answer.front if each.arch != answer.arch]
    if not others:
        return ""
    limits = ", ".join(f"{limit * 1e3:.4g}" for limit in answer.limits_s)
    shown = "; ".join(
        f"{each.accuracy or 0:.1%} in {', '.join(f'{s * 1e3:.4g}' for s in each.latency_s)} ms"
        for each in others[:FRONT_SHOWN]
    )
    more = len(others) - FRONT_SHOWN
    rest = f"; {more} more in the file" if more > 0 else ""
    return f"Also on the front within {limits} ms: {shown}{rest}."


def exported_facts(folder: Path, exported: "Exported") -> Facts:
    """Return what an export wrote; a quantised model's accuracy beside that of its floats."""
    facts: Facts = {
        "directory": str(folder),
        **exported.deployment.as_json(),
        "test_accuracy": exported.test_accuracy,
    }
    known = exported.deployment.facts
    if "test_accuracy_fp32" in known:
        facts["test_accuracy_fp32"] = known["test_accuracy_fp32"]
    return facts | ({"shortfall": exported.shortfall} if exported.shortfall else {})


def exported_view(facts: Facts) -> RenderableType:
    """Show what an export wrote, and what its number format costs and gains."""
    beside = facts.get("side_by_side")
    lines = precision_lines(facts["precision"], facts["facts"], beside)
    return Group(_listing(facts, leave={"facts", "space", "side_by_side"}), *map(escape, lines))


def verdict_view(verdict: Verdict) -> RenderableType:
    """Show a verdict."""
    facts = verdict.as_json()
    lines = [
        verdict.line,
        f"{facts['processes']} fresh processes, status {verdict.status}; "
        f"largest difference of the outputs {verdict.parity_max_abs:.2g}",
        *([f"single runs: {percentiles_line(facts)}"] if verdict.single_runs else []),
        *_elsewhere(verdict),
        *(f"  {doubt}" for doubt in verdict.doubts()),
    ]
    return Group(*map(escape, lines))


def _elsewhere(verdict: Verdict) -> list[str]:
    """Say so where a verdict is of another device or runtime than those before."""
    if not verdict.differences:
        return []
    return [f"measured anew, since this is another device: {'; '.join(verdict.differences)}"]


def shipped_facts(folder: Path, shipped: "Shipped") -> Facts:
    """Return what was shipped, and what the device says of it."""
    return {
        **exported_facts(folder, shipped.exported),
        "tries": shipped.tries,
        "verdict": shipped.verdict.as_json(),
    }


def shipped_view(folder: Path, shipped: "Shipped") -> RenderableType:
    """Show what was shipped, and what the device says of it."""
    tried = f"network {shipped.tries} of those that the search named"
    return Group(
        exported_view(exported_facts(folder, shipped.exported)),
        tried,
        verdict_view(shipped.verdict),
    )


def demo_view(folder: Path, rows: Sequence["DemoRow"]) -> RenderableType:
    """Show the promises of a demo and what became of them."""
    view = Table(
        "budget, ms", "predicted, ms", "measured, ms", "verdict", "test accuracy", "network",
        box=None,
    )  # fmt: skip
    for row in rows:
        low, high = (end * 1e3 for end in row.interval_s)
        view.add_row(
            f"{row.limit_s * 1e3:.3g}",
            f"{row.predicted_s * 1e3:.3g} ({low:.3g} to {high:.3g})",
            f"{row.verdict.measured_s * 1e3:.3g}",
            row.verdict.verdict,
            f"{row.test_accuracy:.1%}",
            row.arch,
        )
    return Group(view, f"Models, table, run and plots are in {folder}.")


def _listing(facts: Facts, leave: set[str] | None = None) -> RenderableType:
    view = Table.grid(padding=(0, 2))
    for key, value in facts.items():
        if key not in (leave or set()):
            view.add_row(key, _text(value))
    return view


def _text(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
        case list() | tuple():
            return ", ".join(map(_text, value)) or "none"
        case float():
            return f"{value:.4g}"
        case np.floating():
            return f"{float(value):.4g}"
        case _:
            return escape(str(value))  # pip install 'latkit[cuda]' has its brackets
