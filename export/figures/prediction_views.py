"""What a table predicts of one network: figures, and a view."""

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from export.figures.listing import Facts
from lut import LatencyModel
from lut.sums import joined
from profiler import Cell, total_macs, total_parameters
from search.exact import feasible_range
from search.space import Architecture, SearchSpace, as_choices
from search.spaces.darts_cells import DartsSpace


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


def prediction_view(facts: Facts, *, origin: str) -> RenderableType:
    """Show a prediction and where the time goes.

    Args:
        facts: Of `prediction_facts`.
        origin: What stands above it, see `export.figures.origin.origin_line`; may be empty.
    """
    low, high = facts["interval_ms"]
    least, most = facts["space_ms"]
    view = Table("layer", "operator", "us", "share", box=None)
    for row in facts["layers"]:
        layer = "" if row["layer"] is None else str(row["layer"])
        view.add_row(layer, row["operator"], f"{row['ms'] * 1e3:.1f}", f"{row['share']:.1%}")
    return Group(
        *((escape(origin),) if origin else ()),
        f"{facts['arch']} on {facts['device']}: {facts['latency_ms']:.4g} ms, "
        f"{facts['coverage']:.0%} between {low:.4g} and {high:.4g} ms "
        f"({facts['interval_kind']} interval)",
        f"the space {facts['space']} spans {least:.4g} to {most:.4g} ms there",
        *((escape(facts["genotype"]),) if "genotype" in facts else ()),
        "",
        view,
    )
