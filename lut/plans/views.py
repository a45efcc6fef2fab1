"""Tables of plans for people and machines: kernels and bytes, never a latency."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from devices.nvidia.engine_plan import EnginePlan
from lut.plans.plan_table import PlanTable

SHOWN = 5
"""Operators that a summary lists."""

MB = 1e6


def plans_facts(table: PlanTable) -> dict[str, Any]:
    """Return the figures of a table of plans: of each operator, and of the whole networks."""
    return {
        "status": "planned",
        "device": table.conditions.device.name,
        "precision": table.conditions.device.precision,
        "runtime": table.conditions.environment["runtime"],
        "spaces": ", ".join(key.removeprefix("space ") for key in table.labels) or "none",
        "capabilities": {each: _capability(table, each) for each in table.capabilities},
        "refused": {
            f"{' | '.join(map(str, row.chain))} ({row.capability})": row.refusal
            for row in table.rows
            if row.plan is None
        },
    }


def _capability(table: PlanTable, capability: str) -> dict[str, Any]:
    operators = table.operators(capability)
    return {
        "operators": {str(op): _figures(plan) for op, plan in operators.items()},
        "networks": [_figures(plan) for plan in table.networks(capability).values()],
    }


def _figures(plan: EnginePlan) -> dict[str, Any]:
    return {
        "kernels": len(plan.kernels),
        "fused": [list(kernel.nodes) for kernel in plan.kernels],
        "formats": sorted({each for kernel in plan.kernels for each in kernel.formats}),
        "weight_mb": plan.weight_bytes / MB,
        "activation_mb": plan.activation_bytes / MB,
        "scratch_mb": plan.scratch_bytes / MB,
    }


def plans_view(facts: Mapping[str, Any]) -> RenderableType:
    """Show the summary of a table of plans, and its largest operators."""
    listing = Table.grid(padding=(0, 2))
    for key in ("status", "device", "precision", "runtime", "spaces"):
        listing.add_row(key, str(facts[key]))
    listing.add_row("refused", str(len(facts["refused"])))
    parts: list[RenderableType] = [listing]
    for capability, each in facts["capabilities"].items():
        parts += ["", _networks_line(capability, each), _largest(each["operators"])]
        formats = {text for op in each["operators"].values() for text in op["formats"]}
        parts.append(f"formats that kernels write: {', '.join(sorted(formats))}")
    parts += [f"refused: {name}: {why}" for name, why in list(facts["refused"].items())[:SHOWN]]
    return Group(*parts, "", "Plans say what runs and where it lies; they hold no latency.")


def _networks_line(capability: str, facts: Mapping[str, Any]) -> str:
    line = f"Compute capability {capability}: {len(facts['operators'])} operators"
    networks = facts["networks"]
    if not networks:
        return line
    totals = [each["weight_mb"] + each["activation_mb"] for each in networks]
    kernels = [each["kernels"] for each in networks]
    return (
        f"{line}; {len(networks)} whole networks of {min(totals):.4g} to {max(totals):.4g} MB, "
        f"{min(kernels)} to {max(kernels)} kernels. The largest operators:"
    )


def _largest(operators: Mapping[str, Mapping[str, Any]]) -> Table:
    view = Table("operator", "kernels", "nodes", "weights, MB", "activations, MB", box=None)
    largest = sorted(
        operators.items(), key=lambda pair: -pair[1]["weight_mb"] - pair[1]["activation_mb"]
    )
    for name, each in largest[:SHOWN]:
        nodes = {node for kernel in each["fused"] for node in kernel}
        view.add_row(
            name,
            str(each["kernels"]),
            str(len(nodes)),
            f"{each['weight_mb']:.4g}",
            f"{each['activation_mb']:.4g}",
        )
    return view
