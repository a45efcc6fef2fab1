"""What is known about one device under one set of conditions."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, Literal

from devices import DeviceSpec, LatkitError, device_from_fields
from devices.backend import is_emulated as emulates
from lut.files.engines import Engines, engines_of
from lut.files.storage import Role, TableFile, open_table
from profiler import (
    Chain,
    Measurement,
    OpSpec,
    Skip,
    chain_to_key,
    contexts,
    in_context,
    terms,
)

REVISION = "calibration revision"
"""Label that counts the verdicts that were fed back."""

Origin = Literal["measured", "estimated", "emulated"]
"""Where latencies come from; what is not said was measured."""

ESTIMATED: Literal["estimated"] = "estimated"
"""The origin of a file of estimates (`lut.on_paper.estimates`), in its environment."""

LATER = ("cluster", "gpu", "emulated", "transport", "sheet", "provider", "perf_test")
"""Fields that devices got after tables had been named by their hash: where one says nothing it is
left out of the hash, so that those tables keep theirs."""


TIMING_CACHE = "timing cache"
"""Condition of a table whose engines were built by one: a hash of it. It is the table's, not the
device's: two tables are compared by it, but not with what a device says of itself (see
`lut.timing_cache`)."""


class MissingLatency(LatkitError, KeyError):
    """A table was asked for operators that it does not hold."""

    __str__ = Exception.__str__  # KeyError would print the repr


class WrongConditions(LatkitError):
    """A table was made under other conditions than those it is used for."""


class NotMeasured(LatkitError):
    """A file of estimates stands where a measured table is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """All that a latency depends on besides the operator. Rows of different ones never mix.

    Attributes:
        device: How the network is run.
        environment: Runtime, processor and settings in force, as the backend reports them.
    """

    device: DeviceSpec
    environment: Mapping[str, str]

    def as_meta(self) -> dict[str, Any]:
        """Return plain data, as a file keeps it."""
        return {"device": asdict(self.device), "environment": dict(self.environment)}

    def differences(self, other: "Conditions", *, where: str = "in the table") -> list[str]:
        """Return what differs, one phrase each: ``threads: 1 in the table, 2 here``.

        Args:
            other: The conditions here.
            where: What these ones are of.
        """
        mine, theirs = _flat(self), _flat(other)
        alone = {TIMING_CACHE} if TIMING_CACHE in mine.keys() ^ theirs.keys() else set()
        return [
            f"{key}: {mine.get(key)} {where}, {theirs.get(key)} here"
            for key in sorted((mine.keys() | theirs.keys()) - alone)
            if mine.get(key) != theirs.get(key)
        ]

    def require(self, other: "Conditions", what: str) -> None:
        """Check that this table may be used under other conditions.

        Raises:
            WrongConditions: They differ; says where.
        """
        if found := self.differences(other):
            raise WrongConditions(
                f"{what} holds for other conditions ({'; '.join(found[:4])}). "
                "Profile this device into a table of its own: latkit profile"
            )


def conditions_from_meta(meta: Mapping[str, Any]) -> Conditions:
    """Read conditions back from a file's plain data."""
    return Conditions(
        device=device_from_fields(meta["device"]), environment=dict(meta["environment"])
    )


def _flat(conditions: Conditions) -> dict[str, str]:
    device = asdict(conditions.device)
    del device["description"]
    return {key: str(value) for key, value in {**device, **conditions.environment}.items()}


