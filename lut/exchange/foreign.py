"""Latencies that others published, looked up by the key that they gave them.

They have no raw samples and were not measured in context, nor under conditions that we know. So
they are never operators of a `LatencyTable`: they price no space, and stand in a file of their own
whose conditions are where they came from.
"""

from bisect import bisect
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from devices import DeviceSpec
from lut.files.storage import ForeignRow, open_table
from lut.table import Conditions, MissingLatency, conditions_from_meta
from profiler import OpSpec

IMPORTED = "imported"
"""The backend of such a file's device, and its origin: nothing was measured here."""


@dataclass(frozen=True, kw_only=True)  # no slots: the keys are sorted once
class ForeignList(Mapping[str, ForeignRow]):
    """A list that others published.

    Attributes:
        name: Where it is, for messages.
        conditions: Where it came from.
        rows: Key to what was published.
    """

    name: str
    conditions: Conditions
    rows: Mapping[str, ForeignRow]

    def __getitem__(self, key: str) -> ForeignRow:
        """Return the row of a key.

        Raises:
            MissingLatency: There is none; names the nearest in alphabetical order.
        """
        try:
            return self.rows[key]
        except KeyError:
            near = self._sorted[min(bisect(self._sorted, key), len(self) - 1)] if self else ""
            raise MissingLatency(
                f"no latency for {key!r} among {len(self)} imported rows of {self.name}"
                + (f"; the nearest is {near!r}" if near else "")
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def operators(self) -> dict[OpSpec, ForeignRow]:
        """The rows that are operators of ours."""
        return {row.op: row for row in self.rows.values() if row.op}

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.rows)


def foreign_meta(device: str, source: str, sha256: str) -> dict[str, Any]:
    """Return the conditions of a list that others published, as a file keeps them.

    Args:
        device: What to call its device.
        source: Name of the file that it came in.
        sha256: Of that file.
    """
    spec = DeviceSpec(
        name=device, backend=IMPORTED, description="a list that others published; no more is known"
    )
    return {
        "device": asdict(spec),
        "environment": {"origin": IMPORTED, "source": source, "sha256": sha256},
    }


def load_foreign(path: Path) -> ForeignList:
    """Read what others published from a ``.lut`` file; nothing where it was measured here.

    Raises:
        InvalidFile: The file is missing, no table, damaged, or made by a newer latkit.
    """
    with open_table(path) as file:
        return ForeignList(
            name=str(path),
            conditions=conditions_from_meta(file.meta()),
            rows={row.key: row for row in file.foreign_rows()},
        )
