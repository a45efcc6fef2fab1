"""Limits as they are typed: milliseconds one by one, or a range of them."""

import math
from collections.abc import Sequence

from devices import LatkitError

MAX_LIMITS = 1000
"""Limits of one search; a range of more is a slip of the step."""


class InvalidLimit(LatkitError):
    """A limit is no positive number, a range is empty, or a limit is given twice."""


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


def _check(value_ms: float, where: str) -> None:
    if not (math.isfinite(value_ms) and value_ms > 0.0):
        raise InvalidLimit(f"{where}: a limit is a positive number of milliseconds")