@dataclass(frozen=True, kw_only=True)  # no slots: the hash is cached on the instance
class LatencyTable(Mapping[OpSpec, float]):
    """Latencies of operators on one device, as measured in context.

    ``table[op]`` is seconds per inference, or raises. A look-up never guesses. The neighbours that
    operators are timed between can be looked up, too, and are not listed.

    Attributes:
        name: Where it came from, for messages.
        conditions: What the latencies depend on.
        chains: Measurements for the table, by what was timed (see `profiler.operators.probes`).
        networks: Whole networks that were timed for calibration.
        checks: Whole networks that were timed to check predictions; never calibrated on.
        verified: Whole networks that were shipped and measured: calibrated on, too.
        rebuilt: Operators and networks whose engine each process built anew.
        refusals: Chains that the device cannot run, and why.
        labels: What other layers noted in the file.
    """

    name: str
    conditions: Conditions
    chains: Mapping[Chain, Measurement]
    networks: Mapping[Chain, Measurement] = field(default_factory=dict)
    checks: Mapping[Chain, Measurement] = field(default_factory=dict)
    verified: Mapping[Chain, Measurement] = field(default_factory=dict)
    rebuilt: Mapping[Chain, Measurement] = field(default_factory=dict)
    refusals: Mapping[Chain, str] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, op: OpSpec) -> float:
        """Return an operator's seconds between usual neighbours, see `profiler.operators.probes`.

        The value may be slightly negative for an operator that is cheaper in company.

        Raises:
            MissingLatency: The operator or one of its contexts was not measured.
        """
        if op not in self:
            raise self.missing([op])
        return sum(count * self.seconds(self.chains[chain]) for chain, count in terms(op).items())

    def __iter__(self) -> Iterator[OpSpec]:
        timed = (chain for chain in self.chains if len(chain) == 3 and chain[1] != chain[0])
        return (chain[1] for chain in timed if in_context(chain[1]) == chain and chain[1] in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, op: object) -> bool:
        return isinstance(op, OpSpec) and all(chain in self.chains for chain in needed(op))

    def measurement(self, op: OpSpec) -> Measurement:
        """Return the raw samples of an operator in its context.

        Raises:
            MissingLatency: It was not measured.
        """
        try:
            return self.chains[in_context(op)]
        except KeyError:
            raise self.missing([op]) from None

    def missing(self, ops: list[OpSpec]) -> MissingLatency:
        """Return the error that names operators this table lacks, and the cure."""
        first = str(ops[0])
        close = get_close_matches(first, map(str, self), n=1)
        more = f" and {len(ops) - 1} more" if len(ops) > 1 else ""
        refused = [self.refusals[chain] for chain in needed(ops[0]) if chain in self.refusals]
        return MissingLatency(
            f"no latency for [{first}]{more} on {self.conditions.device.name!r} "
            f"among {len(self)} operators of {self.name}"
            + (f"; the device refused it: {refused[0]}" if refused else "")
            + (f"; closest is [{close[0]}]" if close else "")
            + f". Measure it: latkit profile --device {self.conditions.device.name} "
            f"--space SPACE -o {self.name}"
        )

    def seconds(self, measurement: Measurement) -> float:
        """Return a measurement's seconds per run at the speed that this table speaks of."""
        return measurement.at(self.reference_s)

    @cached_property
    def reference_s(self) -> float:
        """The speed that the latencies hold for: seconds of the canary, the median over all rows.

        Where no operator was measured, over whole networks.

        Every row was timed beside the canary, so rows from a slow minute and from a fast one are
        brought to one speed (see `profiler.campaigns.measure`).
        """
        measured = self.chains or self.networks
        return median([m.reference_s for m in measured.values()] or [1.0])

    @property
    def revision(self) -> int:
        """Revision of the calibration: how many verdicts were fed back."""
        return int(self.labels.get(REVISION, 0))

    @cached_property
    def speeds_s(self) -> Mapping[int, float]:
        """Process to its canary's median, in seconds: how much the device's speed varies."""
        by_process: dict[int, list[float]] = {}
        for measurement in (*self.chains.values(), *self.networks.values()):
            for piece in measurement.used if measurement.paired else ():
                by_process.setdefault(piece.process, []).append(median(piece.reference_s))
        return {process: median(references) for process, references in by_process.items()}

    @cached_property
    def engines(self) -> Engines:
        """What became of the engines that were timed, where the device builds any."""
        return engines_of(self.labels)

    @cached_property
    def hash(self) -> str:
        """Short sha256 of conditions and operator rows; calibration does not change it."""
        rows = sorted((chain_to_key(chain), self.seconds(m)) for chain, m in self.chains.items())
        meta = self.conditions.as_meta()
        meta["device"] = {k: v for k, v in meta["device"].items() if v or k not in LATER}
        text = json.dumps([meta, rows], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def needed(op: OpSpec) -> tuple[Chain, ...]:
    """Return the chains that an operator's latency is made of."""
    return () if isinstance(op, Skip) else (in_context(op), *contexts(op))


def load_table(path: Path) -> LatencyTable:
    """Read a table.

    Raises:
        InvalidFile: The file is missing, no table, damaged, or made by a newer latkit.
        NotMeasured: It holds estimates.
    """
    with open_table(path) as file:
        return table_from_file(file)


def is_emulated(conditions: Conditions) -> bool:
    """Return whether what was measured under these conditions is no real device's latency."""
    return emulates(conditions.environment)


def is_estimated(conditions: Conditions) -> bool:
    """Return whether what was made under these conditions are estimates."""
    return conditions.environment.get("origin") == ESTIMATED


def table_from_file(file: TableFile) -> LatencyTable:
    """Read a table from an open file.

    Raises:
        NotMeasured: It holds estimates.
    """
    conditions = conditions_from_meta(file.meta())
    if is_estimated(conditions):
        raise NotMeasured(
            f"{file.path} holds estimates of {conditions.device.name!r}: none of its operators was "
            "measured. "
            "Look at it with latkit table or predict, or search by it: --estimated"
        )
    by_role: dict[Role, dict[Chain, list[Any]]] = {}
    for stored in file.slices():
        by_role.setdefault(stored.role, {}).setdefault(stored.chain, []).append(stored.slice)
    measured = {
        role: {chain: Measurement(slices=tuple(pieces)) for chain, pieces in rows.items()}
        for role, rows in by_role.items()
    }
    return LatencyTable(
        name=str(file.path),
        conditions=conditions,
        chains=measured.get("operator", {}) | measured.get("context", {}),
        networks=measured.get("calibration", {}),
        checks=measured.get("check", {}),
        verified=measured.get("verified", {}),
        rebuilt=measured.get("rebuilt", {}),
        refusals=file.refusals(),
        labels=file.labels(),
    )
