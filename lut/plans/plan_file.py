"""The file of a table of plans: kernels and bytes of engines that were built, never a latency.

It is of another kind than a ``.lut`` file, so that nothing that reads latencies opens it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from devices import InvalidFile
from devices.errors import reason_of
from devices.nvidia.engine_plan import EnginePlan, plan_from_json
from lut.files.sqlite_file import FileKind, NotedFile, create_file, open_file
from profiler import Chain, chain_from_key, chain_to_key

PlanRole = Literal["operator", "calibration"]
"""Why a chain was planned: an operator alone, or a whole network to correct their sums by."""

PLANS = FileKind(
    application_id=0x4C41504C,
    version=1,
    schema="""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE labels (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE plans (
    chain TEXT NOT NULL,       -- key of the operators, as in a table of latencies
    role TEXT NOT NULL,
    capability TEXT NOT NULL,  -- compute capability, as 8.6
    plan TEXT,                 -- JSON: kernels and bytes; NULL where it was refused
    refusal TEXT,              -- why; NULL where it was planned
    PRIMARY KEY (chain, capability)
);
""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """A chain as it was planned for one compute capability.

    Attributes:
        chain: Operators, each fed by the one before.
        role: Why.
        capability: Compute capability of the GPU.
        plan: What the builder made of it; None where it refused.
        refusal: Why it did; empty where it did not.
    """

    chain: Chain
    role: PlanRole
    capability: str
    plan: EnginePlan | None
    refusal: str = ""

    def __post_init__(self) -> None:
        if (self.plan is None) != bool(self.refusal):
            raise ValueError("a chain has a plan, or a reason why not")


class PlanFile(NotedFile):
    """An open file of plans. Use `plan_file_for` or `open_plans`."""

    def add(self, row: PlanRow) -> None:
        """Commit a row.

        Raises:
            StorageFull: The disk is full.
        """
        plan = None if row.plan is None else json.dumps(row.plan.as_json())
        values = (chain_to_key(row.chain), row.role, row.capability, plan, row.refusal or None)
        with self._commit():
            self._db.execute("INSERT INTO plans VALUES (?, ?, ?, ?, ?)", values)

    def rows(self) -> Iterator[PlanRow]:
        """Yield all rows in the order in which they were committed.

        Raises:
            InvalidFile: A plan is not what `add` writes.
        """
        rows = self._db.execute(
            "SELECT chain, role, capability, plan, refusal FROM plans ORDER BY rowid"
        )
        for chain, role, capability, plan, refusal in rows:
            try:
                read = None if plan is None else plan_from_json(json.loads(plan))
            except (KeyError, TypeError, ValueError) as error:
                raise InvalidFile(
                    f"{self.path} holds a plan that is none ({reason_of(error)})"
                ) from error
            yield PlanRow(
                chain=chain_from_key(chain),
                role=role,
                capability=capability,
                plan=read,
                refusal=refusal or "",
            )


@contextmanager
def open_plans(path: Path) -> Iterator[PlanFile]:
    """Hold an existing file open.

    Raises:
        InvalidFile: It is missing, no table of plans, damaged, or made by a newer latkit.
    """
    with open_file(path, PLANS) as db:
        yield PlanFile(path, db)


@contextmanager
def create_plans(path: Path, meta: Mapping[str, Any]) -> Iterator[PlanFile]:
    """Make a new file and hold it open.

    Raises:
        ValueError: It exists.
        InvalidFile: The place cannot be written.
        StorageFull: The disk is full.
    """
    create_file(path, PLANS, meta)
    with open_plans(path) as file:
        yield file


def holds_plans(path: Path) -> bool:
    """Return whether a file says that it is a table of plans."""
    return PLANS.holds(path)
