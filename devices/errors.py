"""The errors this suite raises on purpose.

    LatkitError                 a situation that a user can meet: one line, exit status 2
    ├── DeviceUnavailable       the hardware or the runtime is not here
    ├── UnknownName             a device, space, method or key that nobody knows
    ├── InvalidFile             a file that cannot be read as what it should be
    ├── UnsupportedGraph        the runtime refuses a graph
    └── OutOfMemory             the device has too little memory free for a graph, just now

Packages above add their own situations below `LatkitError`, next to the code that raises them.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

LONGEST_REASON = 200
"""Characters of an error that are passed on."""


class LatkitError(Exception):
    """Base of every deliberate error; the command line prints these without a traceback."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes by the message, whatever the arguments were."""
        return _restore, (type(self), self.args)


def _restore(cls: type[LatkitError], args: tuple[Any, ...]) -> LatkitError:
    error = cls.__new__(cls)
    error.args = args
    return error


def reason_of(error: Exception) -> str:
    """Return in some words what is wrong with a file: an error's text may hold all of the file."""
    if isinstance(error, UnicodeDecodeError):
        return "it is no text"
    said = repr(error)
    return said if len(said) <= LONGEST_REASON else f"{said[:LONGEST_REASON]}..."


class DeviceUnavailable(LatkitError):
    """The hardware or the runtime that a device needs is not here."""


class InvalidFile(LatkitError):
    """A file exists but does not hold what was expected of it."""


class UnsupportedGraph(LatkitError):
    """A runtime cannot run a graph; the other graphs are not affected."""


class OutOfMemory(LatkitError):
    """A device has too little memory free for a graph; that may pass, a refusal does not."""


class UnknownName(LatkitError):
    """A name that is not in a list of known ones; says the nearest.

    Args:
        kind: What the name should have been: ``"device"``.
        name: What was given.
        known: Every name that would have been accepted.
        cure: What to do about it, one sentence.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], cure: str = "") -> None:
        names = sorted(known)
        close = get_close_matches(name, names, n=1, cutoff=0.4)
        message = f"no {kind} is called {name!r}"
        message += f"; the nearest is {close[0]!r}" if close else f"; known are: {', '.join(names)}"
        super().__init__(f"{message}. {cure}" if cure else message)
