"""Tables in other formats: ours without loss, and those that others use.

A table as CSV, JSON or Parquet has one row for every slice, raw samples included, and a header with
everything else that a ``.lut`` file holds; reading it back gives the same table.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from devices import InvalidFile, UnknownName
from devices.files import sha256_of, write_atomically
from lut.exchange.content import Content, read_content, write_content
from lut.exchange.foreign import foreign_meta, load_foreign
from lut.exchange.lists import csv_list, fbnet_list
from lut.exchange.ofa import ofa_list, ofa_text
from lut.files.sqlite_file import noun_of
from lut.files.storage import ForeignRow, Role, StoredSlice
from lut.table import conditions_from_meta, load_table
from profiler import Gate, Slice, chain_from_key, chain_to_key

VERSION = 1
"""Of the layout of our own exports; a newer one is refused."""

MARK = "latkit_table"
"""Key of the version in a header."""

FORMATS = ("csv", "json", "parquet", "ofa")

COLUMNS = (
    *("operators", "role", "process", "round", "gate", "taken_at", "repeats"),
    *("samples_s", "reference_s", "chain"),
)
"""Of a row; ``operators`` is for people, ``chain`` says the same to machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export wrote.

    Attributes:
        rows: Slices, or operators where the format has one row for each.
        left_out: Operators that the format has no words for.
    """

    rows: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import read.

    Attributes:
        kind: The format, in words.
        rows: Slices, or rows that others published.
        operators: Of those rows, how many are operators of ours; None for a table of ours.
    """

    kind: str
    rows: int
    operators: int | None = None


def export_table(path: Path, output: Path, *, to: str) -> Exported:
    """Write a table in another format.

    Args:
        path: A ``.lut`` file.
        output: Replaced where it is there already, unless it is a table of latkit.
        to: One of `FORMATS`. ``ofa`` is the YAML of Once-for-All and ProxylessNAS, see
            `lut.exchange.ofa`; the others lose nothing.

    Raises:
        UnknownName: There is no such format.
        InvalidFile: ``path`` is no table, or ``output`` is that very file or another table.
        CannotWrite: ``output`` cannot be written.
        ModuleNotFoundError: Parquet needs pyarrow.
    """
    if to not in FORMATS:
        raise UnknownName("export format", to, FORMATS)
    if output.resolve() == path.resolve():
        raise InvalidFile(f"{output} is the table itself; name another file")
    if found := noun_of(output):
        raise InvalidFile(f"{output} is a {found}, which an export never replaces; name another")
    if to == "ofa":
        text, written, left_out = ofa_text(load_table(path), load_foreign(path))
        write_atomically(output, text.encode())
        return Exported(rows=written, left_out=left_out)
    content = read_content(path)
    writers: dict[str, Callable[[Content], bytes]] = {
        "csv": to_csv,
        "json": to_json,
        "parquet": to_parquet,
    }
    write_atomically(output, writers[to](content))
    return Exported(rows=len(content.slices) or len(content.foreign))


