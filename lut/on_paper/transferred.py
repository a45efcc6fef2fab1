"""A table for a new device, out of tables of others and a few networks measured on it.

What comes out are estimates, in a file of estimates: nobody measured its operators there.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.files import whole
from lut.calibration import Layered, calibration_curve, network_sums, operator_matrix
from lut.files.storage import ForeignRow, create_table
from lut.on_paper.estimates import (
    BASE,
    RATIOS,
    EstimatedTable,
    load_estimates,
    require_replaceable,
)
from lut.on_paper.transfer import Known, Times, Transfer
from lut.table import ESTIMATED, Conditions, LatencyTable
from profiler import OpSpec, Skip, kernels_of

RULE = "sums of what other devices take, of operations, numbers moved and kernels"
"""How estimates are made: a condition, so that rules do not mix."""

KINDS = 4
"""Operations on matrix and on vector units, numbers moved, kernels: what `counts_of` counts."""


@cache
def counts_of(op: OpSpec) -> tuple[float, ...]:
    """Return what an operator has to do, `KINDS` numbers."""
    kernels = () if isinstance(op, Skip) else kernels_of((op,))
    return (
        sum(each.matrix_ops for each in kernels),
        sum(each.vector_ops for each in kernels),
        float(sum(each.moved for each in kernels)),
        float(len(kernels)),
    )


def known_of(tables: Sequence[LatencyTable], space: Layered, choices: NDArray[np.integer]) -> Known:
    """Return what tables of other devices, and arithmetic, say of networks.

    Args:
        tables: One device each; all hold the space's operators.
        space: Whose networks.
        choices: ``(networks, layers)``.

    Raises:
        MissingLatency: A table lacks operators.
        NotCalibrated: A table lacks whole networks of this space.
    """
    seconds = [
        _beside(table, space)
        + network_sums(space, choices, operator_matrix(space, table.__getitem__))
        for table in tables
    ]
    fixed = _counted_ends(space)
    counts = [
        fixed[kind] + network_sums(space, choices, operator_matrix(space, _counter(kind)))
        for kind in range(KINDS)
    ]
    return Known(latency_s=np.stack(seconds, axis=1), counts=np.stack(counts, axis=1))


def write_transferred(
    path: Path,
    tables: Sequence[LatencyTable],
    space: Layered,
    *,
    transfer: Transfer,
    probed: LatencyTable,
    labels: Mapping[str, Any],
) -> EstimatedTable:
    """Write the estimates of all operators of a space; estimates that stood there are replaced.

    Args:
        path: The table of estimates.
        tables: Of the known devices, as in `known_of`.
        space: Whose operators.
        transfer: Fitted.
        probed: What was measured on the new device.
        labels: To note.

    Raises:
        StorageFull: The disk is full; what stood there before still does.
    """
    per_device = np.array(transfer.per_device)
    per_count = np.array(transfer.per_count)

    def seconds(op: OpSpec) -> float:
        own = per_device @ [table[op] for table in tables] + per_count @ counts_of(op)
        return max(0.0, float(own))  # no operator gives time back

    beside_s = float(per_device @ [_beside(table, space) for table in tables])
    noted = {
        **labels,
        RATIOS: list(transfer.ratios),
        BASE: transfer.base_s + beside_s + float(per_count @ _counted_ends(space)),
    }
    require_replaceable(path)
    conditions = _conditions(tables, probed, probes=len(transfer.ratios))
    with (
        whole(path) as partial,
        create_table(partial, conditions.as_meta()) as file,
        file.at_once(),
    ):
        file.add_foreign(
            [
                ForeignRow(key=str(op), latency_s=seconds(op), op=op)
                for op in space.operators
                if not isinstance(op, Skip)
            ]
        )
        for key, value in noted.items():
            file.set_label(key, value)
    return load_estimates(path)


def _counter(kind: int) -> Callable[[OpSpec], float]:
    return lambda op: counts_of(op)[kind]


def _beside(table: LatencyTable, space: Layered) -> float:
    """Return the seconds of a network beside its operators, on the scale of their sum."""
    curve = calibration_curve(table, space)
    return curve.base_s / curve.slope


def _counted_ends(space: Layered) -> Times:
    return np.sum([counts_of(op) for op in (*space.before, *space.after)], axis=0)


def _conditions(tables: Sequence[LatencyTable], probed: LatencyTable, *, probes: int) -> Conditions:
    sources = ", ".join(f"{table.conditions.device.name} {table.hash}" for table in tables)
    environment = {
        **probed.conditions.environment,
        "origin": ESTIMATED,
        "rule": RULE,
        "transferred from": sources,
        "calibrated on": f"{probes} whole networks of {Path(probed.name).name}",
    }
    return Conditions(device=probed.conditions.device, environment=environment)
