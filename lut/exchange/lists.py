"""Operator lists that others published: one latency for each name, no samples.

Two forms are read. FBNet's list has one JSON object a line, with the arguments of an operator and
percentiles in microseconds. Every other is a CSV with a column ``latency_s``, ``latency_ms`` or
``latency_us``; all other columns together are the key.
"""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean, stdev
from typing import Any

from lut.files.storage import ForeignRow
from profiler import Conv, MBConv, OpSpec

UNITS = {"latency_s": 1.0, "latency_ms": 1e-3, "latency_us": 1e-6}
"""Column with the latency, and its unit in seconds."""

DECILES = NormalDist().inv_cdf(0.9) - NormalDist().inv_cdf(0.1)
"""From the first to the last decile, in standard deviations."""

FBNET_KEY = ("op_type", "op_args", "input_shapes", "input_dtypes", "device")
"""What has to match for FBNet's own look-up."""

NAMED = re.compile(
    r"(?P<kind>[A-Za-z]+)_H(?P<H>\d+)_W(?P<W>\d+)_Cin(?P<Cin>\d+)_Cout(?P<Cout>\d+)"
    r"(_exp(?P<exp>\d+))?_kernel(?P<kernel>\d+)_stride(?P<stride>\d+)(_group(?P<group>\d+))?"
)
"""Names of FasterSeg and, for FBNet's blocks, of HW-NAS-Bench."""

CONVOLUTION = {"type", "batch", "in_c", "in_h", "in_w", "out_c", "kernel", "stride", "fused"}
"""Columns of the convolutions that TinyNAS timed through TensorRT."""


def csv_list(text: str) -> tuple[ForeignRow, ...]:
    """Read a CSV with a column of latencies.

    Raises:
        ValueError: It has none or several, or a line is incomplete.
    """
    reader = csv.DictReader(io.StringIO(text), strict=True)
    names = list(reader.fieldnames or ())
    columns = [name for name in names if name in UNITS]
    if len(columns) != 1 or len(names) < 2:
        raise ValueError(f"columns are a key and one of {', '.join(UNITS)}; got {names}")
    (latency,) = columns
    rows = []
    for number, line in enumerate(reader, start=2):
        if None in line or None in line.values():
            raise ValueError(f"line {number} has not as many values as there are columns")
        latency_s = float(line.pop(latency)) * UNITS[latency]
        key = next(iter(line.values())) if len(line) == 1 else _joined(line)
        rows.append(ForeignRow(key=key, latency_s=latency_s, op=_operator(key, line)))
    return combined(rows)


def fbnet_list(text: str) -> tuple[ForeignRow, ...]:
    """Read FBNet's list: the median is the latency, and the deciles give the spread.

    Source:
        runtime_lut of facebookresearch/mobile-vision: the class LUTSchema, and what its look-up
        compares.

    Raises:
        ValueError: A line is no such object.
        KeyError: It lacks a field.
    """
    rows = []
    for line in filter(None, map(str.strip, text.splitlines())):
        entry = json.loads(line)
        key = json.dumps({name: entry[name] for name in FBNET_KEY}, sort_keys=True)
        low_us, high_us = entry.get("runtime_us_p10"), entry.get("runtime_us_p90")
        spread_us = None if None in (low_us, high_us) else (high_us - low_us) / DECILES
        rows.append(
            ForeignRow(
                key=key,
                latency_s=float(entry["runtime_us_p50"]) * 1e-6,
                spread_s=None if spread_us is None else spread_us * 1e-6,
            )
        )
    return combined(rows)


def combined(rows: Sequence[ForeignRow]) -> tuple[ForeignRow, ...]:
    """Return one row for each key: where a list has several, their mean, count and spread."""
    by_key: dict[str, list[ForeignRow]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    return tuple(group[0] if len(group) == 1 else _mean(group) for group in by_key.values())


def _mean(rows: Sequence[ForeignRow]) -> ForeignRow:
    latencies_s = [row.latency_s for row in rows]
    return ForeignRow(
        key=rows[0].key,
        latency_s=fmean(latencies_s),
        count=len(rows),
        spread_s=stdev(latencies_s),
        op=rows[0].op,
    )


def _joined(line: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in line.items())


def _operator(key: str, line: Mapping[str, str]) -> OpSpec | None:
    """Return the operator of ours that a line is about; None where it is none."""
    if line.keys() == CONVOLUTION:
        return _convolution(line)
    found = NAMED.fullmatch(key)
    if not found or int(found["kernel"]) % 2 == 0:
        return None
    shape = (1, int(found["Cin"]), int(found["H"]), int(found["W"]))
    sizes: dict[str, Any] = {
        "channels": int(found["Cout"]),
        "kernel": int(found["kernel"]),
        "stride": int(found["stride"]),
    }
    if found["kind"] == "ConvNorm" and not found["exp"] and found["group"] in (None, "1"):
        return Conv(input_shape=shape, activation="relu", **sizes)
    # Their block has its first convolution at expansion 1, too; ours has not.
    if found["kind"] == "ConvBlock" and int(found["exp"] or 1) > 1 and found["group"] == "1":
        return MBConv(input_shape=shape, expand=int(found["exp"]), **sizes)
    return None


def _convolution(line: Mapping[str, str]) -> OpSpec | None:
    """Return a dense convolution that nothing is fused into; an addition may be fused into it."""
    if line["type"] != "Regular" or line["fused"] != "0" or int(line["kernel"]) % 2 == 0:
        return None
    return Conv(
        input_shape=(int(line["batch"]), *(int(line[name]) for name in ("in_c", "in_h", "in_w"))),
        channels=int(line["out_c"]),
        kernel=int(line["kernel"]),
        stride=int(line["stride"]),
    )
