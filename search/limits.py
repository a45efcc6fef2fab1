"""Limits as they are typed: milliseconds one by one, or a range of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devices import LatkitError

MAX_LIMITS = 1000
"""Limits of one search; a range of more is a slip of the step."""


class InvalidLimit(LatkitError):
    """A limit is no positive number, a range is empty, or a limit is given twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Limits that a search has to keep, as they are typed.

    Attributes:
        limits_s: Sets of limits that hold at once, seconds, each with an answer of its own.
        others: Tables of the devices that have the second and further limits of every set.
    """

    limits_s: tuple[tuple[float, ...], ...]
    others: tuple[Path, ...] = ()


def asked_from(
    limits_ms: Sequence[float], ranges: Sequence[str] = (), also: Sequence[str] = ()
) -> Asked:
    """Join limits on one device, an answer for each, with those on others that hold too.

    Args:
        limits_ms: Milliseconds.
        ranges: ``START:STOP:STEP`` in milliseconds, see `limits_from`.
        also: ``TABLE:MS``, a limit on another device.

    Raises:
        InvalidLimit: There is no limit, or one is none; see `limits_from`.
    """
    others = [_table_limit(text) for text in also]
    return Asked(
        limits_s=tuple(
            (limit_s, *(other_s for _, other_s in others))
            for limit_s in limits_from(limits_ms, ranges)
        ),
        others=tuple(path for path, _ in others),
    )


def limits_from(limits_ms: Sequence[float], ranges: Sequence[str] = ()) -> tuple[float, ...]:
    """Return limits in seconds, in the order in which they were given.

    Args:
        limits_ms: Milliseconds.
        ranges: ``START:STOP:STEP`` in milliseconds, ``STOP`` included where a step ends there.

    Raises:
        InvalidLimit: There is none, one is no positive number or given twice, or a range runs
            backwards, has no step, or has more than `MAX_LIMITS`.
    """
    for each in limits_ms:
        _check(each, f"--limit-ms {each:g}")
    given = [*limits_ms, *(each for text in ranges for each in range_ms(text))]
    if not given:
        raise InvalidLimit("a search needs a limit: --limit-ms 8, or --limit-range 4:12:0.1")
    seen: set[float] = set()
    for each in given:
        if each in seen:
            raise InvalidLimit(f"limit {each:g} ms is given twice: give each once")
        seen.add(each)
    return tuple(each * 1e-3 for each in given)


def range_ms(text: str) -> tuple[float, ...]:
    """Return the milliseconds of ``START:STOP:STEP``, as ``4:12:0.1``: 4, 4.1, ... 12.

    Raises:
        InvalidLimit: It is no such range.
    """
    try:
        start, stop, step = map(float, text.split(":"))
    except ValueError as error:
        raise InvalidLimit(
            f"--limit-range {text}: write START:STOP:STEP in milliseconds, as in 4:12:0.1"
        ) from error
    for each in (start, stop, step):
        _check(each, f"--limit-range {text}")
    if start > stop:
        raise InvalidLimit(
            f"--limit-range {text} runs backwards: write --limit-range {stop:g}:{start:g}:{step:g}"
        )
    count = math.floor((stop - start) / step + 1e-6) + 1  # 12 - 4 is not quite 80 times 0.1
    if count > MAX_LIMITS:
        raise InvalidLimit(
            f"--limit-range {text} has {count:,} limits, and at most {MAX_LIMITS:,} are answered "
            f"at once: take a step of {(stop - start) / (MAX_LIMITS - 1):.2g} or more"
        )
    return tuple(float(f"{start + i * step:.12g}") for i in range(count))


def _table_limit(text: str) -> tuple[Path, float]:
    """Read ``U.lut:3`` as a table and seconds."""
    path, _, limit_ms = text.rpartition(":")
    try:
        limit_s = float(limit_ms) * 1e-3
    except ValueError:
        limit_s = math.nan
    if not (path and math.isfinite(limit_s) and limit_s > 0.0):
        raise InvalidLimit(f"--also {text}: write TABLE:MS, as in gpu.lut:3")
    return Path(path), limit_s


def _check(value_ms: float, where: str) -> None:
    if not (math.isfinite(value_ms) and value_ms > 0.0):
        raise InvalidLimit(f"{where}: a limit is a positive number of milliseconds")
