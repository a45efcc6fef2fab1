"""Tables of plans: build what a file lacks, and read what it holds."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from devices import DeviceSpec, LatkitError, UnknownName, UnsupportedGraph
from devices.nvidia.engine_plan import EnginePlan, plan_engine
from devices.nvidia.tensorrt_build import known_capabilities, tensorrt_module
from lut.files.holder import held_table
from lut.plans.plan_file import PlanFile, PlanRole, PlanRow, create_plans, open_plans
from lut.table import Conditions, conditions_from_meta
from profiler import Chain, OpSpec, Skip

CAPABILITY = re.compile(r"(SM)?(\d+)\.?(\d)", re.IGNORECASE)


class MissingPlan(LatkitError):
    """A table of plans was asked for operators that it does not hold, or that were refused."""


@dataclass(frozen=True, kw_only=True)  # no slots: what is derived is cached on the instance
class PlanTable:
    """Plans of operators and networks for one or several kinds of GPU.

    Attributes:
        name: Where it came from, for messages.
        conditions: Device with precision and batch, and the builder with its version.
        rows: What was planned, or refused.
        labels: What other layers noted in the file.
    """

    name: str
    conditions: Conditions
    rows: tuple[PlanRow, ...]
    labels: Mapping[str, Any]

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Compute capabilities, in the order in which they were planned for."""
        return tuple(dict.fromkeys(row.capability for row in self.rows))

    def operators(self, capability: str) -> dict[OpSpec, EnginePlan]:
        """Return the plan of each operator for one compute capability."""
        return {chain[0]: plan for chain, plan in self._plans("operator", capability).items()}

    def networks(self, capability: str) -> dict[Chain, EnginePlan]:
        """Return the plan of each whole network for one compute capability."""
        return self._plans("calibration", capability)

    def plan(self, op: OpSpec, capability: str) -> EnginePlan:
        """Return the plan of one operator.

        Raises:
            MissingPlan: It was not planned, or refused.
        """
        found = self._by_chain.get(((op,), capability))
        if found is not None and found.plan is not None:
            return found.plan
        why = f"; the builder refused it: {found.refusal}" if found else ""
        known = ", ".join(self.capabilities) or "none"
        raise MissingPlan(
            f"no plan of [{op}] for compute capability {capability} in {self.name}, which has "
            f"{known}{why}. Make it: latkit profile --device {self.conditions.device.name} "
            f"--space SPACE --capability {capability} -o {self.name}"
        )

    @cached_property
    def _by_chain(self) -> dict[tuple[Chain, str], PlanRow]:
        return {(row.chain, row.capability): row for row in self.rows}

    def _plans(self, role: PlanRole, capability: str) -> dict[Chain, EnginePlan]:
        return {
            row.chain: row.plan
            for row in self.rows
            if row.role == role and row.capability == capability and row.plan is not None
        }


def capability_from_text(text: str) -> str:
    """Return a compute capability as CUDA writes it: ``8.6`` for 86, SM86 or 8.6.

    Raises:
        DeviceUnavailable: TensorRT for RTX is not installed.
        UnknownName: It builds for no such GPU.
    """
    match = CAPABILITY.fullmatch(text.strip())
    given = f"{match[2]}.{match[3]}" if match else text
    known = known_capabilities()
    if given not in known:
        raise UnknownName("compute capability that can be planned for", given, known)
    return given


def current_plan_conditions(device: DeviceSpec) -> Conditions:
    """Return what plans that are made here and now depend on.

    Raises:
        DeviceUnavailable: TensorRT for RTX is not installed.
    """
    runtime = f"TensorRT for RTX {tensorrt_module('tensorrt_rtx').__version__}"
    return Conditions(device=device, environment={"origin": "planned", "runtime": runtime})


@contextmanager
def plan_file_for(path: Path, device: DeviceSpec) -> Iterator[PlanFile]:
    """Open a device's table of plans, or make it where there is none.

    Raises:
        InUse: Another process fills it.
        WrongConditions: The file was made with another version, precision or batch.
        InvalidFile: It is no table of plans.
        DeviceUnavailable: TensorRT for RTX is not installed.
    """
    here = current_plan_conditions(device)
    with held_table(path):
        if not path.exists():
            with create_plans(path, here.as_meta()) as file:
                yield file
            return
        with open_plans(path) as file:
            conditions_from_meta(file.meta()).require(here, str(path))
            yield file


def fill_plans(
    file: PlanFile,
    wanted: Mapping[Chain, PlanRole],
    capabilities: Sequence[str],
    *,
    on_plan: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Plan what a file lacks, each row committed as it is made.

    May be killed at any moment and called again: it goes on where it stopped. What the builder
    refuses is entered as refused.

    Args:
        file: Open; conditions are those of here and now (see `plan_file_for`).
        wanted: What to plan, and why.
        capabilities: Of the GPUs to plan for.
        on_plan: Called with the rows that are done and those that are wanted in all.

    Raises:
        StorageFull: The disk is full; everything before is safe.
        UnreadablePlan: The builder writes another log than is known.
    """
    from profiler.operators.builders import (
        graph_for,  # onnx is slow to import, and tables do without
    )

    device = conditions_from_meta(file.meta()).device
    there = {(row.chain, row.capability) for row in file.rows()}
    todo = [(chain, each) for chain in wanted for each in capabilities]
    lacking = [pair for pair in todo if pair not in there]
    for number, (chain, capability) in enumerate(lacking):
        on_plan(len(todo) - len(lacking) + number, len(todo))
        plan, refusal = None, ""
        try:
            plan = plan_engine(graph_for(chain, device), capability=capability)
        except UnsupportedGraph as error:
            refusal = str(error)
        row = PlanRow(
            chain=chain, role=wanted[chain], capability=capability, plan=plan, refusal=refusal
        )
        file.add(row)
    on_plan(len(todo), len(todo))


def chains_to_plan(operators: Sequence[OpSpec], networks: Sequence[Chain]) -> dict[Chain, PlanRole]:
    """Return what a table of plans holds of a space: operators alone, and whole networks."""
    wanted: dict[Chain, PlanRole] = {
        (op,): "operator" for op in operators if not isinstance(op, Skip)
    }
    return wanted | dict.fromkeys(networks, "calibration")


def load_plans(path: Path) -> PlanTable:
    """Read a table of plans.

    Raises:
        InvalidFile: The file is missing, no table of plans, damaged, or made by a newer latkit.
    """
    with open_plans(path) as file:
        return PlanTable(
            name=str(path),
            conditions=conditions_from_meta(file.meta()),
            rows=tuple(file.rows()),
            labels=file.labels(),
        )