def import_table(source: Path, output: Path) -> Imported:
    """Make a ``.lut`` file of a table in another format; the content says in which.

    A list that others published becomes rows that are looked up by their key and price no space,
    see `lut.exchange.foreign`; their device is named after ``output``.

    Args:
        source: A table of ours as CSV, JSON or Parquet; a YAML or JSON of Once-for-All or
            ProxylessNAS; JSON lines of FBNet's operator list; or any CSV with a column
            ``latency_s``, ``latency_ms`` or ``latency_us``. All but Parquet may be gzipped.
        output: Must not be there yet.

    Raises:
        InvalidFile: ``source`` is none of these or damaged, or ``output`` is there.
        StorageFull: The disk is full.
        ModuleNotFoundError: Parquet needs pyarrow.
    """
    try:
        kind, found = _read(source)
    except OSError as error:
        raise InvalidFile(f"cannot read {source}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError, EOFError, csv.Error, zlib.error) as error:
        why = " ".join(str(error).split())[:200]
        raise InvalidFile(
            f"{source} cannot be read as a table ({type(error).__name__}: {why}). "
            "See what can: latkit table import --help"
        ) from error
    if isinstance(found, Content):
        write_content(output, found)
        return Imported(kind=kind, rows=len(found.slices) or len(found.foreign))
    meta = foreign_meta(output.stem, source.name, sha256_of(source))
    write_content(output, Content(meta=meta, foreign=found))
    return Imported(kind=kind, rows=len(found), operators=sum(1 for row in found if row.op))


def _read(source: Path) -> tuple[str, Content | tuple[ForeignRow, ...]]:
    """Return the format of a file in words, and what it holds."""
    raw = source.read_bytes()
    if raw.startswith(b"PAR1"):
        return "table of ours as Parquet", from_parquet(raw)
    text = (gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw).decode()
    start = text.lstrip()[:4000]
    if start.startswith("# {"):
        return "table of ours as CSV", from_csv(text)
    if start.startswith("{") and f'"{MARK}"' in start:
        return "table of ours as JSON", from_json(text)
    if start.startswith("{") and '"op_type"' in start.partition("\n")[0]:
        return "operator list of FBNet", fbnet_list(text)
    if "latency_" in start.partition("\n")[0]:
        return "list with latencies", csv_list(text)
    return "table of Once-for-All or ProxylessNAS", ofa_list(text)


def to_json(content: Content) -> bytes:
    """Return everything a file holds as JSON."""
    whole = {**_header(content), "rows": [_row(row) for row in content.slices]}
    return (json.dumps(whole) + "\n").encode()


def from_json(text: str) -> Content:
    """Read `to_json` back; KeyError, TypeError or ValueError where that is not what it is."""
    whole = json.loads(text)
    return _content(whole, whole["rows"])


def to_csv(content: Content) -> bytes:
    """Return everything as CSV: a comment with the header as JSON, a line of names, the rows."""
    text = io.StringIO()
    text.write(f"# {json.dumps(_header(content))}\n")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in content.slices:
        values = _row(row)
        lists = {key: json.dumps(values[key]) for key in ("samples_s", "reference_s")}
        writer.writerow(values | lists)
    return text.getvalue().encode()


def from_csv(text: str) -> Content:
    """Read `to_csv` back; KeyError, TypeError or ValueError where that is not what it is."""
    comment, _, table = text.partition("\n")
    rows = [
        {**row, **{key: json.loads(row[key]) for key in ("samples_s", "reference_s")}}
        for row in csv.DictReader(io.StringIO(table), strict=True)
    ]
    return _content(json.loads(comment.removeprefix("# ")), rows)


def to_parquet(content: Content) -> bytes:
    """Return everything as Parquet: the rows as columns, the header among pandas' attributes.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """
    import_module("pyarrow")  # pandas would raise an ImportError of several lines
    import pandas as pd

    frame = pd.DataFrame([_row(row) for row in content.slices], columns=list(COLUMNS))
    frame.attrs = {MARK: json.dumps(_header(content))}
    buffer = io.BytesIO()
    frame.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def from_parquet(raw: bytes) -> Content:
    """Read `to_parquet` back; KeyError, TypeError or ValueError where that is not what it is.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """
    import_module("pyarrow")
    import pandas as pd

    frame = pd.read_parquet(io.BytesIO(raw), engine="pyarrow")
    rows = frame.to_dict(orient="records")
    return _content(
        json.loads(frame.attrs[MARK]), [{str(k): v for k, v in r.items()} for r in rows]
    )


def _header(content: Content) -> dict[str, Any]:
    """Return all but the slices, as plain data."""
    return {
        MARK: VERSION,
        "meta": content.meta,
        "labels": content.labels,
        "roles": [[chain_to_key(chain), role] for chain, role in content.roles],
        "refusals": {chain_to_key(chain): why for chain, why in content.refusals.items()},
        "imported": [
            [row.key, row.latency_s, row.count, row.spread_s, row.op and chain_to_key((row.op,))]
            for row in content.foreign
        ],
        "slices": len(content.slices),
    }


def _row(row: StoredSlice) -> dict[str, Any]:
    piece = row.slice
    return {
        "operators": " | ".join(map(str, row.chain)),
        "role": row.role,
        "process": piece.process,
        "round": piece.round,
        "gate": piece.gate,
        "taken_at": row.taken_at,
        "repeats": piece.repeats,
        "samples_s": list(piece.samples_s),
        "reference_s": list(piece.reference_s),
        "chain": chain_to_key(row.chain),
    }


def _content(header: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Content:
    if header[MARK] > VERSION:
        raise InvalidFile(
            f"the table was exported by a newer latkit (layout {header[MARK]}; this one reads up "
            f"to {VERSION}). Update it: pip install -U latkit"
        )
    if len(rows) != header["slices"]:
        raise ValueError(f"{header['slices']} rows were written, {len(rows)} are left")
    conditions_from_meta(header["meta"])  # says what is wrong with them
    return Content(
        meta=header["meta"],
        labels=header["labels"],
        roles=tuple((chain_from_key(key), _role(role)) for key, role in header["roles"]),
        refusals={chain_from_key(key): str(why) for key, why in header["refusals"].items()},
        slices=tuple(map(_slice, rows)),
        foreign=tuple(
            ForeignRow(
                key=key,
                latency_s=latency_s,
                count=count,
                spread_s=spread_s,
                op=chain_from_key(op)[0] if op else None,
            )
            for key, latency_s, count, spread_s, op in header["imported"]
        ),
    )


def _slice(row: Mapping[str, Any]) -> StoredSlice:
    gate = str(row["gate"])
    if gate not in get_args(Gate):
        raise ValueError(f"no gate says {gate!r}")
    piece = Slice(
        process=int(row["process"]),
        round=int(row["round"]),
        repeats=int(row["repeats"]),
        samples_s=tuple(map(float, row["samples_s"])),
        reference_s=tuple(map(float, row["reference_s"])),
    )
    return StoredSlice(
        chain=chain_from_key(str(row["chain"])),
        role=_role(row["role"]),
        slice=piece.judged(next(known for known in get_args(Gate) if known == gate)),
        taken_at=str(row["taken_at"]),
    )


def _role(text: object) -> Role:
    for role in get_args(Role):
        if role == text:
            return role
    raise ValueError(f"no chain has the role {text!r}")
