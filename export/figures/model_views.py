"""What profiling a model file found, as plain figures for machines and as a view for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from devices import Graph
from devices.graphs.fusion import Fusion, fusion
from profiler import COVERAGE, ModelProfile, Percentile

Facts = dict[str, Any]

SLOWEST = 12
"""Kernels that the view lists."""

NAMED = 6
"""Nodes that a line names before it only counts them."""


def model_facts(graph: Graph, profile: ModelProfile) -> Facts:
    """Return the promised keys of ``latkit profile --onnx --json``; times in milliseconds.

    A percentile is ``[value, low, high]``, or None where it needs more runs.
    """
    change = fusion(graph.onnx, profile.trace.optimized)
    return {
        "inputs": [
            {"name": name, "shape": list(shape), "dtype": dtype}
            for name, shape, dtype in graph.typed_inputs
        ],
        "latency_ms": profile.latency_s * 1e3,
        "interval_ms": [end * 1e3 for end in profile.interval_s],
        "coverage": COVERAGE,
        "percentiles_ms": percentile_facts(profile.percentiles),
        "single_runs": len(profile.single_runs_s),
        "kernels": [
            {
                "name": kernel.name,
                "op": kernel.op,
                "ms": kernel.latency_s * 1e3,
                "share": kernel.latency_s / profile.latency_s,
            }
            for kernel in profile.kernels
        ],
        "kernels_raw_sum_ms": profile.trace.sum_s * 1e3,
        "optimized": {
            "nodes_before": sum(change.before.values()),
            "nodes_after": sum(change.after.values()),
            "operators_before": dict(change.before),
            "operators_after": dict(change.after),
            "gone": list(change.gone),
        },
        "processes": len(profile.measurement.by_process),
        "status": profile.measurement.status,
        "doubts": [*profile.doubts(), *_casts(change)],
    }


def percentile_facts(percentiles: Mapping[int, Percentile | None]) -> Facts:
    """Return percentiles by name, each ``[value, low, high]`` in milliseconds, or None."""
    return {
        f"p{percent}": p and [p.latency_s * 1e3, p.low_s * 1e3, p.high_s * 1e3]
        for percent, p in percentiles.items()
    }


def _casts(change: Fusion) -> list[str]:
    """Say so where the runtime computes in another number format than the file asks for."""
    added = change.after.get("Cast", 0) - change.before.get("Cast", 0)
    if added <= 0:
        return []
    return [
        f"the runtime added {added} conversions: it computes parts of this network in another "
        "number format than the file's, so the latency says little about that format"
    ]


def model_view(facts: Facts) -> RenderableType:
    """Show how long a network takes, how steadily, and which kernels take it."""
    low, high = facts["interval_ms"]
    inputs = (
        f"{each['name']} {'x'.join(map(str, each['shape'])) or 'scalar'} {each['dtype']}"
        for each in facts["inputs"]
    )
    summary = [
        f"{facts['model']} on {facts['device']}: {facts['latency_ms']:.4g} ms, "
        f"{facts['coverage']:.0%} between {low:.4g} and {high:.4g} ms; "
        f"{facts['processes']} fresh processes, status {facts['status']}",
        f"single runs: {percentiles_line(facts)}",
        f"inputs: {', '.join(inputs) or 'none'}",
        *(f"  {line}" for line in (*facts["assumed"], *facts["doubts"])),
    ]
    return Group(_lines(summary), _kernel_table(facts), _lines(_optimized_lines(facts)))


def _lines(lines: Sequence[str]) -> RenderableType:
    """Return lines as they are: names in files may hold what rich takes for markup."""
    return Text("\n".join((*lines, "")))


def percentiles_line(facts: Facts) -> str:
    """Return the percentiles of single runs in one line."""
    parts = [
        f"{name} {value[0]:.4g} ms ({value[1]:.4g} to {value[2]:.4g})"
        for name, value in facts["percentiles_ms"].items()
        if value
    ]
    return f"{', '.join(parts) or 'too few for percentiles'}, of {facts['single_runs']:,}"


def _kernel_table(facts: Facts) -> RenderableType:
    """List the slowest kernels, and what the others take together."""
    rows = sorted(facts["kernels"], key=lambda row: -row["ms"])
    view = Table("kernel", "operator", "us", "share", box=None)
    for row in rows[:SLOWEST]:
        view.add_row(Text(row["name"]), row["op"], f"{row['ms'] * 1e3:.1f}", f"{row['share']:.1%}")
    others = rows[SLOWEST:]
    if others:
        us, share = (sum(row[key] for row in others) for key in ("ms", "share"))
        view.add_row(f"{len(others)} others", "", f"{us * 1e3:.1f}", f"{share:.1%}")
    return view


def _optimized_lines(facts: Facts) -> list[str]:
    optimized, raw_ms = facts["optimized"], facts["kernels_raw_sum_ms"]
    gap = raw_ms / facts["latency_ms"] - 1
    lines = [
        f"under the profiler the kernels took {raw_ms:.4g} ms together ({gap:+.1%}); "
        "here they are scaled to the latency",
        f"nodes: {optimized['nodes_before']} in the file, {optimized['nodes_after']} as run "
        f"({_counts(optimized['operators_after'])})",
    ]
    gone = optimized["gone"]
    if gone:
        more = f" and {len(gone) - NAMED} more" if len(gone) > NAMED else ""
        named = ", ".join(gone[:NAMED])
        lines.append(f"fused with the next node, folded or dropped: {named}{more}")
    if facts["saved"]:
        lines.append(f"the graph as run is in {facts['saved']}")
    return lines


def _counts(operators: Mapping[str, int]) -> str:
    ordered = sorted(operators.items(), key=lambda pair: -pair[1])
    others = sum(count for _, count in ordered[NAMED:])
    more = f", {others} others" if others else ""
    return ", ".join(f"{count} {op}" for op, count in ordered[:NAMED]) + more
