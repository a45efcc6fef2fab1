"""SQLite files of our own: known by their kind, whole or not there, safe at any kill.

The rollback journal with full synchronisation is on purpose: a file in write-ahead mode that is
copied after a kill has lost its rows.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devices import InvalidFile, LatkitError
from devices.files import whole

APPLICATION_ID_AT = slice(68, 72)
"""Where SQLite keeps it in a file."""


NOUNS = {0x4C41544B: "latency table", 0x4C41504C: "table of plans"}
"""Application id, "LATK" and "LAPL", to what such a file is called."""


class StorageFull(LatkitError):
    """The disk is full; what was committed before is safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKind:
    """What a file is for, and how it is laid out.

    Attributes:
        application_id: By which SQLite, file(1) and we know it; a key of `NOUNS`.
        version: Of the schema.
        schema: Statements that make all tables, ``meta`` with a key and a value among them.
        migrations: Version to the statements that turn a file of it into one of the next.
    """

    application_id: int
    version: int
    schema: str
    migrations: Mapping[int, str] = field(default_factory=dict)

    @property
    def noun(self) -> str:
        """What people call it."""
        return NOUNS[self.application_id]

    def holds(self, path: Path) -> bool:
        """Return whether a file says that it is of this kind; it may be damaged nevertheless."""
        return _application_id(path) == self.application_id


def noun_of(path: Path) -> str | None:
    """Return what people call a file of ours, by what it says it is; None of any other."""
    return NOUNS.get(_application_id(path))


def _application_id(path: Path) -> int:
    """Return what a file says that it is; 0 where it says nothing."""
    try:
        with path.open("rb") as file:
            start = file.read(APPLICATION_ID_AT.stop)
    except OSError:
        return 0
    return int.from_bytes(start[APPLICATION_ID_AT], "big")


def create_file(path: Path, kind: FileKind, meta: Mapping[str, Any]) -> None:
    """Make a new file.

    Args:
        path: Must not exist yet.
        kind: What it shall be.
        meta: Plain data, for ever.

    Raises:
        ValueError: It exists.
        InvalidFile: The place cannot be written.
        StorageFull: The disk is full.
    """
    if path.exists():
        raise ValueError(f"{path} exists already")
    try:
        with whole(path) as fresh:  # a kill while the schema is written leaves no half a table
            _write_schema(fresh, kind, meta)
    except sqlite3.OperationalError as error:
        _refuse_full(path, error)
        raise
    except OSError as error:
        raise InvalidFile(f"cannot make the table {path}: {error.strerror}") from error


@contextmanager
def open_file(path: Path, kind: FileKind) -> Iterator[sqlite3.Connection]:
    """Hold an existing file open, brought up to date.

    Raises:
        InvalidFile: It is missing, of another kind, damaged, or made by a newer latkit.
    """
    if not path.is_file():
        raise InvalidFile(f"there is no table {path}. Make one: latkit profile --help")
    with closing(_connect(path, kind)) as db:
        version = _check(path, kind, db)
        _keep_safe(db)
        _migrate(path, kind, db, version)
        yield db


@contextmanager
def committed(path: Path, db: sqlite3.Connection) -> Iterator[None]:
    """Commit what happens inside, or nothing of it.

    Raises:
        StorageFull: The disk is full.
    """
    try:
        yield
        db.commit()
    except BaseException as error:
        with suppress(sqlite3.Error):
            db.rollback()
        if isinstance(error, sqlite3.OperationalError):
            _refuse_full(path, error)
        raise


class NotedFile:
    """An open file with what every kind has: conditions, and notes of other layers."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db

    def meta(self) -> dict[str, Any]:
        """Return device, environment and versions, as they were when the file was made."""
        rows = self._db.execute("SELECT key, value FROM meta")
        return {key: json.loads(value) for key, value in rows}

    def labels(self) -> dict[str, Any]:
        """Return what other layers noted, such as the spaces that were profiled."""
        rows = self._db.execute("SELECT key, value FROM labels ORDER BY key")
        return {key: json.loads(value) for key, value in rows}

    def set_label(self, key: str, value: Any) -> None:
        """Note something; a label never changes what the rows mean."""
        with self._commit():
            self._db.execute(
                "INSERT OR REPLACE INTO labels VALUES (?, ?)", (key, json.dumps(value))
            )

    @contextmanager
    def _commit(self) -> Iterator[None]:
        """Commit what happens inside, or nothing of it."""
        with committed(self.path, self._db):
            yield


def _refuse_full(path: Path, error: sqlite3.OperationalError) -> None:
    if "full" in str(error) or "disk I/O" in str(error):
        raise StorageFull(
            f"cannot write {path}: {error}. Every measurement before this one is in it; "
            "free some space and run the same command again to go on"
        ) from error


def _write_schema(path: Path, kind: FileKind, meta: Mapping[str, Any]) -> None:
    with closing(_connect(path, kind)) as db:
        _keep_safe(db)
        db.executescript(
            f"BEGIN; PRAGMA application_id = {kind.application_id};"
            f"PRAGMA user_version = {kind.version}; {kind.schema} COMMIT;"
        )
        rows = [(key, json.dumps(value)) for key, value in meta.items()]
        db.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        db.commit()


def _connect(path: Path, kind: FileKind) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path, timeout=10.0)
    except sqlite3.OperationalError as error:
        raise InvalidFile(f"cannot open {path} as a {kind.noun}: {error}") from error


def _keep_safe(db: sqlite3.Connection) -> None:
    """Let a commit survive a kill and a power cut; only for files that are known to be ours."""
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA synchronous = FULL")


def _migrate(path: Path, kind: FileKind, db: sqlite3.Connection, version: int) -> None:
    """Bring an older file up to date; all or nothing."""
    steps = "".join(kind.migrations[step] for step in range(version, kind.version))
    if not steps:
        return
    try:
        db.executescript(f"BEGIN; {steps} PRAGMA user_version = {kind.version}; COMMIT;")
    except sqlite3.OperationalError as error:
        _refuse_full(path, error)
        raise InvalidFile(
            f"{path} has schema {version} and cannot be brought up to {kind.version}: {error}. "
            "Copy it to where it may be written"
        ) from error


def _check(path: Path, kind: FileKind, db: sqlite3.Connection) -> int:
    """Return the version of a file that is whole and of its kind."""
    if path.stat().st_size == 0:
        raise InvalidFile(f"{path} is empty: remove it, and it is made anew")
    try:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (health,) = db.execute("PRAGMA quick_check(1)").fetchone()
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        (page_size,) = db.execute("PRAGMA page_size").fetchone()
    except sqlite3.DatabaseError as error:
        raise InvalidFile(
            f"{path} is damaged or no {kind.noun} ({error}). "
            "Restore a copy, or measure again into a new file"
        ) from error
    if application != kind.application_id:
        found = NOUNS.get(application)
        said = f"a {found}, and no {kind.noun}" if found else f"an SQLite file, but no {kind.noun}"
        raise InvalidFile(f"{path} is {said} of latkit")
    if version > kind.version:
        raise InvalidFile(
            f"{path} has schema {version}; this latkit reads up to {kind.version}. "
            "Update it: pip install -U latkit"
        )
    if path.stat().st_size < pages * page_size:
        health = "its end is missing"  # of the last page, which SQLite would take for zeros
    if health != "ok":
        raise InvalidFile(
            f"{path} is damaged ({' '.join(health.split())}). "
            "Restore a copy, or measure again into a new file"
        )
    return int(version)
