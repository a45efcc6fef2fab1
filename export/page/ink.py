"""How numbers are written on a page: the command line's words and digits."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

PATH = re.compile(r"(?<![\w.:/])(?:[A-Za-z]:\\|~?/)(?:[^\s/\\,;'\"()]+[/\\])+([^\s/\\,;'\"()]*)")
"""Absolute paths, with what they end in."""


def ms(seconds: float) -> str:
    """Write seconds as milliseconds."""
    return f"{seconds * 1e3:.4g} ms"


def us(seconds: float) -> str:
    """Write seconds as microseconds."""
    return f"{seconds * 1e6:.1f} us"


def ms_range(ends_s: Sequence[float]) -> str:
    """Write an interval in milliseconds, without the unit."""
    low, high = ends_s
    return f"{low * 1e3:.4g} to {high * 1e3:.4g}"


def instant(text: str) -> str:
    """Write a time that is kept as ISO 8601 in UTC."""
    return text.replace("T", " ").replace("+00:00", " UTC")


def percent(share: float) -> str:
    """Write a share."""
    return f"{share:.1%}"


def short(text: str, most: int = 46) -> str:
    """Cut a text that is too long for a line."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def without_paths(text: str) -> str:
    """Return a text in which absolute paths are only the names they end in.

    A page is sent to others, whom the folders of this machine do not concern.
    """
    return PATH.sub(lambda found: found.group(1) or "(a folder)", text)


def flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested facts as lines: ``simulation noise: 0.01``. What is empty is left out."""
    lines: dict[str, str] = {}
    for key, value in facts.items():
        name = f"{prefix}{key}".replace("_", " ")
        match value:
            case Mapping():
                lines |= flat(value, f"{name} ")
            case None | "" | [] | ():
                continue
            case list() | tuple():
                lines[name] = without_paths(", ".join(map(_plain, value)))
            case _:
                lines[name] = without_paths(_plain(value))
    return lines


def _plain(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case _:
            return str(value)
