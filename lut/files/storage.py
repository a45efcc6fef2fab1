"""The file of a table: SQLite, every measurement committed as it is made."""

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lut.files.sqlite_file import FileKind, NotedFile, create_file, open_file
from profiler import Chain, Gate, OpSpec, Slice, chain_from_key, chain_to_key

APPLICATION_ID = 0x4C41544B  # "LATK", so that file(1) and we know the file
SCHEMA_VERSION = 3
"""History:

1. meta, chains, roles, slices, refusals, labels (latkit 0.1).
2. slices.reference: the canary beside each sample (latkit 0.2).
3. foreign_rows: lists that others published (latkit 0.2).
"""

Role = Literal["operator", "context", "calibration", "check", "verified", "rebuilt"]
"""Why a chain is in the table; checks are never calibrated on, verified networks are. What is
rebuilt is timed again, of engines that each process built anew, see `lut.timing_cache`."""

FOREIGN_ROWS = """
CREATE TABLE IF NOT EXISTS foreign_rows (
    key TEXT PRIMARY KEY,    -- as the source names it
    latency REAL NOT NULL,   -- seconds
    count INTEGER,           -- measurements behind it; NULL: the source does not say
    spread REAL,             -- standard deviation in seconds; NULL: the source does not say
    op TEXT                  -- key of the chain of our operator; NULL: we have none like it
);
"""

SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE chains (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE roles (
    chain INTEGER NOT NULL REFERENCES chains, role TEXT NOT NULL, PRIMARY KEY (chain, role)
);
CREATE TABLE slices (
    id INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL REFERENCES chains,
    role TEXT NOT NULL,       -- a chain may be timed for the table and again for a check
    process INTEGER NOT NULL,
    round INTEGER NOT NULL,
    repeats INTEGER NOT NULL,
    samples BLOB NOT NULL,    -- little-endian float64, seconds per run
    gate TEXT NOT NULL,
    taken_at TEXT NOT NULL,
    reference BLOB NOT NULL DEFAULT x''  -- as samples: the canary beside each; empty: none
);
CREATE TABLE refusals (chain INTEGER PRIMARY KEY REFERENCES chains, why TEXT NOT NULL);
CREATE TABLE labels (key TEXT PRIMARY KEY, value TEXT NOT NULL);
{FOREIGN_ROWS}"""

MIGRATIONS = {
    1: "ALTER TABLE slices ADD COLUMN reference BLOB NOT NULL DEFAULT x'';",
    2: FOREIGN_ROWS,
}
"""What turns a file of a version into one of the next."""


TABLE = FileKind(
    application_id=APPLICATION_ID,
    version=SCHEMA_VERSION,
    schema=SCHEMA,
    migrations=MIGRATIONS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSlice:
    """A slice as the file holds it.

    Attributes:
        chain: What was timed.
        role: Why.
        slice: The samples.
        taken_at: When it was committed, ISO 8601 in UTC.
    """

    chain: Chain
    role: Role
    slice: Slice
    taken_at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRow:
    """A latency that others published: no raw samples, and not measured in context.

    Attributes:
        key: What was timed, as the source names it.
        latency_s: Seconds per run.
        count: Measurements behind it; None where the source does not say.
        spread_s: Their standard deviation in seconds; None where the source does not say.
        op: The same as an operator of ours; None where we have none like it.
    """

    key: str
    latency_s: float
    count: int | None = None
    spread_s: float | None = None
    op: OpSpec | None = None

    def __post_init__(self) -> None:
        if not (self.key and 0.0 <= self.latency_s < math.inf):
            raise ValueError(f"{self.key!r} takes {self.latency_s} s, which is no latency")


class TableFile(NotedFile):
    """An open ``.lut`` file. Use `open_table` or `create_table`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path, connection)
        self._ids: dict[Chain, int] = {}
        self._together = False

    def add_chains(self, chains: Mapping[Chain, Role]) -> None:
        """Enter chains that are to be measured, with their role; known ones stay as they are."""
        with self._commit():
            for chain, role in chains.items():
                row = (self._chain_id(chain), role)
                self._db.execute("INSERT OR IGNORE INTO roles VALUES (?, ?)", row)

    def roles(self) -> list[tuple[Chain, Role]]:
        """Return every chain with each of its roles, in the order in which they were entered."""
        rows = self._db.execute("SELECT key, role FROM roles JOIN chains ON id = chain ORDER BY id")
        return [(chain_from_key(key), role) for key, role in rows]

    def add_slice(self, chain: Chain, role: Role, piece: Slice, *, taken_at: str = "") -> int:
        """Commit a slice; return its row, for `judge`.

        Args:
            chain: What was timed.
            role: Why.
            piece: The samples.
            taken_at: When, where a slice is copied; now if left out.

        Raises:
            StorageFull: The disk is full.
        """
        values = (
            role,
            piece.process,
            piece.round,
            piece.repeats,
            np.asarray(piece.samples_s, "<f8").tobytes(),
            piece.gate,
            taken_at or datetime.now(UTC).isoformat(timespec="seconds"),
            np.asarray(piece.reference_s, "<f8").tobytes(),
        )
        with self._commit():
            cursor = self._db.execute(
                "INSERT INTO slices (chain, role, process, round, repeats, samples, gate, taken_at,"
                " reference) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self._chain_id(chain), *values),
            )
        assert cursor.lastrowid is not None  # an INSERT has one
        return cursor.lastrowid

    def judge(self, rows: Sequence[int], gate: Gate) -> None:
        """Record what the gate said of slices."""
        with self._commit():
            self._db.executemany(
                "UPDATE slices SET gate = ? WHERE id = ?", [(gate, row) for row in rows]
            )

    def refuse(self, chain: Chain, why: str) -> None:
        """Record that the device cannot run a chain."""
        with self._commit():
            values = (self._chain_id(chain), why)
            self._db.execute("INSERT OR REPLACE INTO refusals VALUES (?, ?)", values)

    def refusals(self) -> dict[Chain, str]:
        """Return the chains that the device cannot run, and why."""
        rows = self._db.execute("SELECT key, why FROM refusals JOIN chains ON id = chain")
        return {chain_from_key(key): why for key, why in rows}

    def slices(self) -> Iterator[StoredSlice]:
        """Yield every slice in the order in which they were taken."""
        chains = {id_: chain_from_key(key) for id_, key in self._db.execute("SELECT * FROM chains")}
        rows = self._db.execute(
            "SELECT chain, role, process, round, repeats, samples, reference, gate, taken_at"
            " FROM slices ORDER BY id"
        )
        for chain, role, process, turn, repeats, samples, reference, gate, taken_at in rows:
            piece = Slice(
                process=process,
                round=turn,
                repeats=repeats,
                samples_s=tuple(np.frombuffer(samples, "<f8").tolist()),
                reference_s=tuple(np.frombuffer(reference, "<f8").tolist()),
                gate=gate,
            )
            yield StoredSlice(chain=chains[chain], role=role, slice=piece, taken_at=taken_at)

    def add_foreign(self, rows: Sequence[ForeignRow]) -> None:
        """Enter rows of a list that others published."""
        values = [
            (row.key, row.latency_s, row.count, row.spread_s, row.op and chain_to_key((row.op,)))
            for row in rows
        ]
        with self._commit():
            self._db.executemany("INSERT INTO foreign_rows VALUES (?, ?, ?, ?, ?)", values)

    def foreign_rows(self) -> list[ForeignRow]:
        """Return the rows that others published, in the order in which they were entered."""
        rows = self._db.execute(
            "SELECT key, latency, count, spread, op FROM foreign_rows ORDER BY rowid"
        )
        return [
            ForeignRow(
                key=key,
                latency_s=latency_s,
                count=count,
                spread_s=spread_s,
                op=chain_from_key(op)[0] if op else None,
            )
            for key, latency_s, count, spread_s, op in rows
        ]

    def _chain_id(self, chain: Chain) -> int:
        if chain not in self._ids:
            key = (chain_to_key(chain),)
            self._db.execute("INSERT OR IGNORE INTO chains (key) VALUES (?)", key)
            (self._ids[chain],) = self._db.execute(
                "SELECT id FROM chains WHERE key = ?", key
            ).fetchone()
        return self._ids[chain]

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Commit all that happens inside together, or nothing of it: for copies.

        Raises:
            StorageFull: The disk is full.
        """
        with self._commit():
            self._together = True
            try:
                yield
            finally:
                self._together = False

    @contextmanager
    def _commit(self) -> Iterator[None]:
        """Commit what happens inside, or nothing of it."""
        if self._together:  # the outer one commits, or takes it all back
            yield
            return
        try:
            with super()._commit():
                yield
        except BaseException:
            self._ids.clear()  # an id that was rolled back must not be used again
            raise


@contextmanager
def create_table(path: Path, meta: Mapping[str, Any]) -> Iterator[TableFile]:
    """Make a new file and hold it open.

    Args:
        path: Must not exist yet.
        meta: Device, environment and versions, for ever.

    Raises:
        ValueError: It exists.
        InvalidFile: The place cannot be written.
        StorageFull: The disk is full.
    """
    create_file(path, TABLE, meta)
    with open_table(path) as table:
        yield table


@contextmanager
def open_table(path: Path) -> Iterator[TableFile]:
    """Hold an existing file open.

    Raises:
        InvalidFile: It is missing, no table, damaged, or made by a newer latkit.
    """
    with open_file(path, TABLE) as db:
        yield TableFile(path, db)
