"""The lookup tables of ProxylessNAS and Once-for-All: YAML of keys to milliseconds.

A key names what an operator does, a value has ``count``, ``mean`` and ``var`` (or ``std``)::

    expanded_conv-input:56x56x24-output:28x28x40-expand:6-kernel:5-stride:2-idskip:0:
      {count: 41, mean: 2.4, var: 0.02}

That is ProxylessNAS's dialect, where blocks are plain and ``expand`` is a ratio. In the dialect of
Once-for-All's MobileNetV3, ``expand`` counts channels, and ``-se:0-hs:1`` follows. The activation
of a plain block is not in its key: relu6 in ProxylessNAS, relu in the other.

Source:
    The class LatencyEstimator of mit-han-lab/proxylessnas, the classes ProxylessNASLatencyTable and
    MBv3LatencyTable of mit-han-lab/once-for-all, and an entry quoted in issue 37 of the latter.
"""

import json
import math
import re
from dataclasses import replace
from statistics import variance
from typing import Any

from devices import Shape
from lut.exchange.foreign import ForeignList
from lut.files.storage import ForeignRow
from lut.table import LatencyTable
from profiler import Conv, MBConv, Measurement, OpSpec, Pool
from profiler.operators.primitives import Activation

KEY = re.compile(
    r"(?P<kind>\w+)-input:(?P<input>\d+x\d+x\d+)-output:(?P<output>\d+(x\d+x\d+)?)"
    r"(-expand:(?P<expand>\d+)-kernel:(?P<kernel>\d+)-stride:(?P<stride>\d+)-idskip:(?P<idskip>[01])"
    r"(-se:(?P<se>[01])-hs:(?P<hs>[01]))?)?"
)

Entry = dict[str, int | float]
"""``count``, ``mean`` in milliseconds, and ``var`` in their squares where it is known."""


def ofa_text(table: LatencyTable, foreign: ForeignList) -> tuple[str, int, tuple[str, ...]]:
    """Return a table as YAML that both projects read.

    The mean is the operator's latency in context; count and variance are those of processes. If a
    block has squeeze-excite or another activation than relu, all are in MobileNetV3's dialect.

    Returns:
        The text, how many operators are in it, and the names of those that have no such key: of
        another batch than 1, a convolution that is neither a stem nor followed by an activation,
        a head, or an operator with the key of another.
    """
    import yaml

    mobile_v3 = any(
        isinstance(op, MBConv) and (op.squeeze or op.activation == "hswish") for op in table
    )
    processes = _processes(table)
    entries: dict[str, Entry] = {}
    left_out = []
    for op in table:
        key = ofa_key(op, mobile_v3=mobile_v3)
        if key is None or key in entries:
            left_out.append(str(op))
        else:
            entries[key] = _entry(table[op], [each[op] for each in processes if op in each])
    for row in foreign.values():
        if KEY.fullmatch(row.key):
            entries[row.key] = _foreign_entry(row)
        else:
            left_out.append(row.key)
    text = yaml.safe_dump(entries, sort_keys=False) if entries else ""
    return text, len(entries), tuple(left_out)


def ofa_list(text: str) -> tuple[ForeignRow, ...]:
    """Read a table of these projects, YAML or JSON.

    Raises:
        ValueError: It is none; says what is missing.
    """
    entries = _mapping(text)
    mobile_v3 = any("-se:" in str(key) for key in entries)
    rows = []
    for key, entry in entries.items():
        if not isinstance(entry, dict) or "mean" not in entry:
            raise ValueError(f"{key!r} has no mean")
        spread_ms = entry.get("std")
        if spread_ms is None and "var" in entry:
            spread_ms = math.sqrt(entry["var"])
        rows.append(
            ForeignRow(
                key=str(key),
                latency_s=float(entry["mean"]) * 1e-3,
                count=int(entry["count"]) if "count" in entry else None,
                spread_s=None if spread_ms is None else float(spread_ms) * 1e-3,
                op=ofa_operator(str(key), mobile_v3=mobile_v3),
            )
        )
    return tuple(rows)


def ofa_key(op: OpSpec, *, mobile_v3: bool) -> str | None:
    """Return the key of an operator; None where these projects have no words for it."""
    batch, channels, height, width = op.input_shape
    shapes = f"-input:{height}x{width}x{channels}-output:{_size(op.output_shape)}"
    match op:
        case _ if batch != 1:
            return None
        case MBConv():
            block = _block(op, mobile_v3=mobile_v3)
            return block and f"expanded_conv{shapes}{block}"
        case Conv(kernel=3, stride=2) if channels == 3 and op.activation != "none":
            return f"Conv{shapes}"
        case Conv(kernel=1, stride=1) if op.activation != "none":
            return f"Conv_1{shapes}"
        case Pool() if mobile_v3:
            return f"AvgPool2D{shapes}"
    return None


