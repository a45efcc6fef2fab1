"""Spans of time as people type them: ``90s``, ``10min``, ``1h``."""

import re

from export.verbs.report import UsageError

UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}

LONGEST_S = 24 * 3600.0


def seconds_from_text(text: str, *, least_s: float) -> float:
    """Return the seconds that a text names.

    Args:
        text: A number and a unit of `UNITS_S`.
        least_s: What it may not be below.

    Raises:
        UsageError: It is no span of time, or too short, or longer than a day.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h)", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no span of time; write 90s, 10min or 1h")
    seconds = float(match[1]) * UNITS_S[match[2]]
    if not least_s <= seconds <= LONGEST_S:
        raise UsageError(f"{text} is not within {least_s:g} s and 24 h")
    return seconds
