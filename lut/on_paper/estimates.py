"""Tables that nobody measured: what a spec sheet says of operators.

A file of estimates holds nothing else, and says so in its conditions. What reads measured tables
refuses it (`lut.table.NotMeasured`); who wants estimates asks for them, by name.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from devices import DeviceSpec, InvalidFile, Roofline, Slowdown, fitted_slowdown, held_out_ratios
from devices.on_paper.roofline import FEWEST_ROWS
from lut.calibration import Layered, latency_model, layers_together, operator_matrix
from lut.exchange.foreign import load_foreign
from lut.files.storage import ForeignRow, TableFile, open_table
from lut.fill import file_for
from lut.intervals import ErrorBand
from lut.model import LatencyModel
from lut.table import (
    ESTIMATED,
    Conditions,
    LatencyTable,
    MissingLatency,
    conditions_from_meta,
    is_estimated,
    load_table,
    table_from_file,
)
from profiler import OpSpec, Skip, kernels_of

RULE = "launches, operations and bytes of kernels as TensorRT fuses them, added up"
"""How estimates are made: a condition, so that rules do not mix."""

RATIOS = "measured over estimated"
"""Label with the ratios that intervals are made of."""

BASE = "seconds beside the operators"
"""Label with what every network takes beside its operators; missing where stem and head are rows,
too."""

USUAL_RATIOS = (
    *(0.641, 0.669, 0.705, 0.757, 0.806, 0.890, 0.988, 1.09, 1.17, 1.23),
    *(1.30, 1.40, 1.55, 1.83, 2.29, 2.89, 3.69, 4.90, 7.05),
)
"""Measured over estimated where nothing was calibrated, at 5, 10 ... 95 % of operators: half of the
weight is on convolutions of a V100, half on blocks of a GTX 1080 Ti (bench/roofline.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a spec sheet is worth, as far as anyone measured.

    Attributes:
        slowdown: Factors on what it says.
        ratios: Measured over estimated, each row estimated without itself.
        measured: On what, for people.
    """

    slowdown: Slowdown = field(default_factory=Slowdown)
    ratios: tuple[float, ...] = USUAL_RATIOS
    measured: str = "nothing; intervals are those of other GPUs"


@dataclass(frozen=True, kw_only=True)  # no slots: the hash is cached on the instance
class EstimatedTable(Mapping[OpSpec, float]):
    """Estimated latencies of operators; ``table[op]`` is seconds per inference, or raises.

    Attributes:
        name: Where it came from, for messages.
        conditions: The device with its spec sheet, the rule, and what it was calibrated on.
        rows: Operator to estimate.
        ratios: Measured over estimated, see `Worth`.
        labels: What other layers noted in the file.
        base_s: Seconds that every network takes beside its operators; None where stem and head are
            among the rows, and that is all.
    """

    name: str
    conditions: Conditions
    rows: Mapping[OpSpec, ForeignRow]
    ratios: tuple[float, ...]
    labels: Mapping[str, Any]
    base_s: float | None = None

    def __getitem__(self, op: OpSpec) -> float:
        """Return an operator's estimated seconds.

        Raises:
            MissingLatency: It was not estimated.
        """
        if isinstance(op, Skip):
            return 0.0
        try:
            return self.rows[op].latency_s
        except KeyError:
            raise MissingLatency(
                f"no estimate for [{op}] on {self.conditions.device.name!r} among {len(self)} "
                f"operators of {self.name}. Make it: latkit profile --device "
                f"{self.conditions.device.name} --space SPACE -o {self.name}"
            ) from None

    def __iter__(self) -> Iterator[OpSpec]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def hash(self) -> str:
        """Short sha256 of conditions and rows."""
        rows = sorted((row.key, row.latency_s) for row in self.rows.values())
        text = json.dumps([self.conditions.as_meta(), rows, self.base_s], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


AnyTable: TypeAlias = LatencyTable | EstimatedTable
"""A table that prices a space."""


def worth_of(device: DeviceSpec, path: Path) -> Worth:
    """Calibrate a spec sheet on measured operators of that device.

    Args:
        device: Of the backend ``roofline``.
        path: A measured table, or a list of others' latencies with operators of ours; of the
            same GPU, precision and batch, which is for the caller to know.

    Raises:
        InvalidFile: It has too few operators.
        NotMeasured: It holds estimates.
    """
    table = load_table(path)
    measured = {op: table[op] for op in table}
    measured |= {op: row.latency_s for op, row in load_foreign(path).operators.items()}
    rows = {op: seconds for op, seconds in measured.items() if seconds > 0.0}
    if len(rows) < FEWEST_ROWS:
        raise InvalidFile(
            f"{path} has {len(rows)} operators, and calibrating a spec sheet takes {FEWEST_ROWS}"
        )
    roofline = roofline_of(device)
    parts_s = np.array([roofline.parts_s(kernels_of((op,))) for op in rows])
    measured_s = np.array(list(rows.values()))
    return Worth(
        slowdown=fitted_slowdown(parts_s, measured_s),
        ratios=held_out_ratios(parts_s, measured_s),
        measured=f"{len(rows)} operators of {path.name}, hash {table.hash}",
    )


def roofline_of(device: DeviceSpec, slowdown: Slowdown | None = None) -> Roofline:
    """Return what estimates for a device of the backend ``roofline``."""
    if device.sheet is None:
        raise ValueError(f"device {device.name!r} has no spec sheet")
    return Roofline(sheet=device.sheet, precision=device.precision, slowdown=slowdown or Slowdown())


def fill_estimates(
    path: Path,
    ops: Iterable[OpSpec],
    device: DeviceSpec,
    *,
    worth: Worth,
    labels: Mapping[str, Any],
) -> EstimatedTable:
    """Estimate what a file lacks; all of it is committed at once.

    Args:
        path: Made where there is none.
        ops: To estimate.
        device: Of the backend ``roofline``.
        worth: Its calibration; it is the file's for ever.
        labels: To note.

    Raises:
        WrongConditions: The file was made under other conditions, or is a measured table.
        StorageFull: The disk is full.
    """
    roofline = roofline_of(device, worth.slowdown)
    with file_for(path, _conditions(device, worth)) as file, file.at_once():
        known = {row.op for row in file.foreign_rows()}
        lacking = dict.fromkeys(op for op in ops if op not in known and not isinstance(op, Skip))
        file.add_foreign(
            [
                ForeignRow(key=str(op), latency_s=roofline.seconds(kernels_of((op,))), op=op)
                for op in lacking
            ]
        )
        for key, value in {**labels, RATIOS: list(worth.ratios)}.items():
            file.set_label(key, value)
    return load_estimates(path)


def load_estimates(path: Path) -> EstimatedTable:
    """Read a table of estimates.

    Raises:
        InvalidFile: The file is missing, damaged, or holds no estimates.
    """
    with open_table(path) as file:
        return _from_file(file)


def require_replaceable(path: Path) -> None:
    """Check that new estimates may be written to a place: nothing is there, or estimates are.

    Raises:
        InvalidFile: Something else is there.
    """
    if not path.exists():
        return
    with open_table(path) as file:
        conditions = conditions_from_meta(file.meta())
    if not is_estimated(conditions):
        raise InvalidFile(
            f"{path} holds latencies of {conditions.device.name!r} that were measured or "
            "imported, and estimates never replace them; name another file"
        )


def _from_file(file: TableFile) -> EstimatedTable:
    conditions, labels = conditions_from_meta(file.meta()), file.labels()
    if not is_estimated(conditions):
        raise InvalidFile(f"{file.path} holds no estimates: it was measured, or imported")
    return EstimatedTable(
        name=str(file.path),
        conditions=conditions,
        rows={row.op: row for row in file.foreign_rows() if row.op},
        ratios=tuple(map(float, labels.pop(RATIOS))),
        base_s=labels.pop(BASE, None),
        labels=labels,
    )


def any_table(path: Path) -> AnyTable:
    """Read a table, measured or estimated.

    Raises:
        InvalidFile: The file is missing, no table, damaged, or made by a newer latkit.
    """
    with open_table(path) as file:
        estimated = is_estimated(conditions_from_meta(file.meta()))
        return _from_file(file) if estimated else table_from_file(file)


def any_model(table: AnyTable, space: Layered) -> LatencyModel:
    """Make the model of one space from a table, measured or estimated.

    Raises:
        MissingLatency: The table lacks operators.
        NotCalibrated: It was measured, and lacks whole networks of this space.
    """
    if isinstance(table, EstimatedTable):
        return estimated_model(table, space)
    return latency_model(table, space)


def estimated_model(table: EstimatedTable, space: Layered) -> LatencyModel:
    """Make the model of one space from estimates; its intervals are as wide as they were wrong.

    Raises:
        MissingLatency: The table lacks operators.
    """
    base_s = table.base_s
    if base_s is None:
        base_s = sum(table[op] for op in (*space.before, *space.after))
    return LatencyModel(
        device=table.conditions.device.name,
        base_s=base_s,
        cost_s=operator_matrix(space, table.__getitem__),
        **layers_together(space),
        band=ErrorBand(ratios=table.ratios),
        table_hash=table.hash,
        origin=ESTIMATED,
    )


def _conditions(device: DeviceSpec, worth: Worth) -> Conditions:
    names = [each.name for each in fields(Slowdown)]
    factors = zip(names, astuple(worth.slowdown), strict=True)
    environment = {
        "origin": ESTIMATED,
        "rule": RULE,
        "slowdown": ", ".join(f"{name} {value:.4g}" for name, value in factors),
        "calibrated on": worth.measured,
    }
    return Conditions(device=device, environment=environment)