def ofa_operator(key: str, *, mobile_v3: bool) -> OpSpec | None:
    """Return the operator that a key names; None where it is none of ours.

    Args:
        key: As these projects write it.
        mobile_v3: Which dialect the file is in: stems and last convolutions do not say.
    """
    found = KEY.fullmatch(key)
    if not found:
        return None
    height, width, channels = map(int, found["input"].split("x"))
    out_channels = int(found["output"].split("x")[-1])
    shape = (1, channels, height, width)
    activation: Activation = "hswish" if mobile_v3 else "relu6"
    op: OpSpec | None = None
    match found["kind"]:
        case "expanded_conv" if found["expand"]:
            op = _block_operator(shape, out_channels, found)
        case "Conv":
            op = Conv(
                input_shape=shape, channels=out_channels, kernel=3, stride=2, activation=activation
            )
        case "Conv_1":
            op = Conv(input_shape=shape, channels=out_channels, activation=activation)
        case "AvgPool2D":
            op = Pool(input_shape=shape)
    if op is None or _size(op.output_shape) != found["output"]:
        return None
    return None if (found["idskip"] or "0") != str(int(op.residual)) else op


def squeeze_width(channels: int) -> int:
    """Return the channels of Once-for-All's squeeze-excite: a quarter, in eights."""
    quarter = channels // 4
    rounded = max(8, (quarter + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * quarter else rounded + 8


def _block(op: MBConv, *, mobile_v3: bool) -> str | None:
    """Return what follows the shapes in the key of a block."""
    hidden = op.input_shape[1] * op.expand
    tail = f"-kernel:{op.kernel}-stride:{op.stride}-idskip:{op.residual:d}"
    if not mobile_v3:
        plain = op.activation in ("relu", "relu6") and not op.squeeze
        return f"-expand:{op.expand}{tail}" if plain else None
    if op.activation not in ("relu", "hswish") or op.squeeze not in (0, squeeze_width(hidden)):
        return None
    return f"-expand:{hidden}{tail}-se:{bool(op.squeeze):d}-hs:{op.activation == 'hswish':d}"


def _block_operator(shape: Shape, channels: int, found: re.Match[str]) -> MBConv | None:
    mobile_v3 = found["se"] is not None
    ratio, rest = divmod(int(found["expand"]), shape[1] if mobile_v3 else 1)
    if rest or ratio < 1 or int(found["kernel"]) % 2 == 0:
        return None
    plain: Activation = "relu" if mobile_v3 else "relu6"
    return MBConv(
        input_shape=shape,
        channels=channels,
        kernel=int(found["kernel"]),
        stride=int(found["stride"]),
        expand=ratio,
        squeeze=squeeze_width(shape[1] * ratio) if found["se"] == "1" else 0,
        activation="hswish" if found["hs"] == "1" else plain,
    )


def _size(shape: tuple[int, ...]) -> str:
    """Return ``HxWxC`` of a shape with four sizes, ``C`` of one with two."""
    return "x".join(map(str, (*shape[2:], shape[1])))


def _processes(table: LatencyTable) -> list[LatencyTable]:
    """Return what each process alone would have made of a table."""
    pieces = {chain: m.used for chain, m in table.chains.items()}
    numbers = sorted({piece.process for used in pieces.values() for piece in used})
    return [
        replace(
            table,
            chains={
                chain: Measurement(slices=own)
                for chain, used in pieces.items()
                if (own := tuple(piece for piece in used if piece.process == number))
            },
        )
        for number in numbers
    ]


def _entry(latency_s: float, by_process_s: list[float]) -> Entry:
    entry: Entry = {"count": len(by_process_s), "mean": latency_s * 1e3}
    if len(by_process_s) > 1:
        entry["var"] = variance(by_process_s) * 1e6
    return entry


def _foreign_entry(row: ForeignRow) -> Entry:
    entry: Entry = {"mean": row.latency_s * 1e3}
    if row.count is not None:
        entry = {"count": row.count, **entry}
    if row.spread_s is not None:
        entry["var"] = (row.spread_s * 1e3) ** 2
    return entry


def _mapping(text: str) -> dict[Any, Any]:
    if text.lstrip().startswith("{"):
        entries = json.loads(text)
    else:
        import yaml

        try:
            entries = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise ValueError(f"neither a CSV with a latency nor YAML: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise ValueError("neither a CSV with a column latency_ms nor a mapping of keys")
    return entries
