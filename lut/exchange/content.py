"""All that a ``.lut`` file holds, as data: what exports, imports and merges work on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devices import InvalidFile
from devices.files import whole
from lut.files.storage import ForeignRow, Role, StoredSlice, TableFile, create_table, open_table
from profiler import Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The content of a file, whatever format it is in.

    Attributes:
        meta: Device and environment.
        labels: What other layers noted.
        roles: What was to be measured, and why, in the order in which it was entered.
        refusals: Chains that the device cannot run, and why.
        slices: All samples, in the order in which they were taken.
        foreign: Rows that others published; never in one file with slices.
    """

    meta: Mapping[str, Any]
    labels: Mapping[str, Any] = field(default_factory=dict)
    roles: tuple[tuple[Chain, Role], ...] = ()
    refusals: Mapping[Chain, str] = field(default_factory=dict)
    slices: tuple[StoredSlice, ...] = ()
    foreign: tuple[ForeignRow, ...] = ()

    def __post_init__(self) -> None:
        if self.slices and self.foreign:
            raise ValueError("rows that others published never mix with measured ones")
        if len({row.key for row in self.foreign}) != len(self.foreign):
            raise ValueError("two rows that others published have one key")


def read_content(path: Path) -> Content:
    """Read a ``.lut`` file.

    Raises:
        InvalidFile: The file is missing, no table, damaged, or made by a newer latkit.
    """
    with open_table(path) as file:
        return Content(
            meta=file.meta(),
            labels=file.labels(),
            roles=tuple(file.roles()),
            refusals=file.refusals(),
            slices=tuple(file.slices()),
            foreign=tuple(file.foreign_rows()),
        )


def write_content(path: Path, content: Content) -> None:
    """Make a ``.lut`` file; it is there when it is whole.

    Raises:
        InvalidFile: There is such a file already, or the place cannot be written.
        StorageFull: The disk is full.
    """
    if path.exists():
        raise InvalidFile(f"{path} exists already; name another file, or remove that one first")
    with (
        whole(path) as partial,
        create_table(partial, content.meta) as file,
        file.at_once(),
    ):
        _fill(file, content)


def _fill(file: TableFile, content: Content) -> None:
    for key, value in content.labels.items():
        file.set_label(key, value)
    for chain, role in content.roles:
        file.add_chains({chain: role})
    for chain, why in content.refusals.items():
        file.refuse(chain, why)
    for row in content.slices:
        file.add_slice(row.chain, row.role, row.slice, taken_at=row.taken_at)
    file.add_foreign(content.foreign)
