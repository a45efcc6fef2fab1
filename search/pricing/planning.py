"""A space and its plans: build what a table of plans lacks."""

from collections.abc import Callable, Sequence
from pathlib import Path

from devices import DeviceSpec
from lut.outlook import minutes
from lut.plans.plan_file import PlanRole
from lut.plans.plan_table import PlanTable, chains_to_plan, fill_plans, load_plans, plan_file_for
from profiler import Chain
from profiler.campaigns.forecast import building_seconds
from search.pricing.coverage import whole_networks
from search.pricing.tables import label_space
from search.space import SearchSpace

NETWORKS = 8
"""Whole networks that correct the sums of operators: the smallest, the largest, and drawn ones."""


def plan_space(
    path: Path,
    space: SearchSpace,
    device: DeviceSpec,
    capabilities: Sequence[str],
    *,
    on_plan: Callable[[int, int], None] = lambda _done, _total: None,
) -> PlanTable:
    """Plan what a file lacks of a space; go on where an earlier call was cut off.

    Args:
        path: The table of plans; made where there is none.
        space: What to cover. Its batch is the device's.
        device: Of the backend ``rtx-aot``.
        capabilities: Of the GPUs to plan for.
        on_plan: Called with the plans that are done and those that are wanted in all.

    Raises:
        WrongConditions: The file was made with another version, precision or batch.
        InvalidFile: It is no table of plans.
        DeviceUnavailable: TensorRT for RTX is not installed.
        UnreadablePlan: It writes another log than is known.
        StorageFull: The disk is full; everything before is safe.
    """
    with plan_file_for(path, device) as file:
        for key, label in label_space(space).items():
            file.set_label(key, label)
        fill_plans(file, _wanted(space), capabilities, on_plan=on_plan)
    return load_plans(path)


def plan_outlook(
    path: Path, space: SearchSpace, device: DeviceSpec, capabilities: Sequence[str]
) -> str:
    """Say what `plan_space` is about to do, and about how long that takes; arguments as there.

    Raises:
        InvalidFile: It is no table of plans.
    """
    rows = load_plans(path).rows if path.exists() else ()
    there = {(row.chain, row.capability) for row in rows}
    lacking = [
        chain for each in capabilities for chain in _wanted(space) if (chain, each) not in there
    ]
    if not lacking:
        return "nothing is lacking"
    took_s = building_seconds(lacking, device, processes=1)
    return f"{len(lacking):,} engines to plan: about {minutes(took_s)}"


def _wanted(space: SearchSpace) -> dict[Chain, PlanRole]:
    """Return what a table of plans holds of a space."""
    operators = (*space.before, *space.operators, *space.after)
    return chains_to_plan(operators, whole_networks(space, NETWORKS, seed=0))
